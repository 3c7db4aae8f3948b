import type Database from "better-sqlite3";
import type { GroupContext } from "./group-writer.ts";
import { classifySqliteError } from "./sqlite-errors.ts";
import type { StreamState } from "./stream-state.ts";

/** A change that could not be applied. */
export interface QuarantinedChange {
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string | null;
  readonly attributes: string | null;
  readonly sourceTime: number | null;
  readonly error: string;
}

interface OpenRow {
  readonly id: number;
  readonly key: Buffer;
}

/** Puts changes aside, in the transaction that moves the cursor past them. */
export class QuarantineTable {
  readonly #insert: Database.Statement;
  readonly #known: Database.Statement<unknown[], number>;
  readonly #open: Database.Statement<unknown[], OpenRow>;
  readonly #close: Database.Statement;

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
    this.#open = db.prepare("SELECT id, key FROM quarantine WHERE stream = ? AND state = 'open'");
    this.#close = db.prepare("UPDATE quarantine SET state = 'skipped', resolution = ? WHERE id = ?");
  }

  /**
   * Closes what a later deletion made void. Without this, a retry would bring back a key that never had a version here
   * and so has no tombstone either.
   */
  supersede(stream: StreamState, isVoid: (key: Buffer) => boolean, resolution: string): void {
    if (stream.quarantined === 0) return;
    for (const { id, key } of this.#open.all(stream.id)) {
      if (!isVoid(key)) continue;
      this.#close.run(resolution, id);
      stream.quarantined--;
    }
  }

  /** `position` is the last one before it. A change that is there already is a duplicate (V1). */
  add(context: GroupContext, position: number, change: QuarantinedChange): void {
    const { stream, epoch, cursor, stats } = context;
    const { key, version, value } = change;
    if (this.#known.get(stream.id, key, epoch, version, cursor, value) !== undefined) {
      stats.duplicates++;
      return;
    }
    const insert = (value: Buffer | null, error: string) =>
      this.#insert.run(
        stream.id,
        change.key,
        value,
        change.version,
        change.attributes,
        change.sourceTime,
        epoch,
        cursor,
        position,
        error,
        context.now,
      );
    try {
      insert(change.value, change.error);
    } catch (error) {
      // Too big for SQLite even here: that it existed must not get lost.
      if (classifySqliteError(error) !== "data" || change.value === null) throw error;
      insert(null, `${change.error}; its value of ${change.value.length} bytes could not be kept`);
    }
    stream.quarantined++;
    stats.quarantined++;
  }
}
