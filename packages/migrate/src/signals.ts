import type { Clock, Timer } from "@tidemark/clock";
import { messageOf } from "./body-rows.ts";
import type { Database } from "./dialect.ts";
import { combineSignals, type SignalReading, type ThrottleOptions, type ThrottleVerdict } from "./throttle.ts";

/** Something that tells whether a run hurts somebody. */
export interface ThrottleSignal {
  /** Shown in front of its reasons. */
  readonly name: string;
  /** Asked again and again, never twice at a time. A throw stops the run until it can be read again. */
  read(): Promise<{ readonly utilisation: number; readonly reason: string }>;
}

/** How often signals are read, and how they are combined. */
export interface SignalBoardOptions extends ThrottleOptions {
  readonly intervalMs: number;
}

/** Reads every signal at its own pace and knows the latest reading of each; asking it costs nothing. */
export class SignalBoard {
  readonly #clock: Clock;
  readonly #options: Required<SignalBoardOptions>;
  readonly #signals: readonly ThrottleSignal[];
  readonly #readings = new Map<string, SignalReading>();
  readonly #timers = new Set<Timer>();
  #isClosed = false;

  constructor(signals: readonly ThrottleSignal[], clock: Clock, options: Required<SignalBoardOptions>) {
    this.#signals = signals;
    this.#clock = clock;
    this.#options = options;
  }

  /**
   * Reads every signal and goes on by itself. Resolves when each was read once, or after one interval: a signal that
   * hangs holds up nobody, but is no reading either.
   */
  async start(signal: AbortSignal): Promise<void> {
    if (this.#signals.length === 0) return;
    const atMs = this.#clock.monotonic();
    for (const { name } of this.#signals) {
      this.#readings.set(name, { name, utilisation: undefined, reason: "it was not read yet", atMs });
    }
    const first = Promise.all(this.#signals.map((each) => this.#follow(each)));
    const waited = new AbortController();
    const patience = this.#clock.sleep(this.#options.intervalMs, { signal: AbortSignal.any([signal, waited.signal]) });
    await Promise.race([first, patience.catch(() => undefined)]);
    waited.abort();
  }

  get intervalMs(): number {
    return this.#options.intervalMs;
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  verdict(wasThrottled: boolean): ThrottleVerdict {
    return combineSignals([...this.#readings.values()], wasThrottled, this.#clock.monotonic(), this.#options);
  }

  async #follow(signal: ThrottleSignal): Promise<void> {
    const { name } = signal;
    const keep = (utilisation: number | undefined, reason: string) =>
      this.#readings.set(name, { name, utilisation, reason, atMs: this.#clock.monotonic() });
    try {
      const { utilisation, reason } = await signal.read();
      keep(utilisation, reason);
    } catch (error) {
      keep(undefined, messageOf(error));
    }
    if (this.#isClosed) return;
    const timer = this.#clock.setTimer(this.#options.intervalMs, () => {
      this.#timers.delete(timer);
      void this.#follow(signal);
    });
    this.#timers.add(timer.unref());
  }
}

/**
 * SQLite: what is in the WAL and not yet in the database. A reader that never ends keeps it from being reset, and every
 * chunk makes it longer. Reading it moves over what can be, without waiting for anybody.
 */
export function walSignal(database: Database, maxBytes: number): ThrottleSignal {
  const ask = (text: string) => database.connection.execute({ sql: text, params: [] });
  return {
    name: "wal",
    async read() {
      const [row] = (await ask("pragma wal_checkpoint(passive)")).rows;
      const pageBytes = Number((await ask("pragma page_size")).rows[0]?.[0]);
      const pages = Math.max(Number(row?.[1]) - Number(row?.[2]), 0);
      const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
      const bytes = pages * pageBytes;
      return {
        utilisation: bytes / maxBytes,
        reason: `${megabytes(bytes)} of the WAL cannot be moved into the database, limit ${megabytes(maxBytes)}; look for a reader that does not end`,
      };
    },
  };
}
