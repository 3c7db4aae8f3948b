import type { Clock } from "@tidemark/clock";
import type {
  BeginSnapshotFrame,
  ChangeFrame,
  Cursor,
  Epoch,
  Frame,
  FrameSink,
  GapReason,
  PoisonFrame,
  ResumePoint,
  SourceCapabilities,
  SourceStatus,
} from "./contract.ts";
import { StoreWatchError } from "./errors.ts";
import type { WatchBatch } from "./watcher-batch.ts";

/** Where accepted frames go. */
export interface SinkTarget {
  /** Asked for at every frame, because it is exchanged (H3). */
  readonly buffer: WatchBatch;
  wrote(): boolean;
  sealed(): boolean;
  readonly isReady: boolean;
  ready(signal: AbortSignal): Promise<void>;
}

export interface SinkObserver {
  status(status: SourceStatus): void;
  snapshotBegan(): void;
  snapshotEnded(): void;
  gapAccepted(reason: GapReason, detail: string): void;
  changeRefused(key: Uint8Array, error: string): void;
  heldBack(isHeldBack: boolean): void;
}

export interface SinkOptions {
  readonly target: SinkTarget;
  readonly observer: SinkObserver;
  readonly clock: Clock;
  readonly capabilities: SourceCapabilities;
  readonly check: ((change: ChangeFrame) => void) | undefined;
  /** Where the run starts. */
  readonly from: ResumePoint | undefined;
  /** Aborts when the run is over. */
  readonly signal: AbortSignal;
}

/**
 * Takes the frames of one run. It never waits (H1), keeps the grammar of the contract, and sees to it that what was lost
 * is on record: a snapshot that follows on something known without a `gap` before it gets one.
 */
export class RunSink implements FrameSink {
  readonly #target: SinkTarget;
  readonly #observer: SinkObserver;
  readonly #clock: Clock;
  readonly #isResumable: boolean;
  readonly #check: ((change: ChangeFrame) => void) | undefined;
  readonly #signal: AbortSignal;
  #epoch: Epoch | undefined;
  /** The last boundary; undefined: nothing is known yet. */
  #cursor: Cursor | undefined;
  /** The same, but undefined as soon as it belongs to another epoch. */
  #reached: Cursor | undefined;
  /** Changes since the last boundary, or a snapshot whose end has not come. */
  #isOpen = false;
  #isSnapshot = false;
  #isGapTold = false;
  /** Nothing of this run was accepted yet. */
  #isFirst = true;
  #isDetached = false;
  #waitingForRoom = 0;
  #changes = 0;
  #changesSeen = 0;
  #lastSignMs: number;
  #lastWordMs: number;
  #hasSign = false;

  constructor(options: SinkOptions) {
    this.#target = options.target;
    this.#observer = options.observer;
    this.#clock = options.clock;
    this.#isResumable = options.capabilities.resumable;
    this.#check = options.check;
    this.#signal = options.signal;
    this.#epoch = options.from?.epoch;
    this.#cursor = options.from?.cursor;
    this.#reached = options.from?.cursor;
    this.#lastSignMs = options.clock.monotonic();
    this.#lastWordMs = this.#lastSignMs;
  }

