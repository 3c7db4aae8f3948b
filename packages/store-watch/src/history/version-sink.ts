import type { Later } from "./flow.ts";
import type { CachedObject } from "./object-cache.ts";

export interface NewBatch {
  readonly stream: number;
  readonly epoch: number;
  readonly committedAt: number;
  readonly kind: number;
  readonly cursor: string;
  readonly firstPosition: number;
  readonly count: number;
  readonly sourceTime: number | null;
}

/** Where the counters of the tables stand. */
export interface SinkMark {
  readonly position: number;
  readonly generation: number;
  readonly object: number;
  readonly batch: number;
}

/**
 * The tables that every change touches: versions, objects, batches. Rows are collected and written many at a time, under
 * numbers that are given here, so that they are dense.
 */
export interface VersionSink {
  /** The position of the newest version. */
  readonly position: number;
  readonly lastObject: number;
  readonly nextBatch: number;
  readonly mark: SinkMark;
  /** Whether so much waits that it should be written now. */
  readonly isFull: boolean;
  /** Sets what the versions from here on have in common. */
  share(epoch: number, via: number): void;
  /** An object that has no row yet. `key` must stay as it is until the next `flush`. */
  createObject(key: Buffer, epoch: number): CachedObject;
  /** Adds a version and moves the object's head to it. Epoch and `seen` of the object are the caller's. */
  addVersion(
    object: CachedObject,
    batch: number,
    version: string,
    value: Buffer | null,
    attributes: string | null,
    sourceTime: number | null,
  ): void;
  /** Has the object's row written with the next flush. */
  touch(object: CachedObject): void;
  addBatch(batch: NewBatch): void;
  /**
   * The ids up to which versions and objects were written past this sink, within the present transaction. No version and
   * no object may be collected then.
   */
  advance(position: number, object: number): void;
  /** Writes versions and objects of one stream. */
  flush(stream: number): Later<void>;
  /** Writes the batches too. */
  flushAll(stream: number): Later<void>;
  /** Forgets what is collected and goes on from a mark: after a rollback to it. */
  reset(mark: SinkMark): void;
}
