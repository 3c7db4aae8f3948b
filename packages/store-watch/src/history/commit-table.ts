import type Database from "better-sqlite3";
import type { CommitRows, NewCommit } from "./commit-log.ts";

/** The statements about commits on SQLite. */
export class CommitTable implements CommitRows {
  readonly #insert: Database.Statement;
  readonly #last: Database.Statement<[], number | null>;
  readonly #lastCursor: Database.Statement<[number, number], string | null>;

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      "INSERT INTO commits (stream, epoch, cursor, position, batch, committed_at) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#last = db.prepare<[], number | null>("SELECT max(committed_at) FROM commits").pluck();
    this.#lastCursor = db
      .prepare<[number, number], string | null>("SELECT max(cursor) FROM commits WHERE stream = +? AND epoch = +?")
      .pluck();
  }

  add({ stream, epoch, cursor, position, batch, committedAt }: NewCommit): void {
    this.#insert.run(stream, epoch, cursor, position, batch, committedAt);
  }

  lastMs(): number {
    return this.#last.get() ?? 0;
  }

  lastCursor(stream: number, epoch: number): string | null {
    return this.#lastCursor.get(stream, epoch) ?? null;
  }
}
