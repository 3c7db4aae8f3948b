import { commonAncestor } from "./ancestor.ts";
import { viaCodes } from "./ddl.ts";
import { type Flow, wait } from "./flow.ts";
import { encodeBatch } from "./graph-codec.ts";
import type { GraphNames } from "./graph-names.ts";
import { headRows } from "./graph-heads.ts";
import { byStamp } from "./graph-stamp.ts";
import { checkKept, hasNews, horizonOf } from "./graph-retention.ts";
import { snapshotPart } from "./graph-snapshots.ts";
import type { GenerationRow, GraphRow, GraphTables, RowId } from "./graph-tables.ts";
import type {
  ConflictGroup,
  ConflictKey,
  GraphHead,
  GraphMessage,
  GraphRecord,
  GraphSnapshotPart,
  GraphState,
  GraphStatus,
  GraphWritten,
  VersionId,
} from "./graph-types.ts";
import type { RetentionTables } from "./retention-tables.ts";

/** What `batches` and `missing` give at once, without a limit. */
const defaultBatchBytes = 1024 * 1024;

/** What one graph is asked. Runs on any connection. */
export class GraphReads {
  readonly #tables: GraphTables;
  readonly #retained: RetentionTables;
  readonly #names: GraphNames;
  readonly #stream: number;
  readonly #origin: string;

  constructor(parts: {
    readonly tables: GraphTables;
    readonly retained: RetentionTables;
    readonly names: GraphNames;
    readonly stream: number;
    /** The identity of the history. */
    readonly origin: string;
  }) {
    this.#tables = parts.tables;
    this.#retained = parts.retained;
    this.#names = parts.names;
    this.#stream = parts.stream;
    this.#origin = parts.origin;
  }

