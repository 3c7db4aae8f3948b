import type Database from "better-sqlite3";
import {
  type AnnouncementRow,
  objectsAtOnce,
  type RelicRow,
  type RetentionTables,
  type RootRow,
} from "./retention-tables.ts";

/** The statements about what of a graph is kept, on SQLite. */
export class SqliteRetentionTables implements RetentionTables {
  readonly #horizon: Database.Statement<[number], { readonly origin: number; readonly generation: number }>;
  readonly #setHorizon: Database.Statement;
  readonly #raiseFloor: Database.Statement;
  readonly #addAnnouncement: Database.Statement;
  readonly #announcementsIn: Database.Statement<[number, number, number], AnnouncementRow>;
  readonly #lastAnnouncement: Database.Statement<[number], AnnouncementRow>;
  readonly #news: Database.Statement<unknown[], number>;
  readonly #consumers: Database.Statement<[], number | null>;
  readonly #batchAt: Database.Statement<[number, number], number>;
  readonly #firstAfter: Database.Statement<[number, number], number>;
  readonly #firstBeyond: Database.Statement<[number, number], number>;
  readonly #lastArrived: Database.Statement<[number], number | null>;
  readonly #lastBefore: Database.Statement<[number, number], number | null>;
  readonly #steps: Database.Statement<
    [number, number, number, number],
    { readonly id: number; readonly origin: number; readonly last: number }
  >;
  readonly #mark: readonly Database.Statement[];
  readonly #lastPosition: Database.Statement<[number, number, number], number | null>;
  readonly #relics: Database.Statement<unknown[], RelicRow>;
  readonly #hasRelics: Database.Statement<[number], number>;
  readonly #contested: Database.Statement<[number], number>;
  readonly #isNeeded: Database.Statement<unknown[], number>;
  readonly #remove: readonly Database.Statement[];
  readonly #tidy: readonly Database.Statement[];
  readonly #objectsAfter: Database.Statement<[number, number], number>;
  readonly #roots: Database.Statement<[number, number, number], RootRow>;
  readonly #versionsOf: Database.Statement<
    [number],
    { readonly pos: number; readonly origin: number; readonly gen: number }
  >;
  readonly #addRelic: Database.Statement;
  readonly #isRelic: Database.Statement<[number], number>;
  readonly #parts: Database.Statement<[number], Buffer>;
  readonly #addPart: Database.Statement;
  readonly #clearParts: Database.Statement;

