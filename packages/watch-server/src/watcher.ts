import type { Clock, Timer } from "@tidemark/clock";
import { successor } from "./bytes.ts";
import { unpackKeyValues } from "./database/commands.ts";
import { RowReader } from "./database/packed-rows.ts";
import type { BelowFloor, ListAnswer, ListQuery, LogAnswer, LogQuery } from "./database/store-reader.ts";
import { type Span, toSpan } from "./key-range.ts";
import { toKeyValue } from "./key-value.ts";
import { StoreError } from "./store-error.ts";
import type { Change, Transaction, WatchEvent, WatchOptions } from "./store-types.ts";
import type { LogBatch, Tail } from "./tail.ts";
import type { Timeline } from "./timeline.ts";

/** Keeps everything that states from `revision` on need from being removed, whatever the floor is. */
export interface Pin {
  revision: number;
}

/** What a watcher needs of its store. */
export interface WatcherHost {
  readonly clock: Clock;
  readonly storeId: string;
  readonly incarnation: string;
  readonly timeline: Timeline;
  readonly tail: Tail;
  readonly head: number;
  readonly floor: number;
  /** @throws StoreError `CLOSED`, `STORE_FAILED` */
  attach(watcher: Watcher): void;
  detach(watcher: Watcher): void;
  pin(revision: number): Pin;
  unpin(pin: Pin): void;
  readList(query: ListQuery): Promise<ListAnswer | BelowFloor>;
  readLog(query: LogQuery): Promise<LogAnswer | BelowFloor>;
}

const defaultProgressIntervalMs = 5000;
const minProgressIntervalMs = 100;

/**
 * Target size of one event's keys and values; a single transaction may be larger. A watch begins with small ones, so that
 * it gets on even over a connection that never lives long.
 */
const batchBytes = 256 * 1024;
const firstBatchBytes = 8 * 1024;
const pageKeys = 2000;

/**
 * Follows the log by position. A wake-up carries nothing, it only says that there may be more (a level, not an edge): a
 * watcher that is slow, or asleep for a day, costs the store a number and loses nothing.
 */
export class Watcher implements AsyncIterableIterator<WatchEvent> {
  readonly #host: WatcherHost;
  readonly #span: Span;
  readonly #resumeMarker: string;
  readonly #intervalMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.stop(this.#signal?.reason);
  readonly #events: AsyncGenerator<WatchEvent, void>;
  #position = 0;
  #toldPosition = 0;
  #toldAtMs = 0;
  #batchBytes = firstBatchBytes;
  #pin: Pin | undefined;
  #isDone = false;
  #failure: unknown;
  #wake: (() => void) | undefined;

  /** @throws StoreError `ARGUMENT_INVALID` */
  constructor(host: WatcherHost, options: WatchOptions) {
    const { progressIntervalMs = defaultProgressIntervalMs } = options;
    if (!(progressIntervalMs >= minProgressIntervalMs)) {
      const expected = `progressIntervalMs must be at least ${minProgressIntervalMs}`;
      throw new StoreError("ARGUMENT_INVALID", `${expected}, got ${progressIntervalMs}`);
    }
    this.#host = host;
    this.#span = toSpan(options.range);
    this.#resumeMarker = options.resumeMarker ?? "";
    this.#intervalMs = progressIntervalMs;
    this.#signal = options.signal;
    this.#events = this.#follow();
  }

  next(): Promise<IteratorResult<WatchEvent, void>> {
    return this.#events.next();
  }

  /** Ends the watch, also while a `next()` is waiting. */
  return(): Promise<IteratorResult<WatchEvent, void>> {
    this.stop(undefined);
    return this.#events.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The log may have grown. */
  wake(): void {
    this.#wake?.();
  }

  /** Ends the watch, with an error if there is one, which waits for whoever reads on; the store does not. */
  stop(failure: unknown): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#failure = failure;
    this.#letGo();
    this.#wake?.();
  }

