import type { Later } from "../history/flow.ts";
import type { AncestorNode } from "../history/ancestor.ts";
import {
  type ArrivedRow,
  type GenerationRow,
  generationsAtOnce,
  type GraphRow,
  type GraphTables,
  type GraphWants,
  type InboxRow,
  type LinkRow,
  type NewGraphRow,
  type ObjectRow,
  type RowId,
  type SentLink,
  type SentVersion,
} from "../history/graph-tables.ts";
import type { Stamp } from "../history/graph-types.ts";
import { givenText } from "./any-text.ts";
import { numberArray } from "./array-literals.ts";
import { GraphMemory } from "./graph-memory.ts";
import { GraphRows } from "./graph-rows.ts";
import { all, one, type PostgresSession, run } from "./session.ts";

interface RawVersion extends GraphRow {
  readonly edges: readonly number[] | null;
}

interface RawObject {
  readonly id: number;
  readonly key: Buffer;
  readonly head: number;
  readonly is_deleted: boolean;
  readonly others: readonly number[] | null;
}

// Lists come as JSON, which the driver turns into numbers.
const edges = "(SELECT json_agg(e.parent ORDER BY e.parent) FROM edges e WHERE e.child = v.pos) AS edges";
const version = `v.pos, v.object, v.batch, v.origin, v.gen, v.level, v.via, v.version, v.attributes, v.value, v.parent, ${edges}`;
const object = `o.id, o.key, o.head, o.is_deleted,
  (SELECT json_agg(c.head ORDER BY c.head) FROM conflicts c WHERE c.object = o.id) AS others`;
const itsHeads = `JOIN LATERAL (SELECT o.head AS pos UNION ALL SELECT c.head FROM conflicts c WHERE c.object = o.id) h ON true
  JOIN versions v ON v.pos = h.pos`;
const generations = "first, last, batch, stamp_ms, stamp_counter FROM generations WHERE origin = $1";

/**
 * The statements of graphs on PostgreSQL. A question there takes as long as a hundred rows of its answer: so what a
 * transaction is about is read ahead, what it makes is remembered, and written at its end with one statement for each table.
 */
export class PostgresGraphTables implements GraphTables {
  readonly #session: PostgresSession;
  readonly #rows: GraphRows;
  #memory = new GraphMemory();

  constructor(session: PostgresSession) {
    this.#session = session;
    this.#rows = new GraphRows(session);
  }

  begin(): void {
    this.#memory = new GraphMemory();
    this.#rows.clear();
  }

  /** The questions go out together. */
  async readAhead(stream: number, wants: GraphWants): Promise<void> {
    const { keys = [], versions = [], positions = [], objects = [], origins = [], stamp = false } = wants;
    const memory = this.#memory;
    await Promise.all([
      this.#readKeys(stream, memory.unknownKeys(keys)),
      this.#readObjects(memory.unknownObjects(objects)),
      this.#readPositions(memory.unknownPositions(positions)),
      this.#readVersions(memory.unknownVersions(versions)),
      this.#readGenerations(origins.filter((origin) => memory.lastGeneration(origin) === undefined)),
      stamp && this.lastStamp(stream),
    ]);
  }

  flush(): Promise<void> {
    return this.#rows.flush();
  }

