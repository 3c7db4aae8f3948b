import type Database from "better-sqlite3";
import type { AncestorNode } from "./ancestor.ts";
import {
  type ArrivedRow,
  type GenerationRow,
  generationsAtOnce,
  type GraphRow,
  type GraphTables,
  type InboxRow,
  type LinkRow,
  type NewGraphRow,
  type ObjectRow,
  type RowId,
  type SentLink,
  type SentVersion,
} from "./graph-tables.ts";
import { laterStamp } from "./graph-stamp.ts";
import type { Stamp } from "./graph-types.ts";

type RawObject = Omit<ObjectRow, "isDeleted"> & { readonly is_deleted: number };
type RawSent = Omit<SentVersion, "parents" | "hasParent"> &
  Pick<GraphRow, "pos" | "parent"> & {
    readonly parent_origin: number | null;
    readonly parent_gen: number | null;
    readonly has_more: number;
  };
type RawId = [origin: number | null, gen: number | null];
type RawLink = [gen: number, key: Buffer, ...child: RawId, ...parent: RawId];

// Where a statement sorts, or looks for the greatest, what it compares with `=` has a plus before it. Otherwise SQLite, when built
// with STAT4, looks at the value and prepares the statement again each time that it is run, which takes longer than running it
// (sqlite3_prepare_v2, its last paragraph). A CROSS JOIN keeps the order of the tables: where few rows are looked for, which may
// be of any stream, SQLite would otherwise begin with every key of the stream.

/** Objects that one transaction remembers by their keys, and versions, which have values. */
const maxObjects = 4096;
const maxVersions = 8;

/** The statements of graphs on SQLite. */
export class SqliteGraphTables implements GraphTables {
  readonly #origin: Database.Statement<[string], number>;
  readonly #addOrigin: Database.Statement;
  readonly #originName: Database.Statement<[number], string>;
  readonly #objectByKey: Database.Statement<unknown[], Omit<RawObject, "key">>;
  readonly #objectById: Database.Statement<[number], RawObject>;
  readonly #addObject: Database.Statement;
  readonly #setHead: Database.Statement;
  readonly #addVersion: Database.Statement;
  readonly #addEdge: Database.Statement;
  readonly #edges: Database.Statement<[number], number>;
  readonly #version: Database.Statement<[number], GraphRow>;
  readonly #versionOf: Database.Statement<[number, number], GraphRow>;
  readonly #versionsIn: Database.Statement<[number, number, number], RawSent>;
  readonly #idOf: Database.Statement<[number], RowId>;
  readonly #linksIn: Database.Statement<[number, number, number], RawLink>;
  readonly #addLink: Database.Statement;
  readonly #addGenerations: Database.Statement;
  readonly #generationsAfter: Database.Statement<[number, number], GenerationRow>;
  readonly #generationsBeyond: Database.Statement<[string, number, number], ArrivedRow>;
  readonly #batchOf: Database.Statement<[number, number], GenerationRow>;
  readonly #lastGeneration: Database.Statement<[number], number | null>;
  readonly #lastStamp: Database.Statement<[number], Stamp>;
  readonly #vector: Database.Statement<[number], { readonly origin: number; readonly last: number }>;
  readonly #conflictHeads: Database.Statement<[number], number>;
  readonly #addConflict: Database.Statement;
  readonly #removeConflicts: Database.Statement;
  readonly #nextConflict: Database.Statement<[number, number], number>;
  readonly #conflictCount: Database.Statement<[number], number>;
  readonly #newest: Database.Statement<[number], number | null>;
  readonly #headedBy: Database.Statement<[number], number>;
  readonly #addInbox: Database.Statement;
  readonly #inbox: Database.Statement<[number, string, number], InboxRow>;
  readonly #removeInbox: Database.Statement;
  readonly #waiting: Database.Statement<
    [number],
    { readonly origin: string; readonly batches: number; readonly first: number }
  >;

  readonly #lastGenerations = new Map<number, number>();
  #stamp: Stamp | undefined;
  /** What a transaction asks more than once about one change after another; nothing outside of one. */
  readonly #objects = new Map<string, ObjectRow>();
  #versions: GraphRow[] = [];
  #isInTransaction = false;

