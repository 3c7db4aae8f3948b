import { graphKind } from "../history/ddl.ts";
import type { Later } from "../history/flow.ts";
import type { IdRange, PrunedRange, PrunedRows } from "../history/pruner.ts";
import { numberArray } from "./array-literals.ts";
import { all, one, type PostgresSession, run } from "./session.ts";

/** The statements about what is kept of streams on PostgreSQL. */
export class PostgresPrunedRows implements PrunedRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  setConsumer(name: string, position: number, now: number): Later<void> {
    const text = `INSERT INTO consumers (name, position, updated_at) VALUES ($1, $2, $3)
      ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`;
    return run(this.#session, text, [name, position, now]);
  }

  removeConsumer(name: string): Later<void> {
    return run(this.#session, "DELETE FROM consumers WHERE name = $1", [name]);
  }

  async floorOfConsumers(): Promise<number | null> {
    const text = "SELECT min(position) AS position FROM consumers";
    return (await one<{ readonly position: number | null }>(this.#session, text))?.position ?? null;
  }

  raiseFloor(stream: number | null, floor: number): Later<void> {
    const text = `UPDATE streams SET floor = greatest(floor, $1)
      WHERE id = $2 OR ($2::bigint IS NULL AND kind <> '${graphKind}')`;
    return run(this.#session, text, [floor, stream]);
  }

  versionRange(floor: number): Promise<IdRange> {
    return this.#range("SELECT min(pos) AS first, $1::bigint AS last FROM versions WHERE pos <= $1", floor);
  }

  batchRange(floor: number): Promise<IdRange> {
    const text = `SELECT min(id) AS first, (SELECT batch FROM versions WHERE pos <= $1 ORDER BY pos DESC LIMIT 1) AS last
      FROM batches`;
    return this.#range(text, floor);
  }

  commitRange(floor: number): Promise<IdRange> {
    return this.#range("SELECT min(id) AS first, max(id) AS last FROM commits WHERE position <= $1", floor);
  }

  async keptCommits(floor: number): Promise<number[]> {
    const text = "SELECT max(id) AS id FROM commits WHERE position <= $1 GROUP BY stream";
    return (await all<{ readonly id: number }>(this.#session, text, [floor])).map(({ id }) => id);
  }

  removeVersions({
    from,
    to,
    floor,
    stream,
  }: PrunedRange): Promise<{ readonly stream: number; readonly removed: number }[]> {
    const text = `WITH gone AS (
        DELETE FROM versions v USING objects o WHERE o.id = v.object AND v.pos > $1 AND v.pos <= $2
          AND ($4::bigint IS NULL OR o.stream = $4)
          AND NOT EXISTS (SELECT 1 FROM streams s WHERE s.id = o.stream AND s.kind = '${graphKind}')
          AND v.pos < (SELECT max(w.pos) FROM versions w WHERE w.object = v.object AND w.pos <= $3)
        RETURNING o.stream
      ), counted AS (SELECT stream, count(*) AS removed FROM gone GROUP BY stream)
      UPDATE streams s SET versions = s.versions - counted.removed FROM counted WHERE s.id = counted.stream
      RETURNING s.id AS stream, counted.removed`;
    return all(this.#session, text, [from, to, floor, stream], "prune_versions");
  }

  removeBatches({ from, to, floor, stream }: PrunedRange): Later<void> {
    const text = `DELETE FROM batches b WHERE b.id > $1 AND b.id <= $2 AND b.first_pos + b.count - 1 <= $3
      AND ($4::bigint IS NULL OR b.stream = $4)
      AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`;
    return run(this.#session, text, [from, to, floor, stream], "prune_batches");
  }

  removeCommits({ from, to, stream }: PrunedRange, kept: readonly number[]): Later<void> {
    const text = `DELETE FROM commits WHERE id > $1 AND id <= $2 AND ($3::bigint IS NULL OR stream = $3)
      AND NOT id = ANY ($4::bigint[])`;
    return run(this.#session, text, [from, to, stream, numberArray(kept)], "prune_commits");
  }

  async #range(text: string, floor: number): Promise<IdRange> {
    return (await one<IdRange>(this.#session, text, [floor])) ?? { first: null, last: null };
  }
}
