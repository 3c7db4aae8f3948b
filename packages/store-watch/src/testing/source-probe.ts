import { type Clock, deadline } from "@tidemark/clock";
import type {
  ChangeFrame,
  Cursor,
  Epoch,
  Frame,
  FrameSink,
  GapFrame,
  ResumePoint,
  Source,
  SourceStatus,
} from "../contract.ts";
import { keyId } from "./reference-store.ts";

/** One complete group of the stream. */
export interface ProbedGroup {
  readonly cursor: Cursor;
  readonly changes: readonly ChangeFrame[];
}

/** A break of the watch contract. */
export class ConformanceError extends Error {
  override readonly name = "ConformanceError";
}

/**
 * Runs a source and keeps what a perfect watcher would know, in memory: the state, the groups, the gaps. Every frame is
 * checked against the contract's grammar.
 */
export class SourceProbe implements FrameSink {
  /** Live values by {@link keyId}, as of the last boundary. */
  readonly state = new Map<string, Uint8Array>();
  /** What came between snapshots, in order. */
  readonly groups: ProbedGroup[] = [];
  readonly gaps: GapFrame[] = [];
  readonly statuses: SourceStatus[] = [];
  epoch: Epoch | undefined;
  /** Of the last boundary. */
  cursor: Cursor | undefined;
  snapshots = 0;
  frames = 0;
  /** Times that the source asked for room. */
  roomRequests = 0;
  /** Frames that came between asking for room and getting it. */
  framesWhileAsking = 0;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #controller = new AbortController();
  readonly #watchers = new Set<() => void>();
  #run: Promise<void> | undefined;
  #error: unknown;
  #isOver = false;
  #isHeld = false;
  #asking = 0;
  #room = Promise.withResolvers<void>();
  #open: ChangeFrame[] = [];
  #isOpen = false;
  #snapshot: Map<string, Uint8Array> | undefined;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** Where a next run would start. */
  get resume(): ResumePoint {
    if (this.epoch === undefined || this.cursor === undefined) throw new ConformanceError("nothing was committed yet");
    return { epoch: this.epoch, cursor: this.cursor };
  }

  /** The run has settled. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Runs the source; once. */
  start(source: Source, from?: ResumePoint): this {
    this.epoch = from?.epoch;
    this.cursor = from?.cursor;
    const run = async () => source.run(from, this, this.#controller.signal);
    this.#run = run()
      .catch((error: unknown) => {
        if (!this.#controller.signal.aborted) this.#error ??= error;
      })
      .finally(() => {
        this.#isOver = true;
        this.#wake();
      });
    return this;
  }

  /** From now on there is no room for more frames. */
  hold(): void {
    this.#isHeld = true;
    this.#room = Promise.withResolvers<void>();
  }

  /** There is room again. */
  release(): void {
    this.#isHeld = false;
    this.#room.resolve();
  }

  /** Ends the run and waits until it is over. @throws {ConformanceError} when it goes on, or writes afterwards. */
  async stop(): Promise<void> {
    this.#controller.abort(new Error("the check is done"));
    this.release();
    await this.#within(this.#run ?? Promise.resolve(), "the run to end after its signal aborted");
    if (this.#error !== undefined) throw this.#error as Error;
  }

  /** Waits until something holds. @throws {ConformanceError} after the time limit; what the run threw. */
  async until(what: string, holds: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (this.#error !== undefined || this.#isOver || holds()) resolve();
    };
    this.#watchers.add(look);
    try {
      look();
      await this.#within(promise, what);
    } finally {
      this.#watchers.delete(look);
    }
    if (this.#error !== undefined) throw this.#error as Error;
    if (!holds()) throw new ConformanceError(`the source ended its run while waiting for ${what}; ${this.#describe()}`);
  }

  /** Waits for a boundary at or past a point. */
  reached(point: ResumePoint): Promise<void> {
    return this.until(
      `a boundary at or past ${point.cursor} of ${point.epoch}`,
      () => this.epoch === point.epoch && this.cursor !== undefined && this.cursor >= point.cursor,
    );
  }

  write(frame: Frame): boolean {
    this.frames++;
    if (this.#asking > 0) this.framesWhileAsking++;
    try {
      if (this.#isOver) throw new ConformanceError(`a frame came after the run was over: ${frame.type}`);
      this.#take(frame);
    } catch (error) {
      this.#error ??= error;
    }
    this.#wake();
    return !this.#isHeld;
  }

  async ready(signal?: AbortSignal): Promise<void> {
    this.roomRequests++;
    this.#wake();
    if (!this.#isHeld) return;
    this.#asking++;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal?.reason as Error);
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#room.promise, promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#asking--;
    }
  }

  alive(): void {}

  status(status: SourceStatus): void {
    this.statuses.push(status);
    this.#wake();
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case "change":
        if (this.#snapshot !== undefined && frame.value === undefined) {
          throw new ConformanceError("a snapshot holds values only, but a deletion came");
        }
        // A sink may keep frames only as copies, so a source may reuse its memory.
        const { key, value } = frame;
        // `slice` of a Buffer would be a view.
        this.#open.push({ ...frame, key: Uint8Array.from(key), value: value && Uint8Array.from(value) });
        this.#isOpen = true;
        break;
      case "poison":
        this.#isOpen = true;
        break;
      case "begin-snapshot":
        this.#discard();
        this.#snapshot = new Map();
        this.epoch = frame.epoch;
        break;
      case "snapshot-end":
        if (this.#snapshot === undefined) throw new ConformanceError("snapshot-end came without begin-snapshot");
        this.state.clear();
        this.#snapshot = undefined;
        this.snapshots++;
        this.#apply(frame.cursor);
        break;
      case "commit":
        if (this.#snapshot !== undefined) throw new ConformanceError("commit came within a snapshot");
        this.groups.push({ cursor: frame.cursor, changes: this.#open });
        this.#apply(frame.cursor);
        break;
      case "progress":
        if (this.#isOpen || this.#snapshot !== undefined) throw new ConformanceError("progress came within a group");
        this.cursor = frame.cursor;
        break;
      case "gap":
        this.gaps.push(frame);
        break;
      case "reset":
        this.#discard();
        this.epoch = frame.epoch;
        break;
      case "discard":
        this.#discard();
        break;
      default:
        frame satisfies never;
    }
  }

  #apply(cursor: Cursor): void {
    for (const { key, value } of this.#open) {
      if (value === undefined) this.state.delete(keyId(key));
      else this.state.set(keyId(key), value);
    }
    this.#open = [];
    this.#isOpen = false;
    this.cursor = cursor;
  }

  #discard(): void {
    this.#open = [];
    this.#isOpen = false;
    this.#snapshot = undefined;
  }

  #wake(): void {
    for (const look of this.#watchers) look();
  }

  async #within(work: Promise<void>, what: string): Promise<void> {
    using limit = deadline(this.#clock, this.#timeoutMs);
    const { promise, reject } = Promise.withResolvers<never>();
    limit.signal.addEventListener("abort", () =>
      reject(new ConformanceError(`waited ${this.#timeoutMs} ms for ${what}; ${this.#describe()}`)),
    );
    await Promise.race([work, promise]);
  }

  #describe(): string {
    const last = this.statuses.at(-1);
    const said = last === undefined ? "it said nothing about its connection" : `it says ${JSON.stringify(last)}`;
    return `got ${this.frames} frames, ${this.snapshots} snapshots, ${this.groups.length} groups, cursor ${this.cursor}; ${said}`;
  }
}
