import { laterStamp } from "../history/graph-stamp.ts";
import type { GraphRow, ObjectRow, RowId } from "../history/graph-tables.ts";
import type { Stamp } from "../history/graph-types.ts";

const nameOf = (key: Uint8Array) => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
const idOf = ({ origin, gen }: RowId) => `${origin}:${gen}`;

/** What one transaction knows of a graph: what it read, and what it made and is not written yet. */
export class GraphMemory {
  /** Undefined: there is none. */
  readonly #objects = new Map<string, ObjectRow | undefined>();
  readonly #objectsById = new Map<number, ObjectRow>();
  /** Heads besides the one that is shown. */
  readonly #others = new Map<number, readonly number[]>();
  readonly #versions = new Map<number, GraphRow>();
  readonly #positions = new Map<string, number>();
  readonly #edges = new Map<number, readonly number[]>();
  readonly #newest = new Map<number, number>();
  readonly #lastGenerations = new Map<number, number>();
  #stamp: Stamp = { ms: 0, counter: 0 };
  /** Whether the greatest stamp was read. */
  hasStamp = false;

  get stamp(): Stamp {
    return this.#stamp;
  }

  unknownKeys(keys: readonly Uint8Array[]): Buffer[] {
    const unknown = new Map<string, Buffer>();
    for (const key of keys) {
      const name = nameOf(key);
      if (!this.#objects.has(name)) unknown.set(name, Buffer.from(key.buffer, key.byteOffset, key.byteLength));
    }
    return [...unknown.values()];
  }

  unknownObjects(ids: readonly number[]): number[] {
    return [...new Set(ids)].filter((id) => !this.#objectsById.has(id));
  }

  unknownPositions(positions: readonly number[]): number[] {
    return [...new Set(positions)].filter((position) => !this.#versions.has(position));
  }

  unknownVersions(ids: readonly RowId[]): RowId[] {
    const unknown = new Map(ids.filter((id) => !this.#positions.has(idOf(id))).map((id) => [idOf(id), id]));
    return [...unknown.values()];
  }

  object(key: Uint8Array): ObjectRow | undefined {
    return this.#objects.get(nameOf(key));
  }

  objectById(id: number): ObjectRow | undefined {
    return this.#objectsById.get(id);
  }

  setObject(key: Uint8Array, object: ObjectRow | undefined): void {
    this.#objects.set(nameOf(key), object);
    if (object !== undefined) this.#objectsById.set(object.id, object);
  }

  othersOf(object: number): readonly number[] | undefined {
    return this.#others.get(object);
  }

  setOthers(object: number, heads: readonly number[]): void {
    this.#others.set(object, heads);
  }

  version(position: number): GraphRow | undefined {
    return this.#versions.get(position);
  }

  versionOf(origin: number, gen: number): GraphRow | undefined {
    const position = this.#positions.get(idOf({ origin, gen }));
    return position === undefined ? undefined : this.#versions.get(position);
  }

  edgesOf(position: number): readonly number[] {
    return this.#edges.get(position) ?? [];
  }

  setVersion(row: GraphRow, edges: readonly number[]): void {
    this.#versions.set(row.pos, row);
    this.#positions.set(idOf(row), row.pos);
    if (edges.length > 0) this.#edges.set(row.pos, edges);
  }

  newestOf(object: number): number | undefined {
    return this.#newest.get(object);
  }

  setNewest(object: number, position: number): void {
    this.#newest.set(object, position);
  }

  lastGeneration(origin: number): number | undefined {
    return this.#lastGenerations.get(origin);
  }

  setLastGeneration(origin: number, generation: number): void {
    this.#lastGenerations.set(origin, generation);
  }

  raiseStamp(stamp: Stamp): void {
    this.#stamp = laterStamp(this.#stamp, stamp);
  }
}
