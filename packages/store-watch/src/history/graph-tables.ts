import type Database from "better-sqlite3";
import type { AncestorNode } from "./ancestor.ts";
import type { Stamp } from "./graph-types.ts";

/** A version as the graph needs it. */
export interface GraphRow {
  readonly pos: number;
  readonly object: number;
  readonly batch: number;
  readonly origin: number;
  readonly gen: number;
  readonly level: number;
  readonly via: number;
  readonly version: string;
  readonly attributes: string | null;
  readonly value: Buffer | null;
  readonly parent: number | null;
}

export interface ObjectRow {
  readonly id: number;
  readonly key: Buffer;
  readonly head: number;
  readonly is_deleted: number;
}

export interface GenerationRow {
  readonly first: number;
  readonly last: number;
  readonly batch: number | null;
  readonly stamp_ms: number;
  readonly stamp_counter: number;
}

export interface InboxRow {
  readonly origin: string;
  readonly first: number;
  readonly last: number;
  readonly data: Buffer;
}

export interface LinkRow {
  readonly gen: number;
  readonly object: number;
  readonly child: number;
  readonly parent: number;
}

/** The statements of graphs. */
export class GraphTables {
  readonly #origin: Database.Statement<[string], number>;
  readonly #addOrigin: Database.Statement;
  readonly #originName: Database.Statement<[number], string>;
  readonly #objectByKey: Database.Statement<unknown[], ObjectRow>;
  readonly #objectById: Database.Statement<[number], ObjectRow>;
  readonly #addObject: Database.Statement;
  readonly #setHead: Database.Statement;
  readonly #addVersion: Database.Statement;
  readonly #addEdge: Database.Statement;
  readonly #edges: Database.Statement<[number], number>;
  readonly #version: Database.Statement<[number], GraphRow>;
  readonly #versionOf: Database.Statement<[number, number], GraphRow>;
  readonly #versionsIn: Database.Statement<[number, number, number], GraphRow>;
  readonly #linksIn: Database.Statement<[number, number, number], LinkRow>;
  readonly #addLink: Database.Statement;
  readonly #addGenerations: Database.Statement;
  readonly #generationsAfter: Database.Statement<[number, number], GenerationRow>;
  readonly #generationsBeyond: Database.Statement<[string, number], GenerationRow & { readonly origin: number }>;
  readonly #generationsOf: Database.Statement<[number, number], GenerationRow>;
  readonly #lastGeneration: Database.Statement<[number], number | null>;
  readonly #lastStamp: Database.Statement<[number], { readonly ms: number; readonly counter: number }>;
  readonly #vector: Database.Statement<[number], { readonly origin: number; readonly last: number }>;
  readonly #conflictHeads: Database.Statement<[number], number>;
  readonly #addConflict: Database.Statement;
  readonly #removeConflicts: Database.Statement;
  readonly #nextConflict: Database.Statement<[number, number], number>;
  readonly #conflictCount: Database.Statement<[number], number>;
  readonly #newest: Database.Statement<[number], number | null>;
  readonly #batchObjects: Database.Statement<[number], { readonly pos: number; readonly object: number }>;
  readonly #addInbox: Database.Statement;
  readonly #inbox: Database.Statement<[number, string, number], InboxRow>;
  readonly #removeInbox: Database.Statement;
  readonly #waiting: Database.Statement<
    [number],
    { readonly origin: string; readonly batches: number; readonly first: number }
  >;