  constructor(db: Database.Database) {
    const version =
      "SELECT pos, object, batch, origin, gen, level, via, version, attributes, value, parent FROM versions";
    this.#origin = db.prepare<[string], number>("SELECT id FROM origins WHERE name = ?").pluck();
    this.#addOrigin = db.prepare("INSERT INTO origins (name) VALUES (?)");
    this.#originName = db.prepare<[number], string>("SELECT name FROM origins WHERE id = ?").pluck();
    this.#objectByKey = db.prepare("SELECT id, head, is_deleted FROM objects WHERE stream = ? AND key = ?");
    this.#objectById = db.prepare("SELECT id, key, head, is_deleted FROM objects WHERE id = ?");
    this.#addObject = db.prepare("INSERT INTO objects (id, stream, key, head, is_deleted) VALUES (?, ?, ?, ?, ?)");
    this.#setHead = db.prepare("UPDATE objects SET head = ?, is_deleted = ? WHERE id = ?");
    this.#addVersion = db.prepare(
      `INSERT INTO versions (pos, object, batch, origin, gen, epoch, parent, level, via, version, attributes, value)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#addEdge = db.prepare("INSERT INTO edges (child, parent) VALUES (?, ?)");
    this.#edges = db.prepare<[number], number>("SELECT parent FROM edges WHERE child = +? ORDER BY parent").pluck();
    this.#version = db.prepare(`${version} WHERE pos = ?`);
    this.#versionOf = db.prepare(`${version} WHERE origin = ? AND gen = ? AND origin <> 1`);
    this.#versionsIn = db.prepare(
      `SELECT v.gen, o.key, v.value, v.attributes, v.via, v.pos, v.parent, p.origin AS parent_origin, p.gen AS parent_gen,
         EXISTS (SELECT 1 FROM edges e WHERE e.child = v.pos) AS has_more
       FROM versions v JOIN objects o ON o.id = v.object LEFT JOIN versions p ON p.pos = v.parent
       WHERE v.origin = +? AND v.gen BETWEEN ? AND ? AND v.origin <> 1 ORDER BY v.gen`,
    );
    this.#idOf = db.prepare("SELECT origin, gen FROM versions WHERE pos = ?");
    this.#linksIn = db
      .prepare<[number, number, number], RawLink>(
        `SELECT l.gen, o.key, c.origin, c.gen, p.origin, p.gen FROM links l JOIN objects o ON o.id = l.object
         LEFT JOIN versions c ON c.pos = l.child LEFT JOIN versions p ON p.pos = l.parent
         WHERE l.origin = +? AND l.gen BETWEEN ? AND ? ORDER BY l.gen`,
      )
      .raw();
    this.#addLink = db.prepare("INSERT INTO links (origin, gen, object, child, parent) VALUES (?, ?, ?, ?, ?)");
    this.#addGenerations = db.prepare(
      "INSERT INTO generations (origin, first, last, stream, batch, stamp_ms, stamp_counter) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    const generations = "SELECT first, last, batch, stamp_ms, stamp_counter FROM generations WHERE origin = +?";
    this.#generationsAfter = db.prepare(`${generations} AND first > ? ORDER BY first LIMIT ${generationsAtOnce}`);
    this.#generationsBeyond = db.prepare(
      `SELECT g.rowid AS id, g.origin, g.first, g.last, g.batch, g.stamp_ms, g.stamp_counter FROM generations g
       LEFT JOIN json_each(?) known ON known.key = g.origin
       WHERE g.stream = +? AND g.rowid > ? AND g.last > ifnull(known.value, 0) ORDER BY g.rowid LIMIT ${generationsAtOnce}`,
    );
    this.#batchOf = db.prepare(`${generations} AND first <= ? ORDER BY first DESC LIMIT 1`);
    this.#lastGeneration = db
      .prepare<[number], number>("SELECT last FROM generations WHERE origin = +? ORDER BY first DESC LIMIT 1")
      .pluck();
    this.#lastStamp = db.prepare(
      `SELECT stamp_ms AS ms, stamp_counter AS counter FROM generations WHERE stream = +?
       ORDER BY stamp_ms DESC, stamp_counter DESC LIMIT 1`,
    );
    // By the key of each origin: there are as many rows as there were batches.
    this.#vector = db.prepare(
      `SELECT g.origin, g.last FROM origins o CROSS JOIN generations g ON g.origin = o.id
         AND g.first = (SELECT max(first) FROM generations WHERE origin = o.id) WHERE g.stream = ?`,
    );
    this.#conflictHeads = db.prepare<[number], number>("SELECT head FROM conflicts WHERE object = ?").pluck();
    this.#addConflict = db.prepare("INSERT INTO conflicts (object, head) VALUES (?, ?)");
    this.#removeConflicts = db.prepare("DELETE FROM conflicts WHERE object = ?");
    this.#nextConflict = db
      .prepare<[number, number], number>(
        `SELECT c.object FROM conflicts c CROSS JOIN objects o ON o.id = c.object
         WHERE c.object > ? AND o.stream = +? ORDER BY c.object LIMIT 1`,
      )
      .pluck();
    this.#conflictCount = db
      .prepare<[number], number>(
        "SELECT count(DISTINCT c.object) FROM conflicts c CROSS JOIN objects o ON o.id = c.object WHERE o.stream = ?",
      )
      .pluck();
    this.#newest = db.prepare<[number], number | null>("SELECT max(pos) FROM versions WHERE object = +?").pluck();
    this.#headedBy = db
      .prepare<[number], number>(
        `SELECT v.object FROM batches b JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count
         JOIN objects o ON o.id = v.object WHERE b.id = +? AND (o.head = v.pos
           OR EXISTS (SELECT 1 FROM conflicts c WHERE c.object = v.object AND c.head = v.pos)) ORDER BY v.pos`,
      )
      .pluck();
    this.#addInbox = db.prepare("INSERT INTO inbox (stream, origin, first, last, data, at) VALUES (?, ?, ?, ?, ?, ?)");
    this.#inbox = db.prepare(
      "SELECT origin, first, last, data FROM inbox WHERE stream = ? AND origin = ? AND first = ?",
    );
    this.#removeInbox = db.prepare("DELETE FROM inbox WHERE stream = ? AND origin = ? AND first = ?");
    this.#waiting = db.prepare(
      "SELECT origin, count(*) AS batches, min(first) AS first FROM inbox WHERE stream = +? GROUP BY origin ORDER BY origin",
    );
  }

  // A question costs little here: only what every batch or change asks again is remembered, and nothing is collected.
  begin(): void {
    this.#lastGenerations.clear();
    this.#stamp = undefined;
    this.forget();
    this.#isInTransaction = true;
  }

  readAhead(): void {}

  flush(): void {
    this.forget();
  }

  /** The transaction is over. */
  forget(): void {
    this.#objects.clear();
    this.#versions = [];
    this.#isInTransaction = false;
  }

  origin(name: string): number {
    return this.#origin.get(name) ?? (this.#addOrigin.run(name).lastInsertRowid as number);
  }

  originName(id: number): string {
    return this.#originName.get(id) as string;
  }

  object(stream: number, key: Uint8Array): ObjectRow | undefined {
    const name = nameOf(key);
    const known = this.#objects.get(name);
    if (known !== undefined) return known;
    const row = this.#objectByKey.get(stream, key);
    if (row === undefined) return undefined;
    const object = objectOf({ ...row, key: bufferOf(key) });
    this.#rememberObject(name, object);
    return object;
  }

  objectById(id: number): ObjectRow {
    return objectOf(this.#objectById.get(id) as RawObject);
  }

  addObject(stream: number, { id, key, head, isDeleted }: ObjectRow): void {
    this.#addObject.run(id, stream, key, head, isDeleted ? 1 : 0);
  }

  headsOf(object: { readonly id: number; readonly head: number }): number[] {
    return [object.head, ...this.#conflictHeads.all(object.id)];
  }

  setHeads(object: ObjectRow, shown: GraphRow, others: readonly GraphRow[], hadOthers: boolean): void {
    this.#setHead.run(shown.pos, shown.value === null ? 1 : 0, object.id);
    this.#rememberObject(nameOf(object.key), { ...object, head: shown.pos, isDeleted: shown.value === null });
    if (hadOthers) this.#removeConflicts.run(object.id);
    for (const { pos } of others) this.#addConflict.run(object.id, pos);
  }

  addVersion(row: NewGraphRow): void {
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
      row.value,
    );
    for (const parent of further) this.#addEdge.run(row.pos, parent);
  }

  version(position: number): GraphRow | undefined {
    return this.#versions.find(({ pos }) => pos === position) ?? this.#rememberVersion(this.#version.get(position));
  }

  versionOf(origin: number, generation: number): GraphRow | undefined {
    const known = this.#versions.find((row) => row.gen === generation && row.origin === origin);
    return known ?? this.#rememberVersion(this.#versionOf.get(origin, generation));
  }

  parentsOf(row: Pick<GraphRow, "pos" | "parent">): number[] {
    return row.parent === null ? [] : [row.parent, ...this.#edges.all(row.pos)];
  }

  nodeOf(position: number): AncestorNode | undefined {
    const row = this.version(position);
    return row && { position, level: row.level, stamp: row.version, parents: this.parentsOf(row) };
  }

  newestOf(object: number): number {
    return this.#newest.get(object) ?? 0;
  }

  addLink(origin: number, { gen, object, child, parent }: LinkRow): void {
    this.#addLink.run(origin, gen, object, child, parent);
  }

  addGenerations(stream: number, origin: number, row: GenerationRow): void {
    this.#addGenerations.run(origin, row.first, row.last, stream, row.batch, row.stamp_ms, row.stamp_counter);
    this.#lastGenerations.set(origin, row.last);
    if (this.#stamp !== undefined) {
      this.#stamp = laterStamp(this.#stamp, { ms: row.stamp_ms, counter: row.stamp_counter });
    }
  }

  lastGeneration(origin: number): number {
    const known = this.#lastGenerations.get(origin);
    if (known !== undefined) return known;
    const last = this.#lastGeneration.get(origin) ?? 0;
    this.#lastGenerations.set(origin, last);
    return last;
  }

  lastStamp(stream: number): Stamp {
    this.#stamp ??= this.#lastStamp.get(stream) ?? { ms: 0, counter: 0 };
    return this.#stamp;
  }

  batchesOf(versions: readonly RowId[]): (GenerationRow | undefined)[] {
    return versions.map(({ origin, gen }) => this.#batchOf.get(origin, gen));
  }

  vector(stream: number): { readonly origin: number; readonly last: number }[] {
    return this.#vector.all(stream);
  }

  generationsAfter(origin: number, generation: number): GenerationRow[] {
    return this.#generationsAfter.all(origin, generation);
  }

  generationsBeyond(stream: number, vector: Readonly<Record<number, number>>, afterId: number): ArrivedRow[] {
    return this.#generationsBeyond.all(JSON.stringify(vector), stream, afterId);
  }

  versionsIn(origin: number, first: number, last: number): SentVersion[] {
    return this.#versionsIn.all(origin, first, last).map((row) => {
      const { gen, key, value, attributes, via, parent } = row;
      return { gen, key, value, attributes, via, parents: this.#sentParents(row), hasParent: parent !== null };
    });
  }

  #sentParents({ pos, parent_origin, parent_gen, has_more }: RawSent): RowId[] {
    const first = idOf(parent_origin, parent_gen);
    const further = has_more === 1 ? this.#edges.all(pos).flatMap((position) => this.#idOf.get(position) ?? []) : [];
    return first === null ? further : [first, ...further];
  }

  linksIn(origin: number, first: number, last: number): SentLink[] {
    return this.#linksIn.all(origin, first, last).map(([gen, key, child, childGen, parent, parentGen]) => ({
      gen,
      key,
      child: idOf(child, childGen),
      parent: idOf(parent, parentGen),
    }));
  }

  nextConflict(stream: number, after: number): number | undefined {
    return this.#nextConflict.get(after, stream);
  }

  conflictCount(stream: number): number {
    return this.#conflictCount.get(stream) as number;
  }

  headedBy(batches: readonly number[]): number[] {
    return batches.flatMap((batch) => this.#headedBy.all(batch));
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

  #rememberObject(name: string, object: ObjectRow): void {
    if (!this.#isInTransaction) return;
    if (this.#objects.size >= maxObjects) this.#objects.clear();
    this.#objects.set(name, object);
  }

  #rememberVersion(row: GraphRow | undefined): GraphRow | undefined {
    if (row === undefined || !this.#isInTransaction) return row;
    if (this.#versions.length >= maxVersions) this.#versions.shift();
    this.#versions.push(row);
    return row;
  }
}

function nameOf(key: Uint8Array): string {
  return bufferOf(key).toString("latin1");
}

function bufferOf(key: Uint8Array): Buffer {
  return Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength);
}

function objectOf({ id, key, head, is_deleted }: RawObject): ObjectRow {
  return { id, key, head, isDeleted: is_deleted === 1 };
}

function idOf(origin: number | null, gen: number | null): RowId | null {
  return origin === null || gen === null ? null : { origin, gen };
}