  *batches(afterGeneration: number, maxBytes = defaultBatchBytes): Flow<GraphMessage[]> {
    const messages: GraphMessage[] = [];
    const origin = yield* this.#names.idOf(this.#origin);
    const horizon = yield* horizonOf(this.#retained, this.#stream);
    let bytes = 0;
    // Of what was pruned others have what matters, or will ask for it.
    for (let after = Math.max(afterGeneration, horizon.get(origin) ?? 0); ; ) {
      const page = yield* wait(this.#tables.generationsAfter(origin, after));
      for (const row of page) {
        const data = yield* this.#encode(origin, row);
        messages.push({ first: row.first, generation: row.last, data });
        bytes += data.length;
        if (bytes >= maxBytes) return messages;
      }
      const last = page.at(-1);
      if (last === undefined) return messages;
      after = last.first;
    }
  }

  /** What a site with this vector does not have. @throws {StoreWatchError} `TOO_OLD` */
  *missing(vector: Readonly<Record<string, number>>, maxBytes = defaultBatchBytes): Flow<Uint8Array[]> {
    const known: Record<number, number> = {};
    for (const { origin } of yield* wait(this.#tables.vector(this.#stream))) {
      known[origin] = vector[yield* this.#names.siteOf(origin)] ?? 0;
    }
    yield* checkKept(yield* horizonOf(this.#retained, this.#stream), known, this.#names);
    const messages: Uint8Array[] = [];
    let bytes = 0;
    for (let after = 0; ; ) {
      const page = yield* wait(this.#tables.generationsBeyond(this.#stream, known, after));
      for (const row of page) {
        const data = yield* this.#encode(row.origin, row);
        messages.push(data);
        bytes += data.length;
        if (bytes >= maxBytes) return messages;
      }
      const last = page.at(-1);
      if (last === undefined) return messages;
      after = last.id;
    }
  }

  *heads(key: Uint8Array): Flow<GraphHead[]> {
    const object = yield* wait(this.#tables.object(this.#stream, key));
    return object === undefined ? [] : yield* this.#toHeads(yield* headRows(this.#tables, object));
  }

  /** Keys in conflict and what batches tie to them, from the first conflict after `after` on. */
  *conflictGroup(after: number): Flow<ConflictGroup | undefined> {
    const tables = this.#tables;
    const start = yield* wait(tables.nextConflict(this.#stream, after));
    if (start === undefined) return undefined;
    const found = new Map<number, { readonly key: Uint8Array; readonly heads: readonly GraphRow[] }>();
    const batches = new Set<number>();
    for (let next = [start]; next.length > 0; ) {
      yield* wait(tables.readAhead(this.#stream, { objects: next }));
      const joined: number[] = [];
      for (const id of next) {
        const object = yield* wait(tables.objectById(id));
        const heads = yield* headRows(tables, object);
        found.set(id, { key: object.key, heads });
        for (const { batch, via } of heads) {
          // What a resolution wrote together does not belong together.
          if (via === viaCodes.merge || batches.has(batch)) continue;
          batches.add(batch);
          joined.push(batch);
        }
      }
      const tied = new Set(yield* wait(tables.headedBy(joined)));
      next = [...tied].filter((id) => !found.has(id));
    }
    const group = [...found].sort(([one], [other]) => one - other).map(([, each]) => each);
    return { next: start, keys: yield* this.#conflictKeys(group) };
  }

  *status(): Flow<GraphStatus> {
    const tables = this.#tables;
    const vector: Record<string, number> = {};
    for (const { origin, last } of yield* wait(tables.vector(this.#stream))) {
      vector[yield* this.#names.siteOf(origin)] = last;
    }
    const horizon: Record<string, number> = {};
    for (const [origin, last] of yield* horizonOf(this.#retained, this.#stream)) {
      horizon[yield* this.#names.siteOf(origin)] = last;
    }
    const waiting = yield* wait(tables.waiting(this.#stream));
    return {
      vector,
      horizon,
      waiting: waiting.map((row) => ({ ...row, next: (vector[row.origin] ?? 0) + 1 })),
      conflicts: yield* wait(tables.conflictCount(this.#stream)),
    };
  }

  /** What announcing comes to where there is nothing new to announce; undefined: there is. */
  *alreadyAnnounced(): Flow<GraphWritten | undefined> {
    const own = yield* this.#names.idOf(this.#origin);
    if (yield* hasNews(this.#retained, this.#stream, own)) return undefined;
    return { generation: yield* wait(this.#tables.lastGeneration(own)), versions: 0, links: 0 };
  }

  snapshot(after: string | undefined): Flow<GraphSnapshotPart> {
    const [tables, retained, names, stream] = [this.#tables, this.#retained, this.#names, this.#stream];
    return snapshotPart({ tables, retained, names, stream }, after);
  }

  *#encode(origin: number, { first, last, stamp_ms, stamp_counter }: GenerationRow): Flow<Uint8Array> {
    const names = this.#names;
    const records: GraphRecord[] = [];
    const versions = yield* wait(this.#tables.versionsIn(origin, first, last));
    for (const row of versions) {
      const parents: VersionId[] = [];
      for (const parent of row.parents) parents.push(yield* names.versionId(parent));
      if (row.hasParent && parents.length === 0) parents.push(this.#pruned);
      records[row.gen - first] = {
        type: "version",
        key: row.key,
        value: row.value ?? undefined,
        attributes: row.attributes ?? undefined,
        parents,
        isMerge: row.via === viaCodes.merge,
      };
    }
    const stamp = { ms: stamp_ms, counter: stamp_counter };
    const site = yield* names.siteOf(origin);
    if (versions.length === last - first + 1) return encodeBatch({ origin: site, first, stamp, records });
    for (const link of yield* wait(this.#tables.linksIn(origin, first, last))) {
      const child = yield* this.#toId(link.child);
      const parent = yield* this.#toId(link.parent);
      records[link.gen - first] = { type: "link", key: link.key, child, parent };
    }
    for (const { gen, vector } of yield* wait(this.#retained.announcementsIn(origin, first, last))) {
      records[gen - first] = { type: "announcement", vector: JSON.parse(vector) as Record<string, number> };
    }
    return encodeBatch({ origin: site, first, stamp, records });
  }

  /** Whatever it was: every site has what took its place. */
  get #pruned(): VersionId {
    return { origin: this.#origin, generation: 0 };
  }

  *#toId(id: RowId | null): Flow<VersionId> {
    return id === null ? this.#pruned : yield* this.#names.versionId(id);
  }

  *#conflictKeys(
    group: readonly { readonly key: Uint8Array; readonly heads: readonly GraphRow[] }[],
  ): Flow<ConflictKey[]> {
    const tables = this.#tables;
    const rows = group.flatMap(({ heads }) => heads);
    const pasts: (readonly number[])[] = [];
    for (const row of rows) pasts.push(yield* wait(tables.parentsOf(row)));
    yield* wait(tables.readAhead(this.#stream, { positions: pasts.flat() }));
    const heads = yield* this.#toHeads(rows);
    const keys: ConflictKey[] = [];
    let from = 0;
    for (const each of group) {
      const to = from + each.heads.length;
      keys.push(yield* this.#conflictKey(each.key, each.heads, pasts.slice(from, to), heads.slice(from, to)));
      from = to;
    }
    return keys;
  }

  /** `pasts` and `heads` are of the rows, one for each. */
  *#conflictKey(
    key: Uint8Array,
    rows: readonly GraphRow[],
    pasts: readonly (readonly number[])[],
    heads: readonly GraphHead[],
  ): Flow<ConflictKey> {
    const tables = this.#tables;
    const positions = rows.map(({ pos }) => pos);
    const ancestor =
      rows.length < 2 ? undefined : yield* commonAncestor(positions, (position) => tables.nodeOf(position));
    const before: (GraphState | undefined)[] = [];
    let isPastPruned = false;
    for (const past of pasts) {
      const parents: GraphRow[] = [];
      for (const position of past) {
        const parent = yield* wait(tables.version(position));
        if (parent === undefined) isPastPruned = true;
        else parents.push(parent);
      }
      before.push(yield* this.#toState(parents.sort(byStamp)[0]));
    }
    return {
      key,
      heads,
      ancestor: yield* this.#toState(ancestor && (yield* wait(tables.version(ancestor.position)))),
      before,
      isPastPruned,
    };
  }

  *#toHeads(rows: readonly GraphRow[]): Flow<GraphHead[]> {
    const heads: GraphHead[] = [];
    const batches = yield* wait(this.#tables.batchesOf(rows));
    for (const [index, row] of rows.entries()) {
      heads.push({
        id: yield* this.#names.versionId(row),
        stamp: row.version,
        value: row.value ?? undefined,
        attributes: row.attributes ?? undefined,
        isMerge: row.via === viaCodes.merge,
        batch: batches[index]?.first ?? row.gen,
        position: BigInt(row.pos),
      });
    }
    return heads;
  }

  *#toState(row: GraphRow | undefined): Flow<GraphState | undefined> {
    return row && { id: yield* this.#names.versionId(row), value: row.value ?? undefined };
  }
}
