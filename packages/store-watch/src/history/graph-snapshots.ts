import { StoreWatchError } from "../errors.ts";
import { viaCodes } from "./ddl.ts";
import { type Flow, wait } from "./flow.ts";
import type { GraphEdits } from "./graph-edits.ts";
import type { GraphNames } from "./graph-names.ts";
import { headRows } from "./graph-heads.ts";
import { horizonOf } from "./graph-retention.ts";
import { decodeSnapshot, encodeSnapshot, type SnapshotBatch, type SnapshotRoot } from "./graph-snapshot-codec.ts";
import { stampText } from "./graph-stamp.ts";
import { type GenerationRow, type GraphTables, prunedPosition, type RowId } from "./graph-tables.ts";
import type { GraphRestored, GraphSnapshotPart } from "./graph-types.ts";
import type { RetentionTables } from "./retention-tables.ts";
import type { StreamState } from "./stream-state.ts";
import type { VersionSink } from "./version-sink.ts";

/** Of a part, about. */
const partBytes = 1024 * 1024;

/** A root that is not here yet. */
interface FreshRoot extends SnapshotRoot {
  readonly origin: number;
  readonly stamp: string;
}

interface SnapshotParts {
  readonly tables: GraphTables;
  readonly retained: RetentionTables;
  readonly names: GraphNames;
  readonly stream: number;
}

/**
 * A part of a snapshot, on any connection. When the horizon has moved since the one before, it is the first one of another
 * snapshot.
 */
export function* snapshotPart(parts: SnapshotParts, after: string | undefined): Flow<GraphSnapshotPart> {
  const { retained, stream } = parts;
  const horizon = yield* horizonOf(retained, stream);
  // It only ever grows.
  const identity = [...horizon.values()].reduce((sum, generation) => sum + generation, 0);
  const [known, index, object] = (after ?? "").split(".").map(Number) as [number, number, number];
  const from = known === identity && index > 0 ? { index, object } : { index: 0, object: 0 };
  const batches = new Map<string, SnapshotBatch>();
  const roots: SnapshotRoot[] = [];
  let bytes = 0;
  let last = from.object;
  let isFull = false;
  while (!isFull) {
    const to = (yield* wait(retained.objectsAfter(stream, last))).at(-1);
    if (to === undefined) break;
    const rows = yield* wait(retained.roots(stream, last, to));
    const made = yield* batchesOf(parts, rows);
    for (const [at, row] of rows.entries()) {
      if (bytes >= partBytes && row.object !== last) {
        isFull = true;
        break;
      }
      last = row.object;
      const batch = made[at] as SnapshotBatch;
      const shared = batches.get(nameOf(batch)) ?? batch;
      batches.set(nameOf(batch), shared);
      bytes += row.key.length + (row.value?.length ?? 0) + (row.attributes?.length ?? 0);
      roots.push({
        batch: shared,
        generation: row.gen,
        key: row.key,
        value: row.value ?? undefined,
        attributes: row.attributes ?? undefined,
        isMerge: row.via === viaCodes.merge,
        hasPast: row.parent !== null,
      });
    }
    if (!isFull) last = to;
  }
  const reached = isFull ? [] : [...horizon].map(([origin, gen]) => ({ origin, gen }));
  const ends = yield* batchesOf(parts, reached);
  const data = encodeSnapshot({ identity, index: from.index, roots, horizon: isFull ? undefined : ends });
  return { data, next: isFull ? `${identity}.${from.index + 1}.${last}` : undefined };
}

/** The batches of versions, one for each of these. */
function* batchesOf({ tables, names }: SnapshotParts, versions: readonly RowId[]): Flow<SnapshotBatch[]> {
  const rows = yield* wait(tables.batchesOf(versions));
  const batches: SnapshotBatch[] = [];
  for (const [index, { origin, gen }] of versions.entries()) {
    const [row, site] = [rows[index], yield* names.siteOf(origin)];
    if (row === undefined || row.last < gen) {
      throw new StoreWatchError("INTERNAL", `the batch of ${site}:${gen} was pruned while it was needed`);
    }
    batches.push({ site, first: row.first, last: row.last, stamp: { ms: row.stamp_ms, counter: row.stamp_counter } });
  }
  return batches;
}

/**
 * A snapshot stands for everything up to the horizon: the versions there that nothing had taken the place of. Together with
 * the batches beyond the horizon a site comes to the same heads as one that has had every batch.
 */
