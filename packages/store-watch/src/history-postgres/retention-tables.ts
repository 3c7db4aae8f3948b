import type { Later } from "../history/flow.ts";
import {
  type AnnouncementRow,
  objectsAtOnce,
  type RelicRow,
  type RetentionTables,
  type RootRow,
} from "../history/retention-tables.ts";
import { givenText } from "./any-text.ts";
import { numberArray } from "./array-literals.ts";
import { all, one, type PostgresSession, run } from "./session.ts";

const within = "c.origin = $2 AND c.gen > $3 AND c.gen <= $4 AND c.origin <> 1";
const mark = [
  `SELECT p.pos, c.pos AS since FROM versions c JOIN versions p ON p.pos = c.parent WHERE ${within}`,
  `SELECT p.pos, c.pos AS since FROM versions c JOIN edges e ON e.child = c.pos JOIN versions p ON p.pos = e.parent WHERE ${within}`,
  // A snapshot may have brought both, beyond the versions that the horizon passes now.
  `SELECT p.pos, greatest(l.child, l.parent) AS since FROM links l JOIN versions p ON p.pos = l.parent WHERE l.origin = $2 AND l.gen > $3 AND l.gen <= $4`,
].map(
  (superseded) =>
    `INSERT INTO relics (version, since) SELECT pos, greatest($1::bigint, since) FROM (${superseded}) s ON CONFLICT DO NOTHING`,
);

const isBeyond = (row: string) =>
  `${row}.gen > coalesce((SELECT generation FROM horizons h WHERE h.origin = ${row}.origin), 0)`;
const isBelow = (row: string, gen: string) =>
  `${gen} <= (SELECT generation FROM horizons h WHERE h.origin = ${row}.origin AND h.stream = $1)`;
const tidy = [
  `DELETE FROM links l WHERE ${isBelow("l", "l.gen")} AND (NOT EXISTS (SELECT 1 FROM versions WHERE pos = l.parent)
    OR NOT EXISTS (SELECT 1 FROM versions WHERE pos = l.child))`,
  // The one at the horizon stays: it says where that is, and when it was.
  `DELETE FROM generations g WHERE g.stream = $1
    AND g.last < (SELECT generation FROM horizons h WHERE h.origin = g.origin)
    AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.origin = g.origin AND v.origin <> 1 AND v.gen BETWEEN g.first AND g.last)`,
  `DELETE FROM announcements a WHERE ${isBelow("a", "a.gen")}
    AND a.gen < (SELECT max(gen) FROM announcements b WHERE b.origin = a.origin)
    AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.origin = a.origin AND g.first = a.gen)`,
  `DELETE FROM batches b WHERE b.stream = $1 AND b.first_pos + b.count - 1 <= (SELECT floor FROM streams WHERE id = $1)
    AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`,
];

/** The statements about what of a graph is kept, on PostgreSQL. */
export class PostgresRetentionTables implements RetentionTables {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  horizon(stream: number): Promise<{ readonly origin: number; readonly generation: number }[]> {
    const text = "SELECT origin, generation FROM horizons WHERE stream = $1 ORDER BY origin";
    return all(this.#session, text, [stream], "horizon");
  }

