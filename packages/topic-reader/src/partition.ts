import { CommitLedger } from "./commit-ledger.ts";
import type { PartitionEnd } from "./reader-types.ts";

/** What of one response's messages the state needs to know. */
export interface Columns {
  readonly sessionId: number;
  readonly length: number;
  /** False: to be decompressed before it is delivered. */
  readonly isRaw: boolean;
  offset(index: number): number;
}

/** What a response is charged with; a response of several partitions is let go of when all of them are. */
export interface Receipt {
  readonly bytes: number;
  left: number;
}

/** The messages of one partition in one response. */
export interface Chunk<C extends Columns = Columns> {
  readonly columns: C;
  readonly receipt: Receipt;
  readonly session: PartitionSession<C>;
  /** How many messages are delivered. */
  taken: number;
  /** Whether it can be delivered: it was not compressed, or is decompressed. */
  isReady: boolean;
}

/** One partition of one topic, for as long as the reader has anything to do with it: over any number of sessions. */
export class Partition<C extends Columns = Columns> {
  readonly topic: string;
  readonly partitionId: number;
  readonly commits = new CommitLedger();
  session: PartitionSession<C> | undefined;
  /** How its last session ended; undefined before it did. */
  lastEnd: PartitionEnd | undefined;
  /** Without a consumer: where to go on. */
  nextOffset: number | undefined;
  /** A listener is at work on one of its batches, perhaps of an earlier session. */
  isBusy = false;
  /** Looks at the listener that found it at work; see `ReaderState.checkStalled`. */
  looksBusy = 0;

  constructor(topic: string, partitionId: number) {
    this.topic = topic;
    this.partitionId = partitionId;
  }
}

/**
 * `starting`: the server waits for our answer. `active`: data comes. `stopping`: the server asked for it back, and gets
 * it when pending commits are done. `over`: whatever still refers to it changes nothing.
 */
export type SessionStatus = "starting" | "active" | "stopping" | "over";

/** What the server said when it began a session. */
export interface SessionStart {
  readonly id: number;
  readonly committed: number;
  readonly firstOffset: number;
  readonly endOffset: number;
}

/** One partition on one stream. Its id means nothing on any other stream (topic.proto: it restarts at 1). */
export class PartitionSession<C extends Columns = Columns> {
  readonly partition: Partition<C>;
  readonly start: SessionStart;
  status: SessionStatus = "starting";
  /** Where to start is being found out. */
  isAsked = false;
  /**
   * Where the next commit begins: at the end of the one before, so that offsets which retention or compaction removed
   * are covered by whoever comes behind them.
   */
  anchor: number;
  /** Batches that somebody works on. */
  inHand = 0;
  /** Everything in the partition was sent; its children follow. */
  isFullyRead = false;
  childPartitionIds: readonly number[] = [];
  isEndTold = false;
  /** In the queue of sessions that have something to deliver. */
  isQueued = false;
  #chunks: Chunk<C>[] = [];
  #head = 0;

  constructor(partition: Partition<C>, start: SessionStart) {
    this.partition = partition;
    this.start = start;
    this.anchor = start.committed;
  }

  get head(): Chunk<C> | undefined {
    return this.#chunks[this.#head];
  }

  get isEmpty(): boolean {
    return this.#head === this.#chunks.length;
  }

  push(chunk: Chunk<C>): void {
    this.#chunks.push(chunk);
  }

  shift(): void {
    this.#chunks[this.#head++] = undefined as unknown as Chunk<C>;
    if (this.#head === this.#chunks.length) {
      this.#chunks = [];
      this.#head = 0;
    } else if (this.#head >= 256 && this.#head * 2 >= this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head);
      this.#head = 0;
    }
  }

  /** What was not delivered; it holds nothing then. */
  clear(): Chunk<C>[] {
    const rest = this.#head === 0 ? this.#chunks : this.#chunks.slice(this.#head);
    this.#chunks = [];
    this.#head = 0;
    return rest;
  }
}
