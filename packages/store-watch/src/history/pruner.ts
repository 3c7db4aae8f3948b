import type { Clock } from "@tidemark/clock";
import type Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
import { Moments, type StreamFacts } from "./as-of.ts";
import { graphKind } from "./ddl.ts";
import type { AsOfInput } from "./methods.ts";
import type { StreamState } from "./stream-state.ts";
import type { Transactions } from "./transactions.ts";
import type { VersionStore } from "./version-store.ts";

/** Positions, or batches, looked at in one transaction, so that commits get in between. */
const atOnce = 5000;

/** Removes superseded versions, never what a consumer still needs (V9). */
export class Pruner {
  readonly #store: VersionStore;
  readonly #transactions: Transactions;
  readonly #moments: Moments;
  readonly #all: ReadonlyMap<number, StreamState>;
  readonly #floorOfConsumers: Database.Statement<[], number | null>;
  readonly #consumer: Database.Statement;
  readonly #removeConsumer: Database.Statement;
  readonly #setFloor: Database.Statement;
  readonly #setAllFloors: Database.Statement;
  readonly #oldest: Database.Statement<[], number | null>;
  readonly #count: Database.Statement<unknown[], { readonly stream: number; readonly removed: number }>;
  readonly #removeVersions: Database.Statement;
  readonly #removeEdges: Database.Statement;
  readonly #subtract: Database.Statement;
  readonly #batchRange: Database.Statement<unknown[], IdRange>;
  readonly #commitRange: Database.Statement<unknown[], IdRange>;
  readonly #keptCommits: Database.Statement<[number], number>;
  readonly #removeBatches: Database.Statement;
  readonly #removeCommits: Database.Statement;

  constructor(
    db: Database.Database,
    parts: {
      readonly store: VersionStore;
      readonly transactions: Transactions;
      readonly all: ReadonlyMap<number, StreamState>;
    },
  ) {
    this.#store = parts.store;
    this.#transactions = parts.transactions;
    this.#all = parts.all;
    this.#moments = new Moments(db);
    this.#floorOfConsumers = db.prepare<[], number | null>("SELECT min(position) FROM consumers").pluck();
    this.#consumer = db.prepare(
      `INSERT INTO consumers (name, position, updated_at) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`,
    );
    this.#removeConsumer = db.prepare("DELETE FROM consumers WHERE name = ?");
    this.#setFloor = db.prepare("UPDATE streams SET floor = max(floor, ?) WHERE id = ?");
    this.#setAllFloors = db.prepare(`UPDATE streams SET floor = max(floor, ?) WHERE kind <> '${graphKind}'`);
    this.#oldest = db.prepare<[], number | null>("SELECT min(pos) FROM versions").pluck();
    // Superseded at the floor: something newer of the same object is at or below it.
    // Not of graphs: another site may still build on it.
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
    // One that the floor's state comes from has a version left.
    this.#removeBatches = db.prepare(
      `DELETE FROM batches AS b WHERE b.id > :from AND b.id <= :to AND b.first_pos + b.count - 1 <= :floor
       AND (:stream IS NULL OR b.stream = :stream)
       AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`,
    );
    this.#commitRange = db.prepare("SELECT min(id) AS first, max(id) AS last FROM commits WHERE position <= ?");
    // Each stream's newest at or below the floor says which cursor and time its state there has.
    this.#keptCommits = db
      .prepare<[number], number>("SELECT max(id) FROM commits WHERE position <= ? GROUP BY stream")
      .pluck();
    this.#removeCommits = db.prepare(
      `DELETE FROM commits WHERE id > :from AND id <= :to AND (:stream IS NULL OR stream = :stream)
       AND id NOT IN (SELECT value FROM json_each(:kept))`,
    );
  }

  /** @throws {StoreWatchError} `TOO_OLD` below a floor, `NOT_REACHED` beyond the end. */
  setConsumer(name: string, position: number | undefined, nowMs: number): void {
    this.#transactions.run(undefined, () => {
      if (position === undefined) {
        this.#removeConsumer.run(name);
        return;
      }
      const floor = this.#moments.floor(undefined);
      if (position < floor) {
        throw new StoreWatchError(
          "TOO_OLD",
          `a consumer at position ${position} needs versions that were pruned; the floor is ${floor}`,
        );
      }
      this.#moments.find({ position }, undefined);
      this.#consumer.run(name, position, Math.floor(nowMs));
    });
  }

  /** @throws {StoreWatchError} `NOT_FOUND`, `NOT_REACHED`, `OPTIONS_INVALID` */
  async prune(
    before: AsOfInput,
    streamName: string | undefined,
    clock: Clock,
  ): Promise<{ readonly removed: number; readonly floor: number }> {
    const facts = streamName === undefined ? undefined : this.#moments.stream(streamName);
    if (facts?.kind === graphKind) {
      throw new StoreWatchError(
        "OPTIONS_INVALID",
        `${JSON.stringify(facts.name)} is a graph, whose old versions other sites may still build on; name another stream`,
      );
    }
    const stream = facts?.id ?? null;
    const floor = this.#transactions.run(undefined, () => this.#raiseFloor(before, facts));
    let removed = 0;
    const inPieces = async (first: number, last: number, piece: (from: number, to: number) => void) => {
      for (let from = first - 1; from < last; from += atOnce) {
        this.#transactions.run(undefined, () => piece(from, Math.min(from + atOnce, last)));
        // Commits of the streams get their turn.
        await new Promise<void>((resolve) => clock.setImmediate(resolve));
      }
    };
    await inPieces(this.#oldest.get() ?? 1, floor, (from, to) => {
      removed += this.#removeRange({ from, to, floor, stream });
    });
    const { first, last } = this.#batchRange.get(floor) as IdRange;
    if (first !== null && last !== null) {
      await inPieces(first, last, (from, to) => this.#removeBatches.run({ from, to, floor, stream }));
    }
    const commits = this.#commitRange.get(floor) as IdRange;
    if (commits.first !== null && commits.last !== null) {
      const kept = JSON.stringify(this.#keptCommits.all(floor));
      await inPieces(commits.first, commits.last, (from, to) => this.#removeCommits.run({ from, to, stream, kept }));
    }
    return { removed, floor };
  }

  /** In a transaction of its own, before anything is removed: whoever reads below it is told so (V9). */
  #raiseFloor(before: AsOfInput, stream: StreamFacts | undefined): number {
    const wanted = this.#moments.find(before, stream) ?? this.#store.position;
    const floor = Math.min(wanted, this.#floorOfConsumers.get() ?? wanted);
    if (stream === undefined) this.#setAllFloors.run(floor);
    else this.#setFloor.run(floor, stream.id);
    return floor;
  }

  #removeRange(range: Range): number {
    const counts = this.#count.all(range);
    if (counts.length === 0) return 0;
    let total = 0;
    for (const { stream, removed } of counts) {
      this.#subtract.run(removed, stream);
      total += removed;
    }
    this.#removeVersions.run(range);
    this.#removeEdges.run({ from: range.from, to: range.to });
    for (const { stream, removed } of counts) {
      const state = this.#all.get(stream);
      if (state !== undefined) state.versions -= removed;
    }
    return total;
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  readonly floor: number;
  readonly stream: number | null;
}

interface IdRange {
  readonly first: number | null;
  readonly last: number | null;
}