export class GraphSnapshots {
  readonly #edits: GraphEdits;
  readonly #tables: GraphTables;
  readonly #retained: RetentionTables;
  readonly #names: GraphNames;
  readonly #state: StreamState;
  readonly #store: VersionSink;
  readonly #origin: string;

  constructor(parts: {
    readonly edits: GraphEdits;
    readonly tables: GraphTables;
    readonly retained: RetentionTables;
    readonly names: GraphNames;
    readonly state: StreamState;
    readonly store: VersionSink;
    readonly origin: string;
  }) {
    this.#edits = parts.edits;
    this.#tables = parts.tables;
    this.#retained = parts.retained;
    this.#names = parts.names;
    this.#state = parts.state;
    this.#store = parts.store;
    this.#origin = parts.origin;
  }

  /** `published`: the last own generation that others can get without this history. */
  restore(data: Uint8Array, published: number, nowMs: number): Flow<GraphRestored> {
    return this.#edits.commit(nowMs, this.#restore.bind(this, data, published));
  }

  *#restore(data: Uint8Array, published: number, now: number): Flow<GraphRestored> {
    const retained = this.#retained;
    const part = decodeSnapshot(data);
    const stream = this.#state.id;
    if (part.index === 0) yield* wait(retained.clearParts(stream));
    const before = (yield* wait(retained.parts(stream))).map(decodeSnapshot);
    const expected = before[0]?.identity ?? part.identity;
    if (part.index !== before.length || part.identity !== expected) {
      throw new StoreWatchError(
        "PROTOCOL",
        `expected part ${before.length} of snapshot ${expected}, got part ${part.index} of ${part.identity}; begin with the first one`,
      );
    }
    if (part.horizon === undefined) {
      yield* wait(retained.addPart(stream, part.index, data));
      return { isComplete: false, versions: 0 };
    }
    yield* wait(retained.clearParts(stream));
    const roots = [...before, part].flatMap((each) => each.roots);
    return { isComplete: true, versions: yield* this.#takeOver(roots, part.horizon, published, now) };
  }