  async origin(name: string): Promise<number> {
    const known = await one<{ readonly id: number }>(this.#session, "SELECT id FROM origins WHERE name = $1", [name]);
    if (known !== undefined) return known.id;
    const text =
      "INSERT INTO origins (id, name) VALUES ((SELECT coalesce(max(id), 0) + 1 FROM origins), $1) RETURNING id";
    return ((await one<{ readonly id: number }>(this.#session, text, [name])) as { readonly id: number }).id;
  }

  async originName(id: number): Promise<string> {
    const text = "SELECT name FROM origins WHERE id = $1";
    return ((await one<{ readonly name: string }>(this.#session, text, [id])) as { readonly name: string }).name;
  }

  async object(stream: number, key: Uint8Array): Promise<ObjectRow | undefined> {
    if (this.#memory.unknownKeys([key]).length > 0) await this.readAhead(stream, { keys: [key] });
    return this.#memory.object(key);
  }

  async objectById(id: number): Promise<ObjectRow> {
    const known = this.#memory.objectById(id);
    if (known !== undefined) return known;
    await this.#readObjects([id]);
    return this.#memory.objectById(id) as ObjectRow;
  }

  addObject(stream: number, added: ObjectRow): void {
    this.#memory.setObject(added.key, added);
    this.#memory.setOthers(added.id, []);
    this.#rows.addObject(stream, added);
  }

  async headsOf({ id, head }: { readonly id: number; readonly head: number }): Promise<readonly number[]> {
    if (this.#memory.othersOf(id) === undefined) await this.objectById(id);
    return [head, ...(this.#memory.othersOf(id) ?? [])];
  }

  setHeads(moved: ObjectRow, shown: GraphRow, others: readonly GraphRow[], hadOthers: boolean): void {
    const after = { ...moved, head: shown.pos, isDeleted: shown.value === null };
    const positions = others.map(({ pos }) => pos);
    this.#memory.setObject(moved.key, after);
    this.#memory.setOthers(moved.id, positions);
    this.#rows.moveObject(after);
    if (hadOthers || positions.length > 0) this.#rows.setConflicts(moved.id, positions);
  }

  addVersion(row: NewGraphRow): void {
    this.#memory.setVersion(row, row.parents.slice(1));
    this.#memory.setNewest(row.object, row.pos);
    this.#rows.addVersion(row);
  }

  async version(position: number): Promise<GraphRow | undefined> {
    const known = this.#memory.version(position);
    if (known !== undefined) return known;
    await this.readAhead(0, { positions: [position] });
    return this.#memory.version(position);
  }

  async versionOf(origin: number, gen: number): Promise<GraphRow | undefined> {
    const known = this.#memory.versionOf(origin, gen);
    if (known !== undefined) return known;
    await this.readAhead(0, { versions: [{ origin, gen }] });
    return this.#memory.versionOf(origin, gen);
  }

  async parentsOf({ pos, parent }: Pick<GraphRow, "pos" | "parent">): Promise<readonly number[]> {
    if (parent === null) return [];
    await this.version(pos);
    return [parent, ...this.#memory.edgesOf(pos)];
  }

  async nodeOf(position: number): Promise<AncestorNode | undefined> {
    const known = this.#memory.version(position);
    if (known !== undefined) {
      const { level, version: stamp } = known;
      return { position, level, stamp, parents: await this.parentsOf(known) };
    }
    const text = `SELECT v.level, v.version AS stamp, v.parent, ${edges} FROM versions v WHERE v.pos = $1`;
    type Node = Omit<AncestorNode, "position" | "parents"> & Pick<RawVersion, "parent" | "edges">;
    const node = await one<Node>(this.#session, text, [position], "graph_node");
    if (node === undefined) return undefined;
    const parents = node.parent === null ? [] : [node.parent, ...(node.edges ?? [])];
    return { position, level: node.level, stamp: node.stamp, parents };
  }

  async newestOf(id: number): Promise<number> {
    const known = this.#memory.newestOf(id);
    if (known !== undefined) return known;
    const text = "SELECT coalesce(max(pos), 0) AS pos FROM versions WHERE object = $1";
    const pos = (await one<{ readonly pos: number }>(this.#session, text, [id], "graph_newest"))?.pos ?? 0;
    this.#memory.setNewest(id, pos);
    return pos;
  }

  addLink(origin: number, link: LinkRow): void {
    this.#rows.addLink(origin, link);
  }

  addGenerations(stream: number, origin: number, row: GenerationRow): void {
    this.#memory.setLastGeneration(origin, row.last);
    this.#memory.raiseStamp({ ms: row.stamp_ms, counter: row.stamp_counter });
    this.#rows.addGenerations(stream, origin, row);
  }

  async lastGeneration(origin: number): Promise<number> {
    const known = this.#memory.lastGeneration(origin);
    if (known !== undefined) return known;
    await this.#readGenerations([origin]);
    return this.#memory.lastGeneration(origin) as number;
  }

  async lastStamp(stream: number): Promise<Stamp> {
    if (!this.#memory.hasStamp) {
      const text = `SELECT stamp_ms AS ms, stamp_counter AS counter FROM generations WHERE stream = $1
        ORDER BY stamp_ms DESC, stamp_counter DESC LIMIT 1`;
      this.#memory.raiseStamp(
        (await one<Stamp>(this.#session, text, [stream], "graph_stamp")) ?? { ms: 0, counter: 0 },
      );
      this.#memory.hasStamp = true;
    }
    return this.#memory.stamp;
  }

  async batchesOf(ids: readonly RowId[]): Promise<(GenerationRow | undefined)[]> {
    if (ids.length === 0) return [];
    const text = `SELECT wanted.place, g.* FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted (origin, gen, place),
      LATERAL (SELECT first, last, batch, stamp_ms, stamp_counter FROM generations
        WHERE origin = wanted.origin AND first <= wanted.gen ORDER BY first DESC LIMIT 1) g`;
    const columns = [numberArray(ids.map(({ origin }) => origin)), numberArray(ids.map(({ gen }) => gen))];
    const rows = await all<GenerationRow & { readonly place: number }>(
      this.#session,
      text,
      columns,
      "graph_batches_of",
    );
    const byPlace = new Map(rows.map((row) => [row.place, row]));
    return ids.map((_, index) => byPlace.get(index + 1));
  }

  vector(stream: number): Promise<{ readonly origin: number; readonly last: number }[]> {
    // By the key of each origin: there are as many rows as there were batches.
    const text = `SELECT o.id AS origin, g.last FROM origins o, LATERAL (SELECT last, stream FROM generations
        WHERE origin = o.id ORDER BY first DESC LIMIT 1) g WHERE g.stream = $1 ORDER BY o.id`;
    return all(this.#session, text, [stream], "graph_vector");
  }

  generationsAfter(origin: number, generation: number): Promise<GenerationRow[]> {
    const text = `SELECT ${generations} AND first > $2 ORDER BY first LIMIT ${generationsAtOnce}`;
    return all(this.#session, text, [origin, generation], "graph_after");
  }

  generationsBeyond(stream: number, vector: Readonly<Record<number, number>>, afterId: number): Promise<ArrivedRow[]> {
    const text = `SELECT g.id, g.origin, g.first, g.last, g.batch, g.stamp_ms, g.stamp_counter FROM generations g
      LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS known (origin, last) ON known.origin = g.origin
      WHERE g.stream = $3 AND g.id > $4 AND g.last > coalesce(known.last, 0) ORDER BY g.id LIMIT ${generationsAtOnce}`;
    const known = [numberArray(Object.keys(vector).map(Number)), numberArray(Object.values(vector))];
    return all(this.#session, text, [...known, stream, afterId], "graph_beyond");
  }

  async versionsIn(origin: number, first: number, last: number): Promise<SentVersion[]> {
    const text = `SELECT v.gen, o.key, v.value, v.attributes, v.via,
        (SELECT json_agg(json_build_object('origin', p.origin, 'gen', p.gen) ORDER BY l.rank, l.pos)
          FROM (SELECT 0 AS rank, v.parent AS pos UNION ALL SELECT 1, e.parent FROM edges e WHERE e.child = v.pos) l
          JOIN versions p ON p.pos = l.pos) AS parents
        , v.parent IS NOT NULL AS "hasParent"
      FROM versions v JOIN objects o ON o.id = v.object
      WHERE v.origin = $1 AND v.gen BETWEEN $2 AND $3 AND v.origin <> 1 ORDER BY v.gen`;
    type Row = Omit<SentVersion, "parents"> & { readonly parents: SentVersion["parents"] | null };
    const rows = await all<Row>(this.#session, text, [origin, first, last], "graph_versions_in");
    return rows.map((row) => ({ ...row, attributes: givenText(row.attributes), parents: row.parents ?? [] }));
  }

  async linksIn(origin: number, first: number, last: number): Promise<SentLink[]> {
    const id = (row: string) =>
      `CASE WHEN ${row}.pos IS NOT NULL THEN json_build_object('origin', ${row}.origin, 'gen', ${row}.gen) END`;
    const text = `SELECT l.gen, o.key, ${id("c")} AS child, ${id("p")} AS parent
      FROM links l JOIN objects o ON o.id = l.object
      LEFT JOIN versions c ON c.pos = l.child LEFT JOIN versions p ON p.pos = l.parent
      WHERE l.origin = $1 AND l.gen BETWEEN $2 AND $3 ORDER BY l.gen`;
    return all<SentLink>(this.#session, text, [origin, first, last], "graph_links_in");
  }

  async nextConflict(stream: number, after: number): Promise<number | undefined> {
    const text = `SELECT c.object FROM conflicts c JOIN objects o ON o.id = c.object
      WHERE c.object > $1 AND o.stream = $2 ORDER BY c.object LIMIT 1`;
    return (await one<{ readonly object: number }>(this.#session, text, [after, stream], "graph_conflict"))?.object;
  }

  async conflictCount(stream: number): Promise<number> {
    const text = `SELECT count(DISTINCT c.object) AS count FROM conflicts c JOIN objects o ON o.id = c.object
      WHERE o.stream = $1`;
    return (await one<{ readonly count: number }>(this.#session, text, [stream], "graph_conflicts"))?.count ?? 0;
  }

  async headedBy(batches: readonly number[]): Promise<number[]> {
    if (batches.length === 0) return [];
    const text = `SELECT v.object FROM unnest($1::bigint[]) AS wanted (id) JOIN batches b ON b.id = wanted.id
      JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count
      JOIN objects o ON o.id = v.object WHERE o.head = v.pos
        OR EXISTS (SELECT 1 FROM conflicts c WHERE c.object = v.object AND c.head = v.pos) ORDER BY v.pos`;
    const rows = await all<{ readonly object: number }>(this.#session, text, [numberArray(batches)], "graph_headed_by");
    return rows.map((row) => row.object);
  }

  addInbox(stream: number, row: InboxRow, at: number): Later<void> {
    const text = "INSERT INTO inbox (stream, origin, first, last, data, at) VALUES ($1, $2, $3, $4, $5, $6)";
    const data = Buffer.from(row.data.buffer, row.data.byteOffset, row.data.byteLength);
    return run(this.#session, text, [stream, row.origin, row.first, row.last, data, at], "graph_inbox_add");
  }

  inbox(stream: number, origin: string, first: number): Promise<InboxRow | undefined> {
    const text = "SELECT origin, first, last, data FROM inbox WHERE stream = $1 AND origin = $2 AND first = $3";
    return one(this.#session, text, [stream, origin, first], "graph_inbox");
  }

  removeInbox(stream: number, origin: string, first: number): Later<void> {
    const text = "DELETE FROM inbox WHERE stream = $1 AND origin = $2 AND first = $3";
    return run(this.#session, text, [stream, origin, first], "graph_inbox_remove");
  }

  waiting(stream: number): Promise<{ readonly origin: string; readonly batches: number; readonly first: number }[]> {
    const text = `SELECT origin, count(*) AS batches, min(first) AS first FROM inbox WHERE stream = $1
      GROUP BY origin ORDER BY origin COLLATE "C"`;
    return all(this.#session, text, [stream], "graph_waiting");
  }

  async #readKeys(stream: number, keys: readonly Buffer[]): Promise<void> {
    if (keys.length === 0) return;
    const found = `FROM unnest($2::bytea[]) AS wanted (key)
      JOIN objects o ON o.stream = $1 AND substr(o.key, 1, 1000) = substr(wanted.key, 1, 1000) AND o.key = wanted.key`;
    const values = [stream, keys];
    // Both are waited for: where one fails, the other does, too, and nobody else would hear of it.
    const [rows] = await Promise.all([
      all<RawObject>(this.#session, `SELECT ${object} ${found}`, values, "graph_objects"),
      this.#keepVersions(`SELECT ${version} ${found} ${itsHeads}`, values, "graph_heads_of_keys"),
    ]);
    for (const key of keys) this.#memory.setObject(key, undefined);
    for (const row of rows) this.#keep(row);
  }

  async #readObjects(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return;
    const found = "FROM objects o";
    const condition = "WHERE o.id = ANY ($1::bigint[])";
    const values = [numberArray(ids)];
    const [rows] = await Promise.all([
      all<RawObject>(this.#session, `SELECT ${object} ${found} ${condition}`, values, "graph_objects_by_id"),
      this.#keepVersions(`SELECT ${version} ${found} ${itsHeads} ${condition}`, values, "graph_heads"),
    ]);
    for (const row of rows) this.#keep(row);
  }

  async #readPositions(positions: readonly number[]): Promise<void> {
    if (positions.length === 0) return;
    const text = `SELECT ${version} FROM versions v WHERE v.pos = ANY ($1::bigint[])`;
    await this.#keepVersions(text, [numberArray(positions)], "graph_versions");
  }

  async #readVersions(ids: readonly RowId[]): Promise<void> {
    if (ids.length === 0) return;
    const text = `SELECT ${version} FROM unnest($1::bigint[], $2::bigint[]) AS wanted (origin, gen)
      JOIN versions v ON v.origin = wanted.origin AND v.gen = wanted.gen AND v.origin <> 1`;
    const columns = [numberArray(ids.map(({ origin }) => origin)), numberArray(ids.map(({ gen }) => gen))];
    await this.#keepVersions(text, columns, "graph_versions_of");
  }

  async #readGenerations(origins: readonly number[]): Promise<void> {
    if (origins.length === 0) return;
    const text = `SELECT origin, coalesce((SELECT last FROM generations g WHERE g.origin = wanted.origin
        ORDER BY first DESC LIMIT 1), 0) AS last FROM unnest($1::bigint[]) AS wanted (origin)`;
    type Row = { readonly origin: number; readonly last: number };
    const rows = await all<Row>(this.#session, text, [numberArray([...new Set(origins)])], "graph_last_of");
    for (const { origin, last } of rows) this.#memory.setLastGeneration(origin, last);
  }

  async #keepVersions(text: string, values: readonly unknown[], name: string): Promise<void> {
    const rows = await all<RawVersion>(this.#session, text, values, name);
    for (const row of rows) {
      this.#memory.setVersion({ ...row, attributes: givenText(row.attributes) }, row.edges ?? []);
    }
  }

  #keep({ id, key, head, is_deleted: isDeleted, others }: RawObject): ObjectRow {
    const row = { id, key, head, isDeleted };
    this.#memory.setObject(key, row);
    this.#memory.setOthers(id, others ?? []);
    return row;
  }
}