  async *#follow(): AsyncGenerator<WatchEvent, void> {
    const signal = this.#signal;
    if (signal?.aborted) this.stop(signal.reason);
    if (this.#failure !== undefined) throw this.#failure;
    this.#host.attach(this);
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    try {
      yield* this.#begin();
      while (!this.#isDone) {
        if (this.#position < this.#host.head) {
          const batch = await this.#read();
          if (this.#isDone) break;
          this.#moveTo(batch.through);
          if (batch.transactions.length > 0) {
            this.#told(batch.through);
            yield { type: "transactions", transactions: batch.transactions };
            continue;
          }
        }
        const waitMs = this.#progressDueMs();
        if (waitMs <= 0) yield this.#progress();
        else if (this.#position >= this.#host.head) await this.#sleep(waitMs);
      }
    } catch (error) {
      // What comes of a read that was under way does not hide why the watch ended before.
      if (!this.#isDone) throw error;
    } finally {
      this.#isDone = true;
      this.#letGo();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #letGo(): void {
    this.#host.detach(this);
    this.#unpin();
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }

  /** The snapshot, or a first sign of life at the marker. */
  async *#begin(): AsyncGenerator<WatchEvent, void> {
    const { timeline, head, storeId } = this.#host;
    if (this.#resumeMarker !== "") {
      this.#position = timeline.resume(this.#resumeMarker, head, storeId);
      if (this.#position < this.#host.floor) throw this.#tooOld(this.#host.floor);
      yield this.#progress();
      return;
    }
    // Pinned before anything is read, so that no compaction can take the snapshot away halfway.
    const revision = head;
    this.#pin = this.#host.pin(revision);
    this.#position = revision;
    const marker = timeline.marker(revision);
    yield { type: "snapshot-begin", marker };
    let span: Span | undefined = this.#span;
    while (span !== undefined && !this.#isDone) {
      const page = await this.#host.readList({
        span,
        revision,
        maxKeys: pageKeys,
        maxBytes: batchBytes,
        isPinned: true,
      });
      if ("floor" in page) throw this.#tooOld(page.floor);
      if (this.#isDone) return;
      // An empty page too: a long stretch of deleted keys must not look like silence.
      yield { type: "snapshot-page", kvs: unpackKeyValues(page.rows).map(toKeyValue) };
      span = page.scannedTo && { start: successor(page.scannedTo), end: span.end };
    }
    if (this.#isDone) return;
    this.#told(revision);
    yield { type: "snapshot-end", marker };
  }

  async #read(): Promise<LogBatch> {
    const { head, tail, timeline } = this.#host;
    const maxBytes = this.#batchBytes;
    this.#batchBytes = Math.min(2 * maxBytes, batchBytes);
    const recent = tail.read(this.#position, this.#span, maxBytes);
    if (recent !== undefined) return recent;
    const answer = await this.#host.readLog({
      after: this.#position,
      upTo: head,
      span: this.#span,
      maxBytes,
      isPinned: this.#pin !== undefined,
    });
    if ("floor" in answer) throw this.#tooOld(answer.floor);
    return { transactions: unpackTransactions(answer, timeline), through: answer.through };
  }

  /** A watch that began with a snapshot keeps its pin until it has caught up once, so that it always gets through. */
  #moveTo(position: number): void {
    this.#position = position;
    if (this.#pin === undefined) return;
    this.#pin.revision = position;
    if (position >= this.#host.head) this.#unpin();
  }

  #unpin(): void {
    if (this.#pin === undefined) return;
    this.#host.unpin(this.#pin);
    this.#pin = undefined;
  }

  #progress(): WatchEvent {
    this.#told(this.#position);
    return { type: "progress", marker: this.#host.timeline.marker(this.#position) };
  }

  #told(position: number): void {
    this.#toldPosition = position;
    this.#toldAtMs = this.#host.clock.monotonic();
  }

  /** How long until the watcher should hear from us: soon when we moved past changes of other keys. */
  #progressDueMs(): number {
    const hasMoved = this.#position > this.#toldPosition;
    const everyMs = hasMoved ? Math.min(minProgressIntervalMs, this.#intervalMs) : this.#intervalMs;
    return this.#toldAtMs + everyMs - this.#host.clock.monotonic();
  }

  #sleep(maxMs: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      this.#wake = () => {
        this.#wake = undefined;
        timer?.cancel();
        resolve();
      };
      timer = this.#host.clock.setTimer(maxMs, this.#wake);
    });
  }

  #tooOld(floor: number): StoreError {
    const { timeline, incarnation } = this.#host;
    return new StoreError(
      "TOO_OLD",
      `the watch is at revision ${this.#position} but the store was compacted up to ${floor}. Take a new snapshot`,
      { oldestMarker: timeline.marker(floor), incarnation },
    );
  }
}

function unpackTransactions(answer: LogAnswer, timeline: Timeline): Transaction[] {
  const rows = new RowReader(answer.rows);
  const transactions: Transaction[] = [];
  let current = 0;
  let changes: Change[] = [];
  while (rows.hasMore) {
    const revision = rows.number();
    const committedAtMs = rows.number();
    if (revision !== current) {
      current = revision;
      changes = [];
      transactions.push({ revision: BigInt(revision), marker: timeline.marker(revision), committedAtMs, changes });
    }
    changes.push({ key: rows.someBytes(), value: rows.bytes() });
  }
  return transactions;
}