  *#takeOver(
    roots: readonly SnapshotRoot[],
    ends: readonly SnapshotBatch[],
    published: number,
    now: number,
  ): Flow<number> {
    const cut = new Map<number, number>();
    const known = new Map<number, number>();
    for (const { site, last } of ends) {
      const origin = yield* this.#names.idOf(site);
      cut.set(origin, last);
      known.set(origin, yield* wait(this.#tables.lastGeneration(origin)));
    }
    const own = yield* this.#names.idOf(this.#origin);
    const [last, ownLast] = [cut.get(own) ?? 0, known.get(own) ?? 0];
    if (last > ownLast) throw this.#edits.rewound(last, ownLast);
    // From here on they could not be sent as they were made.
    if (last > published) {
      throw new StoreWatchError(
        "NOT_REACHED",
        `the snapshot stands for changes of this site up to ${last}, of which the channel has those up to ${published}; it is tried again when it has them`,
        { retryable: true },
      );
    }
    const fresh: FreshRoot[] = [];
    for (const root of roots) {
      const { batch, generation } = root;
      const origin = yield* this.#names.idOf(batch.site);
      if (generation > (cut.get(origin) ?? 0)) {
        throw new StoreWatchError("PROTOCOL", `a snapshot has version ${batch.site}:${generation}, beyond its horizon`);
      }
      // Here already, or superseded here by something that the snapshot does not have.
      if (generation <= (known.get(origin) ?? 0)) continue;
      fresh.push({ ...root, origin, stamp: stampText(batch.stamp, batch.site) });
    }
    yield* wait(this.#tables.readAhead(this.#state.id, { keys: roots.map(({ key }) => key) }));
    const arriving = new Set(fresh.map(textOfKey));
    for (const [name, ofKey] of Map.groupBy(roots, textOfKey)) {
      yield* this.#supersede(ofKey, cut, this.#store.position + fresh.length, arriving.has(name));
    }
    const numbers = yield* this.#insert(fresh, now);
    yield* this.#addGenerations([...fresh.map(({ batch }) => batch), ...ends], known, numbers);
    // Everything up to these generations is as pruned from now on.
    for (const [origin, end] of cut) yield* wait(this.#retained.setHorizon(this.#state.id, origin, end));
    yield* this.#edits.drain(now, { versions: 0, links: 0 });
    return fresh.length;
  }

  /** What is here and below the snapshot's horizon, and none of its roots: something that it knows has taken the place. */
  *#supersede(
    roots: readonly SnapshotRoot[],
    cut: ReadonlyMap<number, number>,
    since: number,
    isRootFresh: boolean,
  ): Flow<void> {
    const [{ key }] = roots as [SnapshotRoot];
    const object = yield* wait(this.#tables.object(this.#state.id, key));
    if (object === undefined) return;
    const names = new Set<string>();
    for (const { batch, generation } of roots) names.add(`${yield* this.#names.idOf(batch.site)}:${generation}`);
    const versions = yield* wait(this.#retained.versionsOf(object.id));
    const gone = versions.filter(({ origin, gen }) => gen <= (cut.get(origin) ?? 0) && !names.has(`${origin}:${gen}`));
    if (gone.length === 0) return;
    yield* wait(this.#retained.addRelics(gone.map(({ pos }) => ({ pos, since }))));
    // A root that comes now takes their place. Where all are here already it was a link, which is not and will not come.
    if (!isRootFresh) yield* this.#edits.removeHeads(object, new Set(gone.map(({ pos }) => pos)));
  }

  /** Makes versions of them, a batch of each that they were made in. Returns the batches' numbers. */
  *#insert(fresh: readonly FreshRoot[], now: number): Flow<Map<string, number>> {
    const numbers = new Map<string, number>();
    const byBatch = Map.groupBy(fresh, ({ stamp }) => stamp);
    yield* wait(this.#store.flush(this.#state.id));
    for (const [stamp, together] of [...byBatch].sort(([one], [other]) => (one < other ? -1 : 1))) {
      const [{ batch }] = together as [FreshRoot];
      numbers.set(nameOf(batch), this.#store.nextBatch);
      const firstPosition = this.#store.position + 1;
      for (const root of together) yield* this.#insertRoot(root, stamp);
      this.#edits.addBatch(now, firstPosition, together.length, batch.stamp);
    }
    return numbers;
  }

  *#insertRoot(root: FreshRoot, stamp: string): Flow<void> {
    const object = yield* wait(this.#tables.object(this.#state.id, root.key));
    const heads = object === undefined ? [] : yield* headRows(this.#tables, object);
    const replaced = yield* wait(this.#retained.relicsAmong(heads.map(({ pos }) => pos)));
    const row = {
      pos: this.#store.position + 1,
      object: object?.id ?? this.#store.lastObject + 1,
      batch: this.#store.nextBatch,
      origin: root.origin,
      gen: root.generation,
      level: 1,
      via: root.isMerge ? viaCodes.merge : viaCodes.peer,
      version: stamp,
      attributes: root.attributes ?? null,
      value: root.value === undefined ? null : Buffer.from(root.value),
    };
    const parents = root.hasPast ? [prunedPosition] : [];
    yield* this.#edits.addVersion(row, { key: root.key, object, known: heads, parents, replaced });
  }

  /** So that vector, times and what belongs together are as where it came from. */
  *#addGenerations(
    batches: readonly SnapshotBatch[],
    known: ReadonlyMap<number, number>,
    numbers: ReadonlyMap<string, number>,
  ): Flow<void> {
    const rows = new Map<string, { readonly origin: number; readonly stamp: string; readonly row: GenerationRow }>();
    for (const batch of batches) {
      const { site, first, last, stamp } = batch;
      const origin = yield* this.#names.idOf(site);
      if (last <= (known.get(origin) ?? 0)) continue;
      const number = numbers.get(nameOf(batch)) ?? null;
      const row = { first, last, batch: number, stamp_ms: stamp.ms, stamp_counter: stamp.counter };
      rows.set(nameOf(batch), { origin, stamp: stampText(stamp, site), row });
    }
    for (const { origin, row } of [...rows.values()].sort((one, other) => (one.stamp < other.stamp ? -1 : 1))) {
      yield* wait(this.#tables.addGenerations(this.#state.id, origin, row));
    }
  }
}

function nameOf({ site, first }: SnapshotBatch): string {
  return `${first}/${site}`;
}

function textOfKey({ key }: SnapshotRoot): string {
  return Buffer.from(key).toString("latin1");
}
