import type { Clock, Rng, Timer } from "@tidemark/clock";
import { Handoff, type HandoffBatch, type HandoffRetryOptions } from "@tidemark/stream";
import { StoreWatchError } from "./errors.ts";
import type { AppendResult, HistoryStream } from "./history-types.ts";
import { WatchBatch } from "./watcher-batch.ts";
import type { WatcherLimits } from "./watcher-types.ts";

interface CommitObserver {
  committed(result: AppendResult, batch: WatchBatch, groups: number): void;
  failed(error: unknown, attempt: number, delayMs: number): void;
  stalled(forMs: number): void;
  quarantined(error: unknown): void;
  /** The batch is gone, or nobody knows whether it was committed. */
  lost(error: unknown): void;
  /** The history is closed, or another writer took the stream: there is nothing to wait for. */
  fatal(error: unknown): void;
}

export interface CommitsOptions {
  readonly stream: Pick<HistoryStream, "append">;
  readonly observer: CommitObserver;
  readonly limits: WatcherLimits;
  readonly retry: HandoffRetryOptions | undefined;
  readonly clock: Clock;
  readonly rng: Rng;
}

/**
 * The committing half of a watcher: takes batches from the hand-off to the history, one at a time, and says how it goes.
 * It lasts until memory is lost; then the watcher makes a new one.
 */
export class Commits {
  readonly #options: CommitsOptions;
  readonly #handoff: Handoff<WatchBatch>;
  #inFlight: WatchBatch | undefined;
  #sealed = 0;
  #committed = 0;
  #waiting: { readonly upTo: number; readonly resolve: () => void }[] = [];
  #isOver = false;
  /** The batch in flight was lost: offering it again is pointless. */
  #isLost = false;

  constructor(options: CommitsOptions) {
    this.#options = options;
    const { limits, retry, clock, rng } = options;
    this.#handoff = new Handoff<WatchBatch>({
      createBuffer: () => new WatchBatch(),
      commit: (batch, _signal, info) => this.#commit(batch, info),
      classify: (error) => this.#classify(error),
      maxBytes: limits.maxBufferBytes,
      maxGroupBytes: limits.maxGroupBytes,
      flushIntervalMs: limits.flushIntervalMs,
      ...(retry !== undefined && { retry }),
      clock,
      rng,
    });
    void this.#report();
  }

  /** Exchanged whenever a batch goes to the history (H3). */
  get buffer(): WatchBatch {
    return this.#handoff.buffer;
  }

  wrote(): boolean {
    return this.#handoff.wrote();
  }

  sealed(): boolean {
    this.#sealed++;
    return this.#handoff.sealed();
  }

  get isReady(): boolean {
    return this.#handoff.isReady;
  }

  ready(signal: AbortSignal): Promise<void> {
    return this.#handoff.ready(signal);
  }

  /** Groups accepted so far. */
  get sealedGroups(): number {
    return this.#sealed;
  }

  get pendingGroups(): number {
    return this.#sealed - this.#committed;
  }

  get pendingChanges(): number {
    return this.#handoff.buffer.changes + (this.#inFlight?.changes ?? 0);
  }

  get bufferedBytes(): number {
    return this.#handoff.stats.bufferedBytes;
  }

  get inflightBytes(): number {
    return this.#handoff.stats.inFlightBytes;
  }

  /** When the oldest group that is not committed was accepted, on the monotonic clock. */
  get oldestMs(): number | undefined {
    return this.#inFlight?.times.firstMs ?? this.#handoff.buffer.times.firstMs;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get committedGroups(): number {
    return this.#committed;
  }

  /** Resolves when the first `upTo` groups are committed, or when this is over and they never will be. */
  committed(upTo: number): Promise<void> {
    if (this.#committed >= upTo || this.#isOver) return Promise.resolve();
    // Without waiting for the flush interval; whatever comes of it is reported elsewhere.
    this.#handoff.flush().catch(() => {});
    return new Promise((resolve) => this.#waiting.push({ upTo, resolve }));
  }

  retry(): void {
    this.#handoff.retry();
  }

  /** Ends now. Returns how many changes were in memory and are not known to be committed. */
  destroy(reason: unknown): number {
    if (this.#isOver) return 0;
    this.#isOver = true;
    // The one in flight is among them.
    const left = this.#handoff.destroy(reason);
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    return left.reduce((sum, batch) => sum + batch.changes, 0);
  }

  async #commit(batch: WatchBatch, { groups }: HandoffBatch): Promise<void> {
    const { stream, observer, clock, limits } = this.#options;
    const startedMs = clock.monotonic();
    this.#inFlight = batch;
    let timer: Timer;
    const arm = () => {
      timer = clock.setTimer(limits.stallTimeoutMs, () => {
        if (this.#isOver) return;
        observer.stalled(clock.monotonic() - startedMs);
        arm();
      });
      timer.unref();
    };
    arm();
    try {
      const result = await stream.append(batch.frames);
      this.#committed += groups;
      this.#inFlight = undefined;
      if (!this.#isOver) observer.committed(result, batch, groups);
      this.#settle();
    } catch (error) {
      // A buffer that stays away died with the thread that had it. One that came back may be offered again only if it
      // is certain that nothing of it is in the database.
      if ((batch.frames.isAway || !isRefusal(error)) && !this.#isOver) {
        this.#isLost = true;
        observer.lost(error);
      }
      throw error;
    } finally {
      timer!.cancel();
    }
  }

  #settle(): void {
    const reached = this.#waiting.filter(({ upTo }) => upTo <= this.#committed);
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter(({ upTo }) => upTo > this.#committed);
    for (const { resolve } of reached) resolve();
  }

  #classify(error: unknown): "retry" | "quarantine" {
    if (this.#isLost || !StoreWatchError.is(error)) return "quarantine";
    return error.retryable ? "retry" : "quarantine";
  }

  async #report(): Promise<void> {
    const { observer } = this.#options;
    for await (const event of this.#handoff.events()) {
      if (this.#isOver) return;
      if (event.type === "commit-failed") observer.failed(event.error, event.attempt, event.delayMs);
      if (event.type === "quarantined" && !this.#isLost) {
        if (isFatal(event.error)) observer.fatal(event.error);
        else observer.quarantined(event.error);
      }
    }
  }
}

/** Whether the history said no before or instead of committing. Any other error leaves open what is in the database. */
function isRefusal(error: unknown): boolean {
  if (!StoreWatchError.is(error)) return false;
  return (
    error.code === "COMMIT_FAILED" || error.code === "PROTOCOL" || error.code === "OPTIONS_INVALID" || isFatal(error)
  );
}

function isFatal(error: unknown): boolean {
  return StoreWatchError.is(error) && (error.code === "CLOSED" || error.code === "STREAM_BUSY");
}
