import type Database from "better-sqlite3";
import { graphKind } from "./ddl.ts";
import type { IdRange, PrunedRange, PrunedRows } from "./pruner.ts";

/** The statements about what is kept of streams on SQLite. */
export class PrunedTable implements PrunedRows {
  readonly #floorOfConsumers: Database.Statement<[], number | null>;
  readonly #consumer: Database.Statement;
  readonly #removeConsumer: Database.Statement;
  readonly #setFloor: Database.Statement;
  readonly #versionRange: Database.Statement<[number, number], IdRange>;
  readonly #count: Database.Statement<unknown[], { readonly stream: number; readonly removed: number }>;
  readonly #removeVersions: Database.Statement;
  readonly #removeEdges: Database.Statement;
  readonly #subtract: Database.Statement;
  readonly #batchRange: Database.Statement<[number], IdRange>;
  readonly #commitRange: Database.Statement<[number], IdRange>;
  readonly #keptCommits: Database.Statement<[number], number>;
  readonly #removeBatches: Database.Statement;
  readonly #removeCommits: Database.Statement;

  constructor(db: Database.Database) {
    this.#floorOfConsumers = db.prepare<[], number | null>("SELECT min(position) FROM consumers").pluck();
    this.#consumer = db.prepare(
      `INSERT INTO consumers (name, position, updated_at) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`,
    );
    this.#removeConsumer = db.prepare("DELETE FROM consumers WHERE name = ?");
    this.#setFloor = db.prepare(
      `UPDATE streams SET floor = max(floor, :floor)
       WHERE id = :stream OR (:stream IS NULL AND kind <> '${graphKind}')`,
    );
    this.#versionRange = db.prepare("SELECT min(pos) AS first, ? AS last FROM versions WHERE pos <= ?");
    const superseded = `pos > :from AND pos <= :to AND (:stream IS NULL OR o.stream = :stream)
      AND o.stream NOT IN (SELECT id FROM streams WHERE kind = '${graphKind}')
      AND pos < (SELECT max(w.pos) FROM versions w WHERE w.object = v.object AND w.pos <= :floor)`;
    this.#count = db.prepare(
      `SELECT o.stream AS stream, count(*) AS removed FROM versions v JOIN objects o ON o.id = v.object
       WHERE ${superseded} GROUP BY o.stream`,
    );
    this.#removeVersions = db.prepare(
      `DELETE FROM versions WHERE pos IN (SELECT pos FROM versions v JOIN objects o ON o.id = v.object WHERE ${superseded})`,
    );
    this.#subtract = db.prepare("UPDATE streams SET versions = versions - ? WHERE id = ?");
    this.#removeEdges = db.prepare(
      "DELETE FROM edges WHERE child > :from AND child <= :to AND child NOT IN (SELECT pos FROM versions)",
    );
    this.#batchRange = db.prepare(
      "SELECT min(id) AS first, (SELECT batch FROM versions WHERE pos <= ? ORDER BY pos DESC LIMIT 1) AS last FROM batches",
    );
    this.#removeBatches = db.prepare(
      `DELETE FROM batches AS b WHERE b.id > :from AND b.id <= :to AND b.first_pos + b.count - 1 <= :floor
       AND (:stream IS NULL OR b.stream = :stream)
       AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`,
    );
    this.#commitRange = db.prepare("SELECT min(id) AS first, max(id) AS last FROM commits WHERE position <= ?");
    this.#keptCommits = db
      .prepare<[number], number>("SELECT max(id) FROM commits WHERE position <= ? GROUP BY stream")
      .pluck();
    this.#removeCommits = db.prepare(
      `DELETE FROM commits WHERE id > :from AND id <= :to AND (:stream IS NULL OR stream = :stream)
       AND id NOT IN (SELECT value FROM json_each(:kept))`,
    );
  }

  setConsumer(name: string, position: number, now: number): void {
    this.#consumer.run(name, position, now);
  }

  removeConsumer(name: string): void {
    this.#removeConsumer.run(name);
  }

  floorOfConsumers(): number | null {
    return this.#floorOfConsumers.get() ?? null;
  }

  raiseFloor(stream: number | null, floor: number): void {
    this.#setFloor.run({ stream, floor });
  }

  versionRange(floor: number): IdRange {
    return this.#versionRange.get(floor, floor) as IdRange;
  }

  batchRange(floor: number): IdRange {
    return this.#batchRange.get(floor) as IdRange;
  }

  commitRange(floor: number): IdRange {
    return this.#commitRange.get(floor) as IdRange;
  }

  keptCommits(floor: number): number[] {
    return this.#keptCommits.all(floor);
  }

  removeVersions(range: PrunedRange): readonly { readonly stream: number; readonly removed: number }[] {
    const counts = this.#count.all(range);
    if (counts.length === 0) return counts;
    for (const { stream, removed } of counts) this.#subtract.run(removed, stream);
    this.#removeVersions.run(range);
    this.#removeEdges.run({ from: range.from, to: range.to });
    return counts;
  }

  removeBatches(range: PrunedRange): void {
    this.#removeBatches.run(range);
  }

  removeCommits({ from, to, stream }: PrunedRange, kept: readonly number[]): void {
    this.#removeCommits.run({ from, to, stream, kept: JSON.stringify(kept) });
  }
}
