import type { Clock, Timer } from "@tidemark/clock";
import type { Table } from "drizzle-orm";
import { messageOf } from "./body-rows.ts";
import type { Database } from "./dialect.ts";
import { megabytes } from "./signals/local-signals.ts";
import { autoCheckpointPages } from "./sqlite/sqlite-wal.ts";
import { combineSignals, type SignalReading, type ThrottleOptions, type ThrottleVerdict } from "./throttle.ts";

/** Something that tells whether a run hurts somebody. */
export interface ThrottleSignal {
  /** Shown in front of its reasons. */
  readonly name: string;
  /** Asked again and again, never twice at a time for a run. A throw stops it until it can be read again. */
  read(): Promise<Reading>;
}

/** What a signal says. */
export interface Reading {
  /** 0: idle, 1: as much as is bearable, above: too much. */
  readonly utilisation: number;
  /** For people: what was measured, and what the limit is. */
  readonly reason: string;
}

/** The run that a signal is read for. */
export interface SignalRun {
  readonly table: Table;
  /** How many rows it has changed since it began, by what is known here. */
  rowsChanged(): number;
}

/** A signal of the engine's own, which may look at the table of the run. */
export interface OwnSignal {
  readonly name: string;
  read(run: SignalRun): Promise<Reading>;
}

/** How often signals are read, and how they are combined. */
export interface SignalBoardOptions extends ThrottleOptions {
  readonly intervalMs: number;
}

/** Reads every signal at its own pace and knows the latest reading of each; asking it costs nothing. */
export class SignalBoard {
  readonly #clock: Clock;
  readonly #run: SignalRun;
  readonly #options: () => Required<SignalBoardOptions>;
  readonly #signals: readonly OwnSignal[];
  readonly #readings = new Map<string, SignalReading>();
  readonly #timers = new Set<Timer>();
  #isClosed = false;

  /** `options` are asked for each time, because they may change. */
  constructor(
    signals: readonly OwnSignal[],
    run: SignalRun,
    clock: Clock,
    options: () => Required<SignalBoardOptions>,
  ) {
    this.#signals = signals;
    this.#run = run;
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
    const patience = this.#clock.sleep(this.intervalMs, { signal: AbortSignal.any([signal, waited.signal]) });
    await Promise.race([first, patience.catch(() => undefined)]);
    waited.abort();
  }

  get intervalMs(): number {
    return this.#options().intervalMs;
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  verdict(wasThrottled: boolean): ThrottleVerdict {
    return combineSignals([...this.#readings.values()], wasThrottled, this.#clock.monotonic(), this.#options());
  }

  async #follow(signal: OwnSignal): Promise<void> {
    const { name } = signal;
    const keep = (utilisation: number | undefined, reason: string) =>
      this.#readings.set(name, { name, utilisation, reason, atMs: this.#clock.monotonic() });
    try {
      const { utilisation, reason } = await signal.read(this.#run);
      keep(utilisation, reason);
    } catch (error) {
      keep(undefined, messageOf(error));
    }
    if (this.#isClosed) return;
    const timer = this.#clock.setTimer(this.intervalMs, () => {
      this.#timers.delete(timer);
      void this.#follow(signal);
    });
    this.#timers.add(timer.unref());
  }
}

/**
 * SQLite: what is in the WAL and not yet in the database. A reader that never ends keeps it from being reset, and every
 * chunk makes it longer. Reading it moves over what can be, without waiting for anybody; but not the little that is always
 * there, since whoever writes first into an emptied WAL waits for the disk with the lock.
 */
export async function walReading(database: Database, maxBytes: number): Promise<Reading> {
  const ask = async (text: string) => (await database.connection.execute({ sql: text, params: [] })).rows[0] ?? [];
  const pageBytes = Number((await ask("pragma page_size"))[0]);
  const bytesLeft = async (mode: "noop" | "passive") => {
    const [, inWal, moved] = await ask(`pragma wal_checkpoint(${mode})`);
    return Math.max(Number(inWal) - Number(moved), 0) * pageBytes;
  };
  // An older SQLite takes the one for the other.
  const isMuch = (await bytesLeft("noop")) >= Math.min(autoCheckpointPages * pageBytes, maxBytes / 2);
  const bytes = isMuch ? await bytesLeft("passive") : 0;
  return {
    utilisation: bytes / maxBytes,
    reason: `${megabytes(bytes)} of the WAL cannot be moved into the database, limit ${megabytes(maxBytes)}; look for a reader that does not end`,
  };
}
