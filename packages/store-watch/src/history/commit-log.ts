import { type Flow, type Later, wait } from "./flow.ts";
import type { StreamState } from "./stream-state.ts";

export interface NewCommit {
  readonly stream: number;
  readonly epoch: number;
  readonly cursor: string;
  readonly position: number;
  readonly batch: number;
  readonly committedAt: number;
}

export interface CommitRows {
  add(commit: NewCommit): Later<void>;
  /** When the last one was; 0 without any. */
  lastMs(): Later<number>;
  /** The greatest cursor of an epoch; null without any. */
  lastCursor(stream: number, epoch: number): Later<string | null>;
}

/** One row per transaction and epoch: which position was reached when. Its clock never goes back. */
export class CommitLog {
  readonly #rows: CommitRows;
  #lastMs = 0;
  #now = 0;
  #cursor = "";
  #position = 0;
  #batch = 0;

  /** To be loaded before it is used. */
  constructor(rows: CommitRows) {
    this.#rows = rows;
  }

  /** Takes what it knows from the database: at the start, and after a rollback. */
  *load(): Flow<void> {
    this.#lastMs = yield* wait(this.#rows.lastMs());
    this.#position = 0;
  }

  lastCursor(stream: number, epoch: number): Flow<string | null> {
    return wait(this.#rows.lastCursor(stream, epoch));
  }

  /** The time that everything in this transaction is committed at. */
  begin(nowMs: number): number {
    this.#position = 0;
    this.#now = Math.max(Math.floor(nowMs), this.#lastMs);
    return this.#now;
  }

  /** Says how far the transaction has come. */
  extend(cursor: string, position: number, batch: number): void {
    this.#cursor = cursor;
    this.#position = position;
    this.#batch = batch;
  }

  /** Writes the row, if there is anything new: at the end, and before the stream goes over to another epoch. */
  *end(stream: StreamState): Flow<void> {
    if (this.#position === 0 || stream.epoch === undefined) return;
    yield* wait(
      this.#rows.add({
        stream: stream.id,
        epoch: stream.epoch.id,
        cursor: this.#cursor,
        position: this.#position,
        batch: this.#batch,
        committedAt: this.#now,
      }),
    );
    this.#lastMs = this.#now;
    this.#position = 0;
  }
}
