import type Database from "better-sqlite3";
import type { MomentRows, ReachedCommit, StreamFacts } from "./moments.ts";

/** The questions about moments on SQLite. */
export class MomentTable implements MomentRows {
  readonly #newest: Database.Statement<[], number | null>;
  readonly #byTime: Database.Statement<[number], number>;
  readonly #stream: Database.Statement<[string], StreamFacts>;
  readonly #maxFloor: Database.Statement<[], number | null>;
  readonly #commitAt: Database.Statement<[number, number, string], ReachedCommit>;
  readonly #commitAfter: Database.Statement<[number, number, string], ReachedCommit>;
  readonly #batchAt: Database.Statement<[number, number, number, number, string], number>;
  readonly #hasVersion: Database.Statement<[number, number, number], number>;

  constructor(db: Database.Database) {
    this.#newest = db.prepare<[], number | null>("SELECT max(pos) FROM versions").pluck();
    this.#byTime = db
      .prepare<[number], number>(
        "SELECT position FROM commits WHERE committed_at <= ? ORDER BY committed_at DESC, id DESC LIMIT 1",
      )
      .pluck();
    this.#stream = db.prepare("SELECT id, name, kind, epoch, cursor, floor FROM streams WHERE name = ?");
    this.#maxFloor = db.prepare<[], number | null>("SELECT max(floor) FROM streams").pluck();
    const commit = "SELECT position, batch, cursor FROM commits WHERE stream = ? AND epoch = ?";
    this.#commitAt = db.prepare(`${commit} AND cursor <= ? ORDER BY cursor DESC, id DESC LIMIT 1`);
    this.#commitAfter = db.prepare(`${commit} AND cursor > ? ORDER BY cursor, id LIMIT 1`);
    this.#batchAt = db
      .prepare<[number, number, number, number, string], number>(
        `SELECT first_pos + count - 1 FROM batches
         WHERE id > ? AND id <= ? AND stream = ? AND epoch = ? AND cursor <= ? ORDER BY id DESC LIMIT 1`,
      )
      .pluck();
    this.#hasVersion = db
      .prepare<[number, number, number], number>(
        `SELECT 1 FROM versions v JOIN objects o ON o.id = v.object
         WHERE v.pos > ? AND v.pos <= ? AND o.stream = ? LIMIT 1`,
      )
      .pluck();
  }

  newest(): number {
    return this.#newest.get() ?? 0;
  }

  byTime(timeMs: number): number | undefined {
    return this.#byTime.get(timeMs);
  }

  stream(name: string): StreamFacts | undefined {
    return this.#stream.get(name);
  }

  maxFloor(): number {
    return this.#maxFloor.get() ?? 0;
  }

  commitAt(stream: number, epoch: number, cursor: string): ReachedCommit | undefined {
    return this.#commitAt.get(stream, epoch, cursor);
  }

  commitAfter(stream: number, epoch: number, cursor: string): ReachedCommit | undefined {
    return this.#commitAfter.get(stream, epoch, cursor);
  }

  batchAt(
    { after, to }: { readonly after: number; readonly to: number },
    stream: number,
    epoch: number,
    cursor: string,
  ): number | undefined {
    return this.#batchAt.get(after, to, stream, epoch, cursor);
  }

  hasVersion(after: number, to: number, stream: number): boolean {
    return this.#hasVersion.get(after, to, stream) !== undefined;
  }
}
