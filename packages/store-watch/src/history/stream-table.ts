import type Database from "better-sqlite3";
import type { OpenStreamOptions } from "../history-types.ts";
import type { GapRow, NewGap, StreamRow, StreamRows } from "./stream-log.ts";
import type { StreamState } from "./stream-state.ts";

/** The statements about streams, their epochs and their gaps on SQLite. */
export class StreamTable implements StreamRows {
  readonly #select: Database.Statement<unknown[], StreamRow>;
  readonly #selectById: Database.Statement<unknown[], StreamRow>;
  readonly #insert: Database.Statement;
  readonly #describe: Database.Statement;
  readonly #save: Database.Statement;
  readonly #insertEpoch: Database.Statement;
  readonly #insertGap: Database.Statement;
  readonly #knownGap: Database.Statement<unknown[], number>;
  readonly #explainGap: Database.Statement;

  constructor(db: Database.Database) {
    const columns = `SELECT s.id, s.name, s.capabilities, s.kind, s.scope, s.epoch, e.identity, s.cursor, s.keys, s.versions, s.gaps,
      s.quarantined, s.last_commit_at FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`;
    this.#select = db.prepare(`${columns} WHERE s.name = ?`);
    this.#selectById = db.prepare(`${columns} WHERE s.id = ?`);
    this.#insert = db.prepare(
      "INSERT INTO streams (name, kind, description, scope, capabilities) VALUES (?, ?, ?, ?, ?)",
    );
    this.#describe = db.prepare(
      "UPDATE streams SET kind = ?, description = ?, scope = ?, capabilities = ? WHERE id = ?",
    );
    this.#save = db.prepare(
      `UPDATE streams SET epoch = ?, cursor = ?, keys = ?, versions = ?, gaps = ?, quarantined = ?, last_commit_at = ?
       WHERE id = ?`,
    );
    this.#insertEpoch = db.prepare("INSERT INTO epochs (stream, identity, began_at, reason) VALUES (?, ?, ?, ?)");
    this.#insertGap = db.prepare(
      `INSERT INTO gaps (stream, epoch, reason, detail, from_cursor, to_cursor, position, at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#knownGap = db
      .prepare<unknown[], number>(
        `SELECT 1 FROM gaps WHERE stream = ? AND epoch IS ? AND reason = ? AND from_cursor IS ? AND to_cursor IS ?
         AND (? OR position = ?) LIMIT 1`,
      )
      .pluck();
    this.#explainGap = db.prepare(
      "UPDATE gaps SET detail = ?, from_cursor = ifnull(?, from_cursor), to_cursor = ? WHERE id = ?",
    );
  }

  byName(name: string): StreamRow | undefined {
    return this.#select.get(name);
  }

  byId(id: number): StreamRow {
    return this.#selectById.get(id) as StreamRow;
  }

  add({ name, kind, description, scope, capabilities }: OpenStreamOptions): number {
    return this.#insert.run(name, kind, description, scope, JSON.stringify(capabilities)).lastInsertRowid as number;
  }

  describe(id: number, { kind, description, scope, capabilities }: OpenStreamOptions): void {
    this.#describe.run(kind, description, scope, JSON.stringify(capabilities), id);
  }

  save(stream: StreamState): void {
    this.#save.run(
      stream.epoch?.id ?? null,
      stream.cursor ?? null,
      stream.keys,
      stream.versions,
      stream.gaps,
      stream.quarantined,
      stream.lastCommitAt ?? null,
      stream.id,
    );
  }

  addEpoch(stream: number, identity: string, now: number, reason: string): number {
    return this.#insertEpoch.run(stream, identity, now, reason).lastInsertRowid as number;
  }

  hasGap({ stream, epoch, reason, from, to, position }: GapRow, isExact: boolean): boolean {
    return this.#knownGap.get(stream, epoch, reason, from, to, isExact ? 1 : 0, position) !== undefined;
  }

  addGap({ stream, epoch, reason, detail, from, to, position }: GapRow, now: number): number {
    return this.#insertGap.run(stream, epoch, reason, detail, from, to, position, now).lastInsertRowid as number;
  }

  explainGap(id: number, { detail, from, to }: NewGap): void {
    this.#explainGap.run(detail, from ?? null, to ?? null, id);
  }
}
