import type Database from "better-sqlite3";
import type { NewQuarantine, QuarantineRow, QuarantineRows } from "./quarantine-log.ts";

/** The statements about changes in quarantine on SQLite. */
export class QuarantineTable implements QuarantineRows {
  readonly #insert: Database.Statement;
  readonly #known: Database.Statement<unknown[], number>;
  readonly #open: Database.Statement<unknown[], { readonly id: number; readonly key: Buffer }>;
  readonly #select: Database.Statement<[number], QuarantineRow>;
  readonly #resolve: Database.Statement;
  readonly #blame: Database.Statement;

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO quarantine (stream, key, value, version, attributes, source_time, epoch, cursor, position, error, at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#known = db
      .prepare<unknown[], number>(
        `SELECT 1 FROM quarantine
         WHERE stream = ? AND key = ? AND epoch = ? AND version IS ? AND (version IS NOT NULL OR (cursor = ? AND value IS ?)) LIMIT 1`,
      )
      .pluck();
    this.#open = db.prepare("SELECT id, key FROM quarantine WHERE stream = ? AND state = 'open' ORDER BY id");
    this.#select = db.prepare("SELECT * FROM quarantine WHERE id = ?");
    this.#resolve = db.prepare("UPDATE quarantine SET state = ?, resolution = ? WHERE id = ?");
    this.#blame = db.prepare("UPDATE quarantine SET error = ? WHERE id = ?");
  }

  has({ stream, key, epoch, version, cursor, value }: NewQuarantine): boolean {
    return this.#known.get(stream, key, epoch, version, cursor, value) !== undefined;
  }

  add(change: NewQuarantine): void {
    this.#insert.run(
      change.stream,
      change.key,
      change.value,
      change.version,
      change.attributes,
      change.sourceTime,
      change.epoch,
      change.cursor,
      change.position,
      change.error,
      change.at,
    );
  }

  open(stream: number): { readonly id: number; readonly key: Buffer }[] {
    return this.#open.all(stream);
  }

  byId(id: number): QuarantineRow | undefined {
    return this.#select.get(id);
  }

  resolve(id: number, state: string, resolution: string): void {
    this.#resolve.run(state, resolution, id);
  }

  blame(id: number, error: string): void {
    this.#blame.run(error, id);
  }
}