  constructor(db: Database.Database) {
    const version =
      "SELECT pos, object, batch, origin, gen, level, via, version, attributes, value, parent FROM versions";
    this.#origin = db.prepare<[string], number>("SELECT id FROM origins WHERE name = ?").pluck();
    this.#addOrigin = db.prepare("INSERT INTO origins (name) VALUES (?)");
    this.#originName = db.prepare<[number], string>("SELECT name FROM origins WHERE id = ?").pluck();
    this.#objectByKey = db.prepare("SELECT id, key, head, is_deleted FROM objects WHERE stream = ? AND key = ?");
    this.#objectById = db.prepare("SELECT id, key, head, is_deleted FROM objects WHERE id = ?");
    this.#addObject = db.prepare("INSERT INTO objects (id, stream, key, head, is_deleted) VALUES (?, ?, ?, ?, ?)");
    this.#setHead = db.prepare("UPDATE objects SET head = ?, is_deleted = ? WHERE id = ?");
    this.#addVersion = db.prepare(
      `INSERT INTO versions (pos, object, batch, origin, gen, epoch, parent, level, via, version, attributes, source_time, value)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#addEdge = db.prepare("INSERT INTO edges (child, parent) VALUES (?, ?)");
    this.#edges = db.prepare<[number], number>("SELECT parent FROM edges WHERE child = ? ORDER BY parent").pluck();
    this.#version = db.prepare(`${version} WHERE pos = ?`);
    this.#versionOf = db.prepare(`${version} WHERE origin = ? AND gen = ? AND origin <> 1`);
    this.#versionsIn = db.prepare(`${version} WHERE origin = ? AND gen BETWEEN ? AND ? AND origin <> 1 ORDER BY gen`);
    this.#linksIn = db.prepare(
      "SELECT gen, object, child, parent FROM links WHERE origin = ? AND gen BETWEEN ? AND ? ORDER BY gen",
    );
    this.#addLink = db.prepare("INSERT INTO links (origin, gen, object, child, parent) VALUES (?, ?, ?, ?, ?)");
    this.#addGenerations = db.prepare(
      "INSERT INTO generations (origin, first, last, stream, batch, stamp_ms, stamp_counter) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    const generations = "SELECT first, last, batch, stamp_ms, stamp_counter FROM generations WHERE origin = ?";
    this.#generationsAfter = db.prepare(`${generations} AND first > ? ORDER BY first`);
    // In the order in which they came here.
    this.#generationsBeyond = db.prepare(
      `SELECT g.origin, g.first, g.last, g.batch, g.stamp_ms, g.stamp_counter FROM generations g
       LEFT JOIN json_each(?) known ON known.key = g.origin
       WHERE g.stream = ? AND g.last > ifnull(known.value, 0) ORDER BY g.rowid`,
    );
    this.#generationsOf = db.prepare(`${generations} AND first <= ? ORDER BY first DESC LIMIT 1`);
    this.#lastGeneration = db
      .prepare<[number], number>("SELECT last FROM generations WHERE origin = ? ORDER BY first DESC LIMIT 1")
      .pluck();
    this.#lastStamp = db.prepare(
      `SELECT stamp_ms AS ms, stamp_counter AS counter FROM generations WHERE stream = ?
       ORDER BY stamp_ms DESC, stamp_counter DESC LIMIT 1`,
    );
    this.#vector = db.prepare("SELECT origin, max(last) AS last FROM generations WHERE stream = ? GROUP BY origin");
    this.#conflictHeads = db.prepare<[number], number>("SELECT head FROM conflicts WHERE object = ?").pluck();
    this.#addConflict = db.prepare("INSERT INTO conflicts (object, head) VALUES (?, ?)");
    this.#removeConflicts = db.prepare("DELETE FROM conflicts WHERE object = ?");
    this.#nextConflict = db
      .prepare<[number, number], number>(
        `SELECT c.object FROM conflicts c JOIN objects o ON o.id = c.object
         WHERE c.object > ? AND o.stream = ? ORDER BY c.object LIMIT 1`,
      )
      .pluck();
    this.#conflictCount = db
      .prepare<[number], number>(
        "SELECT count(DISTINCT c.object) FROM conflicts c JOIN objects o ON o.id = c.object WHERE o.stream = ?",
      )
      .pluck();
    this.#newest = db.prepare<[number], number | null>("SELECT max(pos) FROM versions WHERE object = ?").pluck();
    this.#batchObjects = db.prepare(
      `SELECT v.pos, v.object FROM batches b JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count
       WHERE b.id = ? ORDER BY v.pos`,
    );
    this.#addInbox = db.prepare("INSERT INTO inbox (stream, origin, first, last, data, at) VALUES (?, ?, ?, ?, ?, ?)");
    this.#inbox = db.prepare(
      "SELECT origin, first, last, data FROM inbox WHERE stream = ? AND origin = ? AND first = ?",
    );
    this.#removeInbox = db.prepare("DELETE FROM inbox WHERE stream = ? AND origin = ? AND first = ?");
    this.#waiting = db.prepare(
      "SELECT origin, count(*) AS batches, min(first) AS first FROM inbox WHERE stream = ? GROUP BY origin ORDER BY origin",
    );
  }

  /** The row of an origin of a graph, made when it is new. Graphs of one history share no origins. */
  origin(name: string): number {
    return this.#origin.get(name) ?? (this.#addOrigin.run(name).lastInsertRowid as number);
  }

  originName(id: number): string {
    return this.#originName.get(id) as string;
  }

  object(stream: number, key: Uint8Array): ObjectRow | undefined {
    return this.#objectByKey.get(stream, key);
  }

  objectById(id: number): ObjectRow {
    return this.#objectById.get(id) as ObjectRow;
  }

  addObject(id: number, stream: number, key: Uint8Array, head: number, isDeleted: boolean): void {
    this.#addObject.run(id, stream, key, head, isDeleted ? 1 : 0);
  }

  /** The heads of an object; the first one is shown. */
  headsOf(object: { readonly id: number; readonly head: number }): number[] {
    return [object.head, ...this.#conflictHeads.all(object.id)];
  }

  setHeads(object: number, shown: GraphRow, others: readonly GraphRow[], hadOthers: boolean): void {
    this.#setHead.run(shown.pos, shown.value === null ? 1 : 0, object);
    if (hadOthers) this.#removeConflicts.run(object);
    for (const { pos } of others) this.#addConflict.run(object, pos);
  }

  addVersion(row: GraphRow & { readonly epoch: number; readonly parents: readonly number[] }): void {
    const [first, ...further] = row.parents;
    this.#addVersion.run(
      row.pos,
      row.object,
      row.batch,
      row.origin,
      row.gen,
      row.epoch,
      first ?? null,
      row.level,
      row.via,
      row.version,
      row.attributes,
      null,
      row.value,
    );
    for (const parent of further) this.#addEdge.run(row.pos, parent);
  }

  version(position: number): GraphRow | undefined {
    return this.#version.get(position);
  }

  versionOf(origin: number, generation: number): GraphRow | undefined {
    return this.#versionOf.get(origin, generation);
  }

  parentsOf(row: Pick<GraphRow, "pos" | "parent">): number[] {
    return row.parent === null ? [] : [row.parent, ...this.#edges.all(row.pos)];
  }

  nodeOf(position: number): AncestorNode | undefined {
    const row = this.version(position);
    return row && { position, level: row.level, stamp: row.version, parents: this.parentsOf(row) };
  }

  versionsIn(origin: number, first: number, last: number): GraphRow[] {
    return this.#versionsIn.all(origin, first, last);
  }

  linksIn(origin: number, first: number, last: number): LinkRow[] {
    return this.#linksIn.all(origin, first, last);
  }

  addLink(origin: number, link: LinkRow): void {
    this.#addLink.run(origin, link.gen, link.object, link.child, link.parent);
  }

  addGenerations(stream: number, origin: number, row: GenerationRow): void {
    this.#addGenerations.run(origin, row.first, row.last, stream, row.batch, row.stamp_ms, row.stamp_counter);
  }

  generationsAfter(origin: number, generation: number): IterableIterator<GenerationRow> {
    return this.#generationsAfter.iterate(origin, generation);
  }

  /** What is above a vector of origin ids. */
  generationsBeyond(
    stream: number,
    vector: Readonly<Record<number, number>>,
  ): IterableIterator<GenerationRow & { readonly origin: number }> {
    return this.#generationsBeyond.iterate(JSON.stringify(vector), stream);
  }

  /** The batch that a generation belongs to. */
  generationsOf(origin: number, generation: number): GenerationRow | undefined {
    return this.#generationsOf.get(origin, generation);
  }

  lastGeneration(origin: number): number {
    return this.#lastGeneration.get(origin) ?? 0;
  }

  lastStamp(stream: number): Stamp {
    return this.#lastStamp.get(stream) ?? { ms: 0, counter: 0 };
  }

  vector(stream: number): { readonly origin: number; readonly last: number }[] {
    return this.#vector.all(stream);
  }

  nextConflict(stream: number, after: number): number | undefined {
    return this.#nextConflict.get(after, stream);
  }

  conflictCount(stream: number): number {
    return this.#conflictCount.get(stream) as number;
  }

  /** The position of an object's last version in the log. */
  newestOf(object: number): number {
    return this.#newest.get(object) ?? 0;
  }

  /** The versions of a batch. */
  batchObjects(batch: number): { readonly pos: number; readonly object: number }[] {
    return this.#batchObjects.all(batch);
  }

  addInbox(stream: number, row: InboxRow, at: number): void {
    this.#addInbox.run(stream, row.origin, row.first, row.last, row.data, at);
  }

  inbox(stream: number, origin: string, first: number): InboxRow | undefined {
    return this.#inbox.get(stream, origin, first);
  }

  removeInbox(stream: number, origin: string, first: number): void {
    this.#removeInbox.run(stream, origin, first);
  }

  waiting(stream: number): { readonly origin: string; readonly batches: number; readonly first: number }[] {
    return this.#waiting.all(stream);
  }
}
