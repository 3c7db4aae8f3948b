import type { GenerationRow, LinkRow, NewGraphRow, ObjectRow } from "../history/graph-tables.ts";
import { keptText } from "./any-text.ts";
import { booleanArray, bytesArray, numberArray, textArray } from "./array-literals.ts";
import { type PostgresSession, run } from "./session.ts";

/** Rows of a graph on their way into the database. */
export class GraphRows {
  readonly #session: PostgresSession;
  #versions: NewGraphRow[] = [];
  #added = new Map<number, ObjectRow & { readonly stream: number }>();
  #moved = new Map<number, ObjectRow>();
  #conflicts = new Map<number, readonly number[]>();
  #links: (LinkRow & { readonly origin: number })[] = [];
  #generations: (GenerationRow & { readonly stream: number; readonly origin: number })[] = [];

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  clear(): void {
    this.#versions = [];
    this.#added = new Map();
    this.#moved = new Map();
    this.#conflicts = new Map();
    this.#links = [];
    this.#generations = [];
  }

  addVersion(row: NewGraphRow): void {
    this.#versions.push(row);
  }

  addObject(stream: number, object: ObjectRow): void {
    this.#added.set(object.id, { ...object, stream });
  }

  moveObject(object: ObjectRow): void {
    const added = this.#added.get(object.id);
    if (added === undefined) this.#moved.set(object.id, object);
    else this.#added.set(object.id, { ...object, stream: added.stream });
  }

  /** The heads besides the one that is shown. */
  setConflicts(object: number, heads: readonly number[]): void {
    this.#conflicts.set(object, heads);
  }

  addLink(origin: number, link: LinkRow): void {
    this.#links.push({ ...link, origin });
  }

  addGenerations(stream: number, origin: number, row: GenerationRow): void {
    this.#generations.push({ ...row, stream, origin });
  }

  async flush(): Promise<void> {
    await this.#flushVersions(this.#versions);
    await this.#flushObjects([...this.#added.values()], [...this.#moved.values()]);
    await this.#flushConflicts(this.#conflicts);
    await this.#flushLinks(this.#links);
    await this.#flushGenerations(this.#generations);
    this.clear();
  }

  async #flushVersions(rows: readonly NewGraphRow[]): Promise<void> {
    if (rows.length === 0) return;
    const text = `INSERT INTO versions (pos, object, batch, origin, gen, epoch, parent, level, via, version, attributes, value)
      SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::smallint[], $10::text[], $11::text[], $12::bytea[])`;
    const values = [
      numberArray(rows.map(({ pos }) => pos)),
      numberArray(rows.map(({ object }) => object)),
      numberArray(rows.map(({ batch }) => batch)),
      numberArray(rows.map(({ origin }) => origin)),
      numberArray(rows.map(({ gen }) => gen)),
      numberArray(rows.map(({ epoch }) => epoch)),
      numberArray(rows.map(({ parent }) => parent)),
      numberArray(rows.map(({ level }) => level)),
      numberArray(rows.map(({ via }) => via)),
      textArray(rows.map(({ version }) => version)),
      textArray(rows.map(({ attributes }) => keptText(attributes))),
      bytesArray(rows.map(({ value }) => value)),
    ];
    await run(this.#session, text, values, "graph_add_versions");
    const edges = rows.flatMap(({ pos, parents }) => parents.slice(1).map((parent) => [pos, parent] as const));
    if (edges.length === 0) return;
    const columns = [numberArray(edges.map(([child]) => child)), numberArray(edges.map(([, parent]) => parent))];
    const add = "INSERT INTO edges (child, parent) SELECT * FROM unnest($1::bigint[], $2::bigint[])";
    await run(this.#session, add, columns, "graph_add_edges");
  }

  async #flushObjects(
    added: readonly (ObjectRow & { readonly stream: number })[],
    moved: readonly ObjectRow[],
  ): Promise<void> {
    if (added.length > 0) {
      const text = `INSERT INTO objects (id, head, is_deleted, stream, key)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bytea[])`;
      const more = [numberArray(added.map(({ stream }) => stream)), bytesArray(added.map(({ key }) => key))];
      await run(this.#session, text, [...headColumns(added), ...more], "graph_add_objects");
    }
    if (moved.length > 0) {
      const text = `UPDATE objects o SET head = t.head, is_deleted = t.is_deleted
        FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) AS t (id, head, is_deleted) WHERE o.id = t.id`;
      await run(this.#session, text, headColumns(moved), "graph_move_objects");
    }
  }

  async #flushConflicts(conflicts: ReadonlyMap<number, readonly number[]>): Promise<void> {
    if (conflicts.size === 0) return;
    const objects = numberArray([...conflicts.keys()]);
    const remove = "DELETE FROM conflicts WHERE object = ANY ($1::bigint[])";
    await run(this.#session, remove, [objects], "graph_remove_conflicts");
    const rows = [...conflicts].flatMap(([object, heads]) => heads.map((head) => [object, head] as const));
    if (rows.length === 0) return;
    const columns = [numberArray(rows.map(([object]) => object)), numberArray(rows.map(([, head]) => head))];
    const add = "INSERT INTO conflicts (object, head) SELECT * FROM unnest($1::bigint[], $2::bigint[])";
    await run(this.#session, add, columns, "graph_add_conflicts");
  }

  async #flushLinks(rows: readonly (LinkRow & { readonly origin: number })[]): Promise<void> {
    if (rows.length === 0) return;
    const text = `INSERT INTO links (origin, gen, object, child, parent)
      SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])`;
    const values = [
      numberArray(rows.map(({ origin }) => origin)),
      numberArray(rows.map(({ gen }) => gen)),
      numberArray(rows.map(({ object }) => object)),
      numberArray(rows.map(({ child }) => child)),
      numberArray(rows.map(({ parent }) => parent)),
    ];
    await run(this.#session, text, values, "graph_add_links");
  }

  async #flushGenerations(
    rows: readonly (GenerationRow & { readonly stream: number; readonly origin: number })[],
  ): Promise<void> {
    if (rows.length === 0) return;
    const text = `INSERT INTO generations (id, origin, first, last, stream, batch, stamp_ms, stamp_counter)
      SELECT (SELECT coalesce(max(id), 0) FROM generations) + i, origin, first, last, stream, batch, stamp_ms, stamp_counter
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        WITH ORDINALITY AS t (origin, first, last, stream, batch, stamp_ms, stamp_counter, i)`;
    const values = [
      numberArray(rows.map(({ origin }) => origin)),
      numberArray(rows.map(({ first }) => first)),
      numberArray(rows.map(({ last }) => last)),
      numberArray(rows.map(({ stream }) => stream)),
      numberArray(rows.map(({ batch }) => batch)),
      numberArray(rows.map(({ stamp_ms }) => stamp_ms)),
      numberArray(rows.map(({ stamp_counter }) => stamp_counter)),
    ];
    await run(this.#session, text, values, "graph_add_generations");
  }
}

function headColumns(objects: readonly ObjectRow[]): string[] {
  return [
    numberArray(objects.map(({ id }) => id)),
    numberArray(objects.map(({ head }) => head)),
    booleanArray(objects.map(({ isDeleted }) => isDeleted)),
  ];
}