  /** The last sign of life, or the start of the run, on the monotonic clock. */
  get lastSignMs(): number {
    if (this.#changes !== this.#changesSeen) this.alive();
    return this.#lastSignMs;
  }

  /** The last sign of life, or the last time that the source itself said what it does about there being none. */
  get lastWordMs(): number {
    return Math.max(this.lastSignMs, this.#lastWordMs);
  }

  /** Whether the source's peer gave a sign of life in this run. */
  get hasSign(): boolean {
    return this.#hasSign || this.#changes > 0;
  }

  /** The source does not read because we have no room: its silence is ours. */
  get isHeldBack(): boolean {
    return this.#waitingForRoom > 0 || !this.#target.isReady;
  }

  write(frame: Frame): boolean {
    // Nobody counts on frames of a run that was ended: the next run starts before them.
    if (this.#isDetached) return false;
    switch (frame.type) {
      case "change":
        return this.#change(frame);
      case "poison":
        return this.#poison(frame);
      case "begin-snapshot":
        return this.#beginSnapshot(frame);
      case "snapshot-end":
        if (!this.#isSnapshot) throw broken("a snapshot-end came without begin-snapshot");
        this.#boundary(frame.cursor);
        this.#target.buffer.frames.write(frame);
        this.#observer.snapshotEnded();
        return this.#sealed();
      case "commit":
        if (this.#isSnapshot) throw broken("a commit came within a snapshot, which ends with snapshot-end");
        if (!this.#isOpen) this.#checkContinuity();
        this.#boundary(frame.cursor);
        this.#target.buffer.frames.write(frame);
        return this.#sealed();
      case "progress":
        this.alive();
        // A cursor ahead of an open group would lose the group (H6).
        if (this.#isOpen) return this.#target.isReady;
        // Where nothing happens there is nothing to commit (H10).
        if (this.#reached === frame.cursor) return this.#target.isReady;
        this.#target.buffer.frames.write(frame);
        this.#cursor = frame.cursor;
        this.#reached = frame.cursor;
        return this.#sealed();
      case "gap":
        this.#discard();
        this.#gap(frame.reason, frame.detail, frame);
        return this.#target.isReady;
      case "reset":
        this.#discard();
        if (this.#epoch !== undefined && this.#epoch !== frame.epoch && !this.#isGapTold) {
          this.#gap("epoch-changed", `The source is now ${frame.epoch}; what happened in between is unknown.`);
        }
        this.#epoch = frame.epoch;
        this.#reached = undefined;
        this.#target.buffer.frames.write(frame);
        return this.#sealed();
      case "discard":
        this.alive();
        this.#discard();
        return this.#target.isReady;
      default:
        return frame satisfies never;
    }
  }

  async ready(signal?: AbortSignal): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#target.isReady) return;
    if (this.#waitingForRoom++ === 0) this.#observer.heldBack(true);
    try {
      await this.#target.ready(signal === undefined ? this.#signal : AbortSignal.any([signal, this.#signal]));
    } finally {
      // What the source could not read meanwhile was no silence of its own.
      this.alive();
      if (--this.#waitingForRoom === 0) this.#observer.heldBack(false);
    }
  }

  alive(): void {
    this.#lastSignMs = this.#clock.monotonic();
    this.#changesSeen = this.#changes;
    this.#hasSign = true;
  }

  status(status: SourceStatus): void {
    this.#lastWordMs = this.#clock.monotonic();
    if (!this.#isDetached) this.#observer.status(status);
  }

  /** Accepts nothing more. What is left of an open group is discarded: it comes again (V7). */
  detach(): void {
    if (this.#isDetached) return;
    this.#discard();
    this.#isDetached = true;
  }

  #change(frame: ChangeFrame): boolean {
    if (!this.#isOpen) this.#checkContinuity();
    if (this.#isSnapshot && frame.value === undefined) {
      throw broken("a deletion came within a snapshot, which holds values only");
    }
    if (this.#check !== undefined) {
      try {
        this.#check(frame);
      } catch (error) {
        return this.#refused(frame, error);
      }
    }
    this.#isOpen = true;
    this.#changes++;
    const { buffer } = this.#target;
    buffer.frames.write(frame);
    buffer.changes++;
    return this.#target.wrote();
  }

  #refused({ key, value, version }: ChangeFrame, error: unknown): boolean {
    const text = error instanceof Error ? error.message : String(error);
    return this.#poison({ type: "poison", key, raw: value, error: text, version });
  }

  #poison(frame: PoisonFrame): boolean {
    if (!this.#isOpen) this.#checkContinuity();
    this.#isOpen = true;
    this.#changes++;
    const { buffer } = this.#target;
    buffer.frames.write(frame);
    buffer.changes++;
    this.#observer.changeRefused(frame.key, frame.error);
    return this.#target.wrote();
  }

  #beginSnapshot(frame: BeginSnapshotFrame): boolean {
    this.#discard();
    if (this.#cursor !== undefined && !this.#isGapTold) {
      if (this.#epoch !== frame.epoch) {
        this.#gap("epoch-changed", `The source is now ${frame.epoch}; what happened in between is unknown.`);
      } else if (this.#isResumable) {
        this.#gap(
          "source-lost",
          "The source sent its whole state without saying why; what happened in between is unknown.",
        );
      } else {
        this.#gap("disconnected", "The source cannot resume; what happened in between is unknown.");
      }
    }
    this.alive();
    this.#epoch = frame.epoch;
    this.#isOpen = true;
    this.#isSnapshot = true;
    this.#isFirst = false;
    this.#target.buffer.frames.write(frame);
    this.#observer.snapshotBegan();
    return this.#target.wrote();
  }

  /** A source that cannot resume and goes on anyway has lost what happened in between. */
  #checkContinuity(): void {
    if (!this.#isFirst) return;
    this.#isFirst = false;
    if (this.#cursor !== undefined && !this.#isResumable && !this.#isGapTold) {
      this.#gap("disconnected", "The source cannot resume; what happened in between is unknown.");
    }
  }

  #gap(
    reason: GapReason,
    detail: string,
    told?: { readonly from?: Cursor | undefined; readonly to?: Cursor | undefined },
  ) {
    const from = told?.from ?? this.#cursor;
    this.alive();
    this.#isGapTold = true;
    this.#target.buffer.frames.write({ type: "gap", reason, detail, from, to: told?.to });
    this.#observer.gapAccepted(reason, detail);
    this.#sealed();
  }

  #boundary(cursor: Cursor): void {
    this.alive();
    this.#cursor = cursor;
    this.#reached = cursor;
    this.#isOpen = false;
    this.#isSnapshot = false;
    this.#isGapTold = false;
    this.#isFirst = false;
  }

  #discard(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#isSnapshot = false;
    this.#target.buffer.frames.write({ type: "discard" });
    this.#sealed();
  }

  #sealed(): boolean {
    this.#target.buffer.times.add(this.#lastSignMs);
    return this.#target.sealed();
  }
}

function broken(what: string): StoreWatchError {
  return new StoreWatchError(
    "PROTOCOL",
    `the source broke the watch contract: ${what}; this is a defect of the source`,
  );
}