  setHorizon(stream: number, origin: number, generation: number): Later<void> {
    const text = `INSERT INTO horizons AS h (origin, stream, generation) VALUES ($1, $2, $3)
      ON CONFLICT (origin) DO UPDATE SET generation = greatest(h.generation, excluded.generation)`;
    return run(this.#session, text, [origin, stream, generation]);
  }

  raiseFloor(stream: number, position: number): Later<void> {
    return run(this.#session, "UPDATE streams SET floor = greatest(floor, $1) WHERE id = $2", [position, stream]);
  }

  addAnnouncement(origin: number, { gen, vector }: AnnouncementRow): Later<void> {
    const text = "INSERT INTO announcements (origin, gen, vector) VALUES ($1, $2, $3)";
    return run(this.#session, text, [origin, gen, vector], "announce");
  }

  announcementsIn(origin: number, first: number, last: number): Promise<AnnouncementRow[]> {
    const text = "SELECT gen, vector FROM announcements WHERE origin = $1 AND gen BETWEEN $2 AND $3 ORDER BY gen";
    return all(this.#session, text, [origin, first, last], "announcements_in");
  }

  lastAnnouncement(origin: number): Promise<AnnouncementRow | undefined> {
    const text = "SELECT gen, vector FROM announcements WHERE origin = $1 ORDER BY gen DESC LIMIT 1";
    return one(this.#session, text, [origin], "last_announcement");
  }

  async hasNewsAfter(stream: number, origin: number, generation: number): Promise<boolean> {
    // An announcement is a batch of its own.
    const text = `SELECT 1 FROM generations g WHERE g.stream = $1
      AND g.id > coalesce((SELECT id FROM generations WHERE origin = $2 AND first = $3), 0)
      AND NOT EXISTS (SELECT 1 FROM announcements a WHERE a.origin = g.origin AND a.gen = g.first) LIMIT 1`;
    return (await one(this.#session, text, [stream, origin, generation], "has_news")) !== undefined;
  }

  lowestConsumer(): Promise<number | undefined> {
    return this.#number("SELECT min(position) AS number FROM consumers");
  }

  async batchAt(position: number): Promise<number> {
    const text = `SELECT id AS number FROM batches
      WHERE id <= coalesce((SELECT batch FROM versions WHERE pos <= $1 ORDER BY pos DESC LIMIT 1), 0)
        AND first_pos + count - 1 <= $1 ORDER BY id DESC LIMIT 1`;
    return (await this.#number(text, position)) ?? 0;
  }

  firstAfter(stream: number, batch: number): Promise<number | undefined> {
    const text = "SELECT id AS number FROM generations WHERE stream = $1 AND batch > $2 ORDER BY id LIMIT 1";
    return this.#number(text, stream, batch);
  }

  firstBeyond(origin: number, generation: number): Promise<number | undefined> {
    const text = "SELECT id AS number FROM generations WHERE origin = $1 AND last > $2 ORDER BY first LIMIT 1";
    return this.#number(text, origin, generation);
  }

  async lastArrived(stream: number): Promise<number> {
    return (await this.#number("SELECT max(id) AS number FROM generations WHERE stream = $1", stream)) ?? 0;
  }

  async lastBefore(origin: number, timeMs: number): Promise<number> {
    // Times may be beyond what the type of the column holds.
    const text = "SELECT max(last) AS number FROM generations WHERE origin = $1 AND stamp_ms < $2::float8";
    return (await this.#number(text, origin, timeMs)) ?? 0;
  }

  steps(
    stream: number,
    after: number,
    end: number,
    limit: number,
  ): Promise<{ readonly id: number; readonly origin: number; readonly last: number }[]> {
    const text = `SELECT id, origin, last FROM generations WHERE stream = $1 AND id > $2 AND id <= $3
      ORDER BY id LIMIT $4`;
    return all(this.#session, text, [stream, after, end, limit]);
  }

  async mark(since: number, origin: number, from: number, to: number): Promise<void> {
    for (const text of mark) await run(this.#session, text, [since, origin, from, to]);
  }

  async lastPosition(origin: number, from: number, to: number): Promise<number> {
    const text = "SELECT max(pos) AS number FROM versions WHERE origin = $1 AND gen > $2 AND gen <= $3 AND origin <> 1";
    return (await this.#number(text, origin, from, to)) ?? 0;
  }

  relics(stream: number, range: Parameters<RetentionTables["relics"]>[1]): Promise<RelicRow[]> {
    const text = `SELECT r.version AS pos, v.object, r.since FROM relics r JOIN versions v ON v.pos = r.version
      JOIN objects o ON o.id = v.object
      WHERE o.stream = $1 AND r.version > $2 AND r.version < $3 AND r.since <= $4 ORDER BY r.version LIMIT $5`;
    return all(this.#session, text, [stream, range.after, range.newest, range.position, range.limit]);
  }

  async hasRelics(stream: number): Promise<boolean> {
    const text = `SELECT 1 FROM relics r JOIN versions v ON v.pos = r.version JOIN objects o ON o.id = v.object
      WHERE o.stream = $1 LIMIT 1`;
    return (await one(this.#session, text, [stream])) !== undefined;
  }

  async contested(stream: number): Promise<number[]> {
    // Of what is decided together everything is kept: its past says what becomes of those that lose.
    const text = `WITH contested (object) AS (
        SELECT DISTINCT c.object FROM conflicts c JOIN objects o ON o.id = c.object WHERE o.stream = $1),
      heads (pos) AS (SELECT c.head FROM conflicts c JOIN contested USING (object)
        UNION SELECT o.head FROM objects o JOIN contested ON contested.object = o.id)
      SELECT object FROM contested
      UNION SELECT w.object FROM heads JOIN versions v USING (pos) JOIN batches b ON b.id = v.batch
        JOIN versions w ON w.pos >= b.first_pos AND w.pos < b.first_pos + b.count`;
    return (await all<{ readonly object: number }>(this.#session, text, [stream])).map(({ object }) => object);
  }

  async needed(relics: readonly RelicRow[]): Promise<ReadonlySet<number>> {
    const text = `SELECT r.pos FROM unnest($1::bigint[], $2::bigint[]) AS r (pos, object)
      WHERE EXISTS (SELECT 1 FROM versions c WHERE c.object = r.object AND c.parent = r.pos AND ${isBeyond("c")})
        OR EXISTS (SELECT 1 FROM edges e JOIN versions c ON c.pos = e.child WHERE e.parent = r.pos AND ${isBeyond("c")})
        OR EXISTS (SELECT 1 FROM links l WHERE l.parent = r.pos AND ${isBeyond("l")})
        OR EXISTS (SELECT 1 FROM mirrors m WHERE m.object = r.object AND m.shown = r.pos)
        OR EXISTS (SELECT 1 FROM intents i WHERE i.object = r.object AND i.version = r.pos)`;
    const columns = [numberArray(relics.map(({ pos }) => pos)), numberArray(relics.map(({ object }) => object))];
    return new Set((await all<{ readonly pos: number }>(this.#session, text, columns)).map(({ pos }) => pos));
  }

  async remove(positions: readonly number[]): Promise<void> {
    for (const [table, column] of [
      ["versions", "pos"],
      ["edges", "child"],
      ["relics", "version"],
    ]) {
      const text = `DELETE FROM ${table} WHERE ${column} = ANY ($1::bigint[])`;
      await run(this.#session, text, [numberArray(positions)]);
    }
  }

  async tidy(stream: number): Promise<void> {
    for (const text of tidy) await run(this.#session, text, [stream]);
  }

  async objectsAfter(stream: number, object: number): Promise<number[]> {
    const text = `SELECT id FROM objects WHERE stream = $1 AND id > $2 ORDER BY id LIMIT ${objectsAtOnce}`;
    return (await all<{ readonly id: number }>(this.#session, text, [stream, object])).map(({ id }) => id);
  }

  async roots(stream: number, after: number, to: number): Promise<RootRow[]> {
    const text = `SELECT v.pos, v.object, v.batch, v.origin, v.gen, v.level, v.via, v.version, v.attributes, v.value, v.parent, o.key
      FROM objects o JOIN versions v ON v.object = o.id JOIN horizons h ON h.origin = v.origin
      WHERE o.stream = $1 AND o.id > $2 AND o.id <= $3 AND v.gen <= h.generation
        AND NOT EXISTS (SELECT 1 FROM relics WHERE version = v.pos) ORDER BY o.id, v.pos`;
    const rows = await all<RootRow>(this.#session, text, [stream, after, to]);
    return rows.map((row) => ({ ...row, attributes: givenText(row.attributes) }));
  }

  versionsOf(object: number): Promise<{ readonly pos: number; readonly origin: number; readonly gen: number }[]> {
    return all(this.#session, "SELECT pos, origin, gen FROM versions WHERE object = $1", [object], "versions_of");
  }

  addRelics(relics: readonly { readonly pos: number; readonly since: number }[]): Later<void> {
    const text = `INSERT INTO relics (version, since) SELECT * FROM unnest($1::bigint[], $2::bigint[])
      ON CONFLICT DO NOTHING`;
    const columns = [numberArray(relics.map(({ pos }) => pos)), numberArray(relics.map(({ since }) => since))];
    return run(this.#session, text, columns, "add_relics");
  }

  async relicsAmong(positions: readonly number[]): Promise<ReadonlySet<number>> {
    if (positions.length === 0) return new Set();
    const text = "SELECT version FROM relics WHERE version = ANY ($1::bigint[])";
    const rows = await all<{ readonly version: number }>(this.#session, text, [numberArray(positions)], "relics_among");
    return new Set(rows.map(({ version }) => version));
  }

  async parts(stream: number): Promise<Buffer[]> {
    const text = "SELECT data FROM snapshot_parts WHERE stream = $1 ORDER BY part";
    return (await all<{ readonly data: Buffer }>(this.#session, text, [stream])).map(({ data }) => data);
  }

  addPart(stream: number, part: number, data: Uint8Array): Later<void> {
    const text = "INSERT INTO snapshot_parts (stream, part, data) VALUES ($1, $2, $3)";
    return run(this.#session, text, [stream, part, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]);
  }

  clearParts(stream: number): Later<void> {
    return run(this.#session, "DELETE FROM snapshot_parts WHERE stream = $1", [stream]);
  }

  async #number(text: string, ...values: readonly unknown[]): Promise<number | undefined> {
    return (await one<{ readonly number: number | null }>(this.#session, text, values))?.number ?? undefined;
  }
}
