import type Database from "better-sqlite3";
import type { StreamState } from "./stream-state.ts";

/** One row per transaction and epoch: which position was reached when. Its clock never goes back. */
export class CommitTable {
  readonly #insert: Database.Statement;
  readonly #last: Database.Statement<[], number | null>;
  #lastMs: number;
  #now = 0;
  #cursor = "";
  #position = 0;
  #batch = 0;

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      "INSERT INTO commits (stream, epoch, cursor, position, batch, committed_at) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#last = db.prepare<[], number | null>("SELECT max(committed_at) FROM commits").pluck();
    this.#lastMs = this.#last.get() ?? 0;
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
  end(stream: StreamState): void {
    if (this.#position === 0 || stream.epoch === undefined) return;
    this.#insert.run(stream.id, stream.epoch.id, this.#cursor, this.#position, this.#batch, this.#now);
    this.#lastMs = this.#now;
    this.#position = 0;
  }

  reset(): void {
    this.#lastMs = this.#last.get() ?? 0;
    this.#position = 0;
  }
}