  constructor(db: Database.Database) {
    this.#horizon = db.prepare("SELECT origin, generation FROM horizons WHERE stream = ?");
    this.#setHorizon = db.prepare(
      `INSERT INTO horizons (origin, stream, generation) VALUES (?, ?, ?)
       ON CONFLICT (origin) DO UPDATE SET generation = max(generation, excluded.generation)`,
    );
    this.#raiseFloor = db.prepare("UPDATE streams SET floor = max(floor, ?) WHERE id = ?");
    this.#addAnnouncement = db.prepare("INSERT INTO announcements (origin, gen, vector) VALUES (?, ?, ?)");
    this.#announcementsIn = db.prepare(
      "SELECT gen, vector FROM announcements WHERE origin = ? AND gen BETWEEN ? AND ? ORDER BY gen",
    );
    this.#lastAnnouncement = db.prepare(
      "SELECT gen, vector FROM announcements WHERE origin = ? ORDER BY gen DESC LIMIT 1",
    );
    // An announcement is a batch of its own.
    this.#news = db
      .prepare<unknown[], number>(
        `SELECT 1 FROM generations g WHERE g.stream = :stream AND g.rowid > ifnull((SELECT rowid FROM generations
           WHERE origin = :own AND first = :gen), 0)
         AND NOT EXISTS (SELECT 1 FROM announcements a WHERE a.origin = g.origin AND a.gen = g.first) LIMIT 1`,
      )
      .pluck();
    this.#consumers = db.prepare<[], number | null>("SELECT min(position) FROM consumers").pluck();
    this.#batchAt = db
      .prepare<[number, number], number>(
        `SELECT id FROM batches WHERE id <= ifnull((SELECT batch FROM versions WHERE pos <= ? ORDER BY pos DESC LIMIT 1), 0)
         AND first_pos + count - 1 <= ? ORDER BY id DESC LIMIT 1`,
      )
      .pluck();
    // Rows are in the order in which their batches came here.
    this.#firstAfter = db
      .prepare<[number, number], number>(
        "SELECT rowid FROM generations WHERE stream = ? AND batch > ? ORDER BY rowid LIMIT 1",
      )
      .pluck();
    this.#firstBeyond = db
      .prepare<[number, number], number>(
        "SELECT rowid FROM generations WHERE origin = ? AND last > ? ORDER BY first LIMIT 1",
      )
      .pluck();
    this.#lastArrived = db
      .prepare<[number], number | null>("SELECT max(rowid) FROM generations WHERE stream = ?")
      .pluck();
    this.#lastBefore = db
      .prepare<[number, number], number | null>("SELECT max(last) FROM generations WHERE origin = ? AND stamp_ms < ?")
      .pluck();
    this.#steps = db.prepare(
      `SELECT rowid AS id, origin, last FROM generations WHERE stream = ? AND rowid > ? AND rowid <= ?
       ORDER BY rowid LIMIT ?`,
    );
    const within = "c.origin = ? AND c.gen > ? AND c.gen <= ? AND c.origin <> 1";
    this.#mark = [
      `INSERT OR IGNORE INTO relics (version, since) SELECT p.pos, ? FROM versions c JOIN versions p ON p.pos = c.parent WHERE ${within}`,
      `INSERT OR IGNORE INTO relics (version, since) SELECT p.pos, ? FROM versions c JOIN edges e ON e.child = c.pos
       JOIN versions p ON p.pos = e.parent WHERE ${within}`,
      // A snapshot may have brought both, beyond the versions that the horizon passes now.
      `INSERT OR IGNORE INTO relics (version, since) SELECT p.pos, max(?, l.child, l.parent) FROM links l JOIN versions p ON p.pos = l.parent
       WHERE l.origin = ? AND l.gen > ? AND l.gen <= ?`,
    ].map((sql) => db.prepare(sql));
    this.#lastPosition = db
      .prepare<[number, number, number], number | null>(`SELECT max(c.pos) FROM versions c WHERE ${within}`)
      .pluck();
    this.#relics = db.prepare(
      `SELECT r.version AS pos, v.object, r.since FROM relics r JOIN versions v ON v.pos = r.version JOIN objects o ON o.id = v.object
       WHERE o.stream = :stream AND r.version > :after AND r.version < :newest AND r.since <= :position ORDER BY r.version LIMIT :limit`,
    );
    this.#hasRelics = db
      .prepare<[number], number>(
        `SELECT 1 FROM relics r JOIN versions v ON v.pos = r.version JOIN objects o ON o.id = v.object WHERE o.stream = ? LIMIT 1`,
      )
      .pluck();
    // Of what is decided together everything is kept: its past says what becomes of those that lose.
    this.#contested = db
      .prepare<[number], number>(
        `WITH contested (object) AS (SELECT DISTINCT c.object FROM conflicts c JOIN objects o ON o.id = c.object WHERE o.stream = ?),
           heads (pos) AS (SELECT c.head FROM conflicts c JOIN contested USING (object)
             UNION SELECT o.head FROM objects o JOIN contested ON contested.object = o.id)
         SELECT object FROM contested
         UNION SELECT w.object FROM heads JOIN versions v USING (pos) JOIN batches b ON b.id = v.batch
           JOIN versions w ON w.pos >= b.first_pos AND w.pos < b.first_pos + b.count`,
      )
      .pluck();
    const isBeyond = (row: string) =>
      `${row}.gen > ifnull((SELECT generation FROM horizons h WHERE h.origin = ${row}.origin), 0)`;
    this.#isNeeded = db
      .prepare<unknown[], number>(
        `SELECT EXISTS (SELECT 1 FROM versions c WHERE c.object = :object AND c.parent = :pos AND ${isBeyond("c")})
           OR EXISTS (SELECT 1 FROM edges e JOIN versions c ON c.pos = e.child WHERE e.parent = :pos AND ${isBeyond("c")})
           OR EXISTS (SELECT 1 FROM links l WHERE l.parent = :pos AND ${isBeyond("l")})
           OR EXISTS (SELECT 1 FROM mirrors m WHERE m.object = :object AND m.shown = :pos)
           OR EXISTS (SELECT 1 FROM intents i WHERE i.object = :object AND i.version = :pos)`,
      )
      .pluck();
    this.#remove = [
      "DELETE FROM versions WHERE pos = ?",
      "DELETE FROM edges WHERE child = ?",
      "DELETE FROM relics WHERE version = ?",
    ].map((sql) => db.prepare(sql));
    const isBelow = (row: string, gen: string) =>
      `${gen} <= (SELECT generation FROM horizons h WHERE h.origin = ${row}.origin AND h.stream = :stream)`;
    this.#tidy = [
      `DELETE FROM links AS l WHERE ${isBelow("l", "l.gen")} AND (NOT EXISTS (SELECT 1 FROM versions WHERE pos = l.parent)
         OR NOT EXISTS (SELECT 1 FROM versions WHERE pos = l.child))`,
      // The one at the horizon stays: it says where that is, and when it was.
      `DELETE FROM generations AS g WHERE g.stream = :stream
         AND g.last < (SELECT generation FROM horizons h WHERE h.origin = g.origin)
         AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.origin = g.origin AND v.origin <> 1 AND v.gen BETWEEN g.first AND g.last)`,
      `DELETE FROM announcements AS a WHERE ${isBelow("a", "a.gen")}
         AND a.gen < (SELECT max(gen) FROM announcements b WHERE b.origin = a.origin)
         AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.origin = a.origin AND g.first = a.gen)`,
      `DELETE FROM batches AS b WHERE b.stream = :stream AND b.first_pos + b.count - 1 <= (SELECT floor FROM streams WHERE id = :stream)
         AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`,
    ].map((sql) => db.prepare(sql));
    this.#objectsAfter = db
      .prepare<[number, number], number>(
        `SELECT id FROM objects WHERE stream = ? AND id > ? ORDER BY id LIMIT ${objectsAtOnce}`,
      )
      .pluck();
    this.#roots = db.prepare(
      `SELECT v.pos, v.object, v.batch, v.origin, v.gen, v.level, v.via, v.version, v.attributes, v.value, v.parent, o.key
       FROM objects o JOIN versions v ON v.object = o.id JOIN horizons h ON h.origin = v.origin
       WHERE o.stream = ? AND o.id > ? AND o.id <= ? AND v.gen <= h.generation
         AND NOT EXISTS (SELECT 1 FROM relics WHERE version = v.pos) ORDER BY o.id`,
    );
    this.#versionsOf = db.prepare("SELECT pos, origin, gen FROM versions WHERE object = ?");
    this.#addRelic = db.prepare("INSERT OR IGNORE INTO relics (version, since) VALUES (?, ?)");
    this.#isRelic = db.prepare<[number], number>("SELECT version FROM relics WHERE version = ?").pluck();
    this.#parts = db
      .prepare<[number], Buffer>("SELECT data FROM snapshot_parts WHERE stream = ? ORDER BY part")
      .pluck();
    this.#addPart = db.prepare("INSERT INTO snapshot_parts (stream, part, data) VALUES (?, ?, ?)");
    this.#clearParts = db.prepare("DELETE FROM snapshot_parts WHERE stream = ?");
  }

  horizon(stream: number): { readonly origin: number; readonly generation: number }[] {
    return this.#horizon.all(stream);
  }

  setHorizon(stream: number, origin: number, generation: number): void {
    this.#setHorizon.run(origin, stream, generation);
  }

  raiseFloor(stream: number, position: number): void {
    this.#raiseFloor.run(position, stream);
  }

  addAnnouncement(origin: number, { gen, vector }: AnnouncementRow): void {
    this.#addAnnouncement.run(origin, gen, vector);
  }

  announcementsIn(origin: number, first: number, last: number): AnnouncementRow[] {
    return this.#announcementsIn.all(origin, first, last);
  }

  lastAnnouncement(origin: number): AnnouncementRow | undefined {
    return this.#lastAnnouncement.get(origin);
  }

  hasNewsAfter(stream: number, own: number, gen: number): boolean {
    return this.#news.get({ stream, own, gen }) !== undefined;
  }

  lowestConsumer(): number | undefined {
    return this.#consumers.get() ?? undefined;
  }

  batchAt(position: number): number {
    return this.#batchAt.get(position, position) ?? 0;
  }

  firstAfter(stream: number, batch: number): number | undefined {
    return this.#firstAfter.get(stream, batch);
  }

  firstBeyond(origin: number, generation: number): number | undefined {
    return this.#firstBeyond.get(origin, generation);
  }

  lastArrived(stream: number): number {
    return this.#lastArrived.get(stream) ?? 0;
  }

  lastBefore(origin: number, timeMs: number): number {
    return this.#lastBefore.get(origin, timeMs) ?? 0;
  }

  steps(
    stream: number,
    after: number,
    end: number,
    limit: number,
  ): { readonly id: number; readonly origin: number; readonly last: number }[] {
    return this.#steps.all(stream, after, end, limit);
  }

  mark(since: number, origin: number, from: number, to: number): void {
    for (const statement of this.#mark) statement.run(since, origin, from, to);
  }

  lastPosition(origin: number, from: number, to: number): number {
    return this.#lastPosition.get(origin, from, to) ?? 0;
  }

  relics(stream: number, range: Parameters<RetentionTables["relics"]>[1]): RelicRow[] {
    return this.#relics.all({ stream, ...range });
  }

  hasRelics(stream: number): boolean {
    return this.#hasRelics.get(stream) !== undefined;
  }

  contested(stream: number): number[] {
    return this.#contested.all(stream);
  }

  needed(relics: readonly RelicRow[]): ReadonlySet<number> {
    const needed = relics.filter(({ pos, object }) => this.#isNeeded.get({ pos, object }) === 1);
    return new Set(needed.map(({ pos }) => pos));
  }

  remove(positions: readonly number[]): void {
    for (const position of positions) for (const statement of this.#remove) statement.run(position);
  }

  tidy(stream: number): void {
    for (const statement of this.#tidy) statement.run({ stream });
  }

  objectsAfter(stream: number, object: number): number[] {
    return this.#objectsAfter.all(stream, object);
  }

  roots(stream: number, after: number, to: number): RootRow[] {
    return this.#roots.all(stream, after, to);
  }

  versionsOf(object: number): { readonly pos: number; readonly origin: number; readonly gen: number }[] {
    return this.#versionsOf.all(object);
  }

  addRelics(relics: readonly { readonly pos: number; readonly since: number }[]): void {
    for (const { pos, since } of relics) this.#addRelic.run(pos, since);
  }

  relicsAmong(positions: readonly number[]): ReadonlySet<number> {
    return new Set(positions.filter((position) => this.#isRelic.get(position) !== undefined));
  }

  parts(stream: number): Buffer[] {
    return this.#parts.all(stream);
  }

  addPart(stream: number, part: number, data: Uint8Array): void {
    this.#addPart.run(stream, part, data);
  }

  clearParts(stream: number): void {
    this.#clearParts.run(stream);
  }
}
