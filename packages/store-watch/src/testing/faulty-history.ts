import type { Clock, Rng } from "@tidemark/clock";
import type { Frame } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import type { FrameBuffer } from "../frame-buffer.ts";
import type { AppendResult, History, HistoryStream, OpenStreamOptions } from "../history-types.ts";

/** What goes wrong with commits, each as the probability at every append. All 0 by default. */
export interface HistoryFaults {
  /** The append takes up to `maxDelayMs`. */
  readonly delay?: number;
  /** The append fails before anything was committed, as with a busy or full disk; the buffer comes back. */
  readonly busy?: number;
  /**
   * The append commits, and then fails all the same with an error that does not say so, as when a connection breaks
   * during COMMIT. The buffer comes back, and must not be offered again.
   */
  readonly unknown?: number;
  /** The thread that had the buffer dies, before or after it committed; the buffer does not come back. */
  readonly lost?: number;
  /** The append does nothing at all for `hangMs`, then goes on. */
  readonly hang?: number;
  /** The process dies before or after the commit: `onCrash` is called, and the append never settles. */
  readonly crash?: number;
  /** A stream cannot be opened. */
  readonly open?: number;
}

/** What `faultyHistory` needs, and what may be set. */
export interface FaultyHistoryOptions {
  readonly clock: Clock;
  /** Draws the faults. */
  readonly rng: Rng;
  readonly faults?: HistoryFaults;
  /**
   * Runs real work, so that a simulation lets its time stand still meanwhile: `simulation.external`.
   * @default runs it
   */
  readonly external?: <T>(work: () => Promise<T>) => Promise<T>;
  /** Must drop the watcher; a new one may open the stream later. */
  readonly onCrash?: () => void;
  /** Called right after an append was really committed, whatever is reported of it. */
  readonly onCommitted?: (commit: ObservedCommit) => void;
  /** Upper bound of a delay, in milliseconds. @default 2_000 */
  readonly maxDelayMs?: number;
  /** Time that a hanging append hangs, in milliseconds. @default 3_600_000 */
  readonly hangMs?: number;
}

/** One append that the database took. */
export interface ObservedCommit {
  readonly stream: string;
  readonly frames: readonly Frame[];
  readonly result: AppendResult;
}

/** How often each fault struck. */
export type HistoryFaultCounts = { readonly [Fault in keyof HistoryFaults]-?: number };

/** A real history whose commits fail as a seed decides. Only `openStream` is wrapped; read from the history itself. */
export class FaultyHistory implements Pick<History, "openStream"> {
  readonly #history: Pick<History, "openStream">;
  readonly #options: FaultyHistoryOptions;
  readonly #counts = { delay: 0, busy: 0, unknown: 0, lost: 0, hang: 0, crash: 0, open: 0 };
  /** Which stream of a name is the newest: an older one belongs to a process that died. */
  readonly #newest = new Map<string, HistoryStream>();
  readonly #healed = new AbortController();
  #faults: HistoryFaults;

  constructor(history: Pick<History, "openStream">, options: FaultyHistoryOptions) {
    this.#history = history;
    this.#options = options;
    this.#faults = options.faults ?? {};
  }

  /** How often each fault struck. */
  get counts(): HistoryFaultCounts {
    return { ...this.#counts };
  }

  /** From now on nothing fails any more, and what hangs goes on. */
  heal(): void {
    this.#faults = {};
    this.#healed.abort();
  }

  /** Opens a stream of the real history, unless that fails; streams of the same name that are open stop for good. */
  async openStream(options: OpenStreamOptions): Promise<HistoryStream> {
    if (this.#strikes("open")) {
      throw new StoreWatchError("WORKER_DIED", "a simulated failure to open a stream", { retryable: true });
    }
    const stream = await this.#external(() => this.#history.openStream(options));
    this.#newest.set(stream.name, stream);
    const append = (buffer: FrameBuffer) => this.#append(stream, buffer);
    return {
      name: stream.name,
      get resume() {
        return stream.resume;
      },
      append,
    };
  }

  async #append(stream: HistoryStream, buffer: FrameBuffer): Promise<AppendResult> {
    const { clock, rng, maxDelayMs = 2_000, hangMs = 3_600_000, onCrash, onCommitted } = this.#options;
    const frames = buffer.decode();
    if (this.#strikes("delay")) await this.#pause(rng.int(0, maxDelayMs));
    if (this.#strikes("hang")) await this.#pause(hangMs);
    if (this.#newest.get(stream.name) !== stream) return await never;
    if (this.#strikes("busy"))
      throw new StoreWatchError("COMMIT_FAILED", "a simulated SQLITE_BUSY", { retryable: true });
    const isBefore = rng.float() < 0.5;
    const isLost = this.#strikes("lost");
    const isCrash = !isLost && this.#strikes("crash");
    if (isBefore && isLost) throw lostError(buffer);
    if (isBefore && isCrash) {
      onCrash?.();
      return await never;
    }
    const result = await this.#external(() => stream.append(buffer));
    onCommitted?.({ stream: stream.name, frames, result });
    if (isCrash) {
      onCrash?.();
      return await never;
    }
    if (isLost) throw lostError(buffer);
    if (this.#strikes("unknown")) {
      buffer.clear();
      for (const frame of frames) buffer.write(frame);
      throw new Error("a simulated failure after the commit");
    }
    // A worker's reply takes no virtual time, but it does take a turn.
    await clock.sleep(0);
    return result;
  }

  async #pause(delayMs: number): Promise<void> {
    await this.#options.clock.sleep(delayMs, { signal: this.#healed.signal }).catch(() => {});
  }

  #external<T>(work: () => Promise<T>): Promise<T> {
    return this.#options.external === undefined ? work() : this.#options.external(work);
  }

  #strikes(fault: keyof HistoryFaults): boolean {
    const probability = this.#faults[fault] ?? 0;
    if (probability === 0 || this.#options.rng.float() >= probability) return false;
    this.#counts[fault]++;
    return true;
  }
}

const never = new Promise<never>(() => {});

/** A thread that died takes the memory with it. */
function lostError(buffer: FrameBuffer): StoreWatchError {
  buffer.toTransfer();
  return new StoreWatchError("WORKER_DIED", "a simulated death of the writer's thread.", { retryable: true });
}

/** Wraps a history so that its commits fail as planned; see {@link FaultyHistory}. */
export function faultyHistory(history: Pick<History, "openStream">, options: FaultyHistoryOptions): FaultyHistory {
  return new FaultyHistory(history, options);
}
