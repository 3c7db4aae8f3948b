import { sortableInteger } from "../cursor.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./batch-kinds.ts";
import type { CommitLog } from "./commit-log.ts";
import { viaCodes } from "./ddl.ts";
import { type Flow, wait } from "./flow.ts";
import { decodeBatch } from "./graph-codec.ts";
import type { GraphNames } from "./graph-names.ts";
import { headRows } from "./graph-heads.ts";
import { byStamp, stampDigits, stampText } from "./graph-stamp.ts";
import { type GraphRow, type GraphTables, type NewGraphRow, type ObjectRow, prunedPosition } from "./graph-tables.ts";
import type {
  GraphAnnouncement,
  GraphApplied,
  GraphBatch,
  GraphEdit,
  GraphLink,
  GraphRecord,
  GraphVersion,
  GraphWritten,
  Stamp,
  VersionId,
} from "./graph-types.ts";
import type { MirrorTables } from "./mirror-tables.ts";
import { horizonOf } from "./graph-retention.ts";
import type { RetentionTables } from "./retention-tables.ts";
import type { StreamLog } from "./stream-log.ts";
import { noStats, type StreamState } from "./stream-state.ts";
import type { VersionSink } from "./version-sink.ts";

/** Counters of stamps have four hexadecimal digits. */
const maxCounter = 0xffff;

export interface GraphParts {
  readonly tables: GraphTables;
  readonly mirrors: MirrorTables;
  readonly retained: RetentionTables;
  readonly names: GraphNames;
  readonly store: VersionSink;
  readonly commits: CommitLog;
  readonly streams: StreamLog;
  /** The stream of the graph. */
  readonly state: StreamState;
  /** The identity of the history. */
  readonly origin: string;
}

interface Tally {
  versions: number;
  links: number;
}

/** What is made in one graph, here and elsewhere. Everything runs within a transaction of the writer's. */
export class GraphEdits {
  readonly #parts: GraphParts;
  readonly #tables: GraphTables;
  readonly #state: StreamState;
  /** Is told which objects got another head to show. */
  onMove: ((object: number) => Flow<void>) | undefined;

  constructor(parts: GraphParts) {
    this.#parts = parts;
    this.#tables = parts.tables;
    this.#state = parts.state;
  }

  /** The position of the newest version. */
  get position(): number {
    return this.#parts.store.position;
  }

  /** To be run first. */
  *open(nowMs: number): Flow<void> {
    const { streams, store, commits, names, origin } = this.#parts;
    yield* streams.enterEpoch(this.#state, "graph", store.position, commits.begin(nowMs), noStats());
    yield* streams.save(this.#state);
    yield* names.idOf(origin);
  }

  /** Runs `work` and writes what it made. */
  *commit<T>(nowMs: number, work: (now: number) => Flow<T>): Flow<T> {
    const { mirrors, commits, streams, store } = this.#parts;
    this.#tables.begin();
    mirrors.begin();
    const before = store.position;
    const now = commits.begin(nowMs);
    const result = yield* work(now);
    if (store.position > before) this.#state.lastCommitAt = now;
    yield* wait(this.#tables.flush());
    yield* wait(mirrors.flush());
    yield* commits.end(this.#state);
    yield* wait(store.flushAll(this.#state.id));
    yield* streams.save(this.#state);
    return result;
  }

  write(edits: readonly GraphEdit[], nowMs: number): Flow<GraphWritten> {
    const add = this.add.bind(this);
    return this.commit(nowMs, (now) => add(edits, nowMs, now));
  }

  /** Makes one batch. */
  *add(edits: readonly (GraphEdit | GraphAnnouncement)[], nowMs: number, now: number): Flow<GraphWritten> {
    const { names, origin } = this.#parts;
    const own = yield* names.idOf(origin);
    const keys = edits.flatMap((edit) => (edit.type === "announcement" ? [] : [edit.key]));
    yield* wait(this.#tables.readAhead(this.#state.id, { keys, origins: [own], stamp: true }));
    const first = (yield* wait(this.#tables.lastGeneration(own))) + 1;
    const records: GraphRecord[] = [];
    for (const edit of edits) {
      const record = edit.type === "version" ? yield* this.#toVersion(edit) : edit;
      if (record !== undefined) records.push(record);
    }
    if (records.length === 0) return { generation: first - 1, versions: 0, links: 0 };
    const tally = { versions: 0, links: 0 };
    yield* this.#insert({ origin, first, stamp: yield* this.#tick(nowMs), records }, now, tally);
    return { generation: first + records.length - 1, ...tally };
  }

  apply(messages: readonly Uint8Array[], nowMs: number): Flow<GraphApplied> {
    const apply = this.#apply.bind(this);
    return this.commit(nowMs, (now) => apply(messages, now));
  }

  *#apply(messages: readonly Uint8Array[], now: number): Flow<GraphApplied> {
    const { names, origin } = this.#parts;
    const tables = this.#tables;
    const stream = this.#state.id;
    const tally = { versions: 0, links: 0 };
    const counts = { applied: 0, duplicates: 0, echoes: 0, waiting: 0 };
    const batches = messages.map((data) => ({ data, batch: decodeBatch(data) }));
    yield* this.#readAhead(batches.map(({ batch }) => batch));
    let mayBeWaiting = (yield* wait(tables.waiting(stream))).length > 0;
    for (const { data, batch } of batches) {
      const next = (yield* wait(tables.lastGeneration(yield* names.idOf(batch.origin)))) + 1;
      const last = lastOf(batch);
      if (batch.origin === origin) {
        if (last >= next) throw this.rewound(last, next - 1);
        counts.echoes++;
      } else if (last < next) counts.duplicates++;
      else if (yield* this.#isNext(batch, next)) {
        yield* this.#insert(batch, now, tally);
        counts.applied++;
        if (mayBeWaiting) counts.applied += yield* this.drain(now, tally);
      } else if ((yield* wait(tables.inbox(stream, batch.origin, batch.first))) === undefined) {
        yield* wait(tables.addInbox(stream, { origin: batch.origin, first: batch.first, last, data }, now));
        counts.waiting++;
        mayBeWaiting = true;
      } else counts.duplicates++;
    }
    return { ...counts, ...tally };
  }

  *#readAhead(batches: readonly GraphBatch[]): Flow<void> {
    const records = batches.flatMap((batch) => batch.records);
    const ids = records.flatMap(idsOf);
    const keys = records.flatMap((record) => (record.type === "announcement" ? [] : [record.key]));
    const versions = [];
    const origins = new Set<number>();
    for (const { origin } of batches) origins.add(yield* this.#parts.names.idOf(origin));
    for (const { origin, generation } of ids) {
      const row = yield* this.#parts.names.idOf(origin);
      versions.push({ origin: row, gen: generation });
      origins.add(row);
    }
    yield* wait(this.#tables.readAhead(this.#state.id, { keys, versions, origins: [...origins] }));
  }

  /** The record that an edit makes; undefined where it makes nothing. */
  *#toVersion(edit: GraphEdit & { readonly type: "version" }): Flow<GraphVersion | undefined> {
    const { key, value, attributes, isMerge = false, parents } = edit;
    if (parents !== undefined && value !== undefined) {
      return { type: "version", key, value, attributes, isMerge, parents };
    }
    const object = yield* wait(this.#tables.object(this.#state.id, key));
    const heads = object === undefined ? [] : yield* headRows(this.#tables, object);
    if (value === undefined && heads.every((head) => head.value === null) && heads.length < 2) return undefined;
    const ids: VersionId[] = [];
    for (const head of heads) ids.push(yield* this.#parts.names.versionId(head));
    return { type: "version", key, value, attributes, isMerge, parents: parents ?? ids };
  }

  /** Greater than everything that is here, so than whatever the batch is made from. */
  *#tick(nowMs: number): Flow<Stamp> {
    const { ms, counter } = yield* wait(this.#tables.lastStamp(this.#state.id));
    const now = Math.floor(nowMs);
    if (now > ms) return { ms: now, counter: 0 };
    return counter < maxCounter ? { ms, counter: counter + 1 } : { ms: ms + 1, counter: 0 };
  }

  /** Whether everything that the batch builds on is here. */
  *#isNext(batch: GraphBatch, next: number): Flow<boolean> {
    if (batch.first > next) return false;
    if (batch.first < next) {
      throw defective(batch, `it begins with a generation that was in another batch; expected ${next}`);
    }
    for (const record of batch.records) {
      for (const id of idsOf(record)) {
        if (id.origin === batch.origin && id.generation >= batch.first) {
          throw defective(batch, `it is made from generation ${id.generation}, which is its own`);
        }
        const origin = yield* this.#parts.names.idOf(id.origin);
        if (id.generation > (yield* wait(this.#tables.lastGeneration(origin)))) return false;
      }
    }
    return true;
  }

  /** Applies what has waited for what came now. */
  *drain(now: number, tally: Tally): Flow<number> {
    const tables = this.#tables;
    const stream = this.#state.id;
    let applied = 0;
    for (let isProgress = true; isProgress; ) {
      isProgress = false;
      for (const { origin, first } of yield* wait(tables.waiting(stream))) {
        const row = yield* wait(tables.inbox(stream, origin, first));
        if (row === undefined) continue;
        const next = (yield* wait(tables.lastGeneration(yield* this.#parts.names.idOf(origin)))) + 1;
        const isKnown = row.last < next;
        const batch = decodeBatch(row.data);
        if (!isKnown && !(yield* this.#isNext(batch, next))) continue;
        if (!isKnown) {
          yield* this.#readAhead([batch]);
          yield* this.#insert(batch, now, tally);
          applied++;
        }
        yield* wait(tables.removeInbox(stream, origin, first));
        isProgress = true;
      }
    }
    return applied;
  }

  *#insert(batch: GraphBatch, now: number, tally: Tally): Flow<void> {
    const { store, retained } = this.#parts;
    const state = this.#state;
    yield* wait(store.flush(state.id));
    const origin = yield* this.#parts.names.idOf(batch.origin);
    const id = store.nextBatch;
    const stamp = stampText(batch.stamp, batch.origin);
    const firstPosition = store.position + 1;
    const keys = new Set<string>();
    for (const [index, record] of batch.records.entries()) {
      const gen = batch.first + index;
      if (record.type === "announcement") {
        yield* wait(retained.addAnnouncement(origin, { gen, vector: JSON.stringify(record.vector) }));
        continue;
      }
      if (record.type === "link") {
        yield* this.#insertLink(batch, record, { origin, gen, stamp });
        tally.links++;
        continue;
      }
      const name = Buffer.from(record.key).toString("latin1");
      if (keys.has(name)) throw defective(batch, "it has two versions of one key");
      keys.add(name);
      yield* this.#insertVersion(batch, record, { origin, gen, batch: id, stamp });
      tally.versions++;
    }
    const count = keys.size;
    yield* wait(
      this.#tables.addGenerations(state.id, origin, {
        first: batch.first,
        last: lastOf(batch),
        batch: count === 0 ? null : id,
        stamp_ms: batch.stamp.ms,
        stamp_counter: batch.stamp.counter,
      }),
    );
    if (count > 0) this.addBatch(now, firstPosition, count, batch.stamp);
  }

  /** Ends the batch of versions from a position on. */
  addBatch(now: number, firstPosition: number, count: number, stamp: Stamp): void {
    const { store, commits } = this.#parts;
    const state = this.#state;
    const id = store.nextBatch;
    const cursor = sortableInteger(BigInt(store.position));
    store.addBatch({
      stream: state.id,
      epoch: this.#epoch,
      committedAt: now,
      kind: batchKinds.stream,
      cursor,
      firstPosition,
      count,
      sourceTime: stamp.ms,
    });
    commits.extend(cursor, store.position, id);
    state.cursor = cursor;
    state.versions += count;
  }

  *#insertVersion(
    batch: GraphBatch,
    record: GraphVersion,
    made: { readonly origin: number; readonly gen: number; readonly batch: number; readonly stamp: string },
  ): Flow<void> {
    const { store } = this.#parts;
    const state = this.#state;
    const object = yield* wait(this.#tables.object(state.id, record.key));
    const parents: GraphRow[] = [];
    for (const id of record.parents) {
      const parent = yield* this.#parent(batch, id, object, made.stamp);
      if (parent !== undefined) parents.push(parent);
    }
    const positions = parents.map(({ pos }) => pos);
    const replaced = new Set(positions);
    if (replaced.size < parents.length) throw defective(batch, "it names a parent twice");
    const isPeer = batch.origin !== this.#parts.origin;
    const row = {
      pos: store.position + 1,
      object: object?.id ?? store.lastObject + 1,
      batch: made.batch,
      origin: made.origin,
      gen: made.gen,
      level: 1 + parents.reduce((level, parent) => Math.max(level, parent.level), 0),
      via: record.isMerge ? viaCodes.merge : isPeer ? viaCodes.peer : viaCodes.stream,
      version: made.stamp,
      attributes: record.attributes ?? null,
      value: record.value === undefined ? null : Buffer.from(record.value),
    };
    // It was made from something, but nobody knows any more from what.
    const isPastPruned = parents.length === 0 && record.parents.length > 0;
    const positionsOfPast = isPastPruned ? [prunedPosition] : positions;
    yield* this.addVersion(row, { key: record.key, object, known: parents, parents: positionsOfPast, replaced });
  }

  /** Makes a version a head in the place of those that it replaces. */
  *addVersion(
    version: Omit<GraphRow, "parent">,
    made: {
      readonly key: Uint8Array;
      /** Undefined: the key is new. */
      readonly object: ObjectRow | undefined;
      /** Versions of the key that were read already. */
      readonly known: readonly GraphRow[];
      /** Positions. */
      readonly parents: readonly number[];
      readonly replaced: ReadonlySet<number>;
    },
  ): Flow<void> {
    const { store } = this.#parts;
    const state = this.#state;
    const { object, parents, replaced } = made;
    const row: NewGraphRow = { ...version, parent: parents[0] ?? null, epoch: this.#epoch, parents };
    yield* wait(this.#tables.addVersion(row));
    store.advance(row.pos, Math.max(store.lastObject, row.object));
    if (object !== undefined) {
      const move = (heads: readonly GraphRow[]) => [...heads.filter(({ pos }) => !replaced.has(pos)), row];
      yield* this.#moveHeads(object, made.known, move);
      return;
    }
    const isDeleted = row.value === null;
    const added = { id: row.object, key: Buffer.from(made.key), head: row.pos, isDeleted };
    yield* wait(this.#tables.addObject(state.id, added));
    if (!isDeleted) state.keys++;
    yield* this.#moved(row.object);
  }

  /** What is not here took the place of these versions, as far as they are heads; one head has to be left. */
  *removeHeads(object: ObjectRow, positions: ReadonlySet<number>): Flow<void> {
    const heads = yield* wait(this.#tables.headsOf(object));
    if (!heads.some((position) => positions.has(position))) return;
    yield* this.#moveHeads(object, [], (rows) => rows.filter(({ pos }) => !positions.has(pos)));
  }

  *#insertLink(
    batch: GraphBatch,
    link: GraphLink,
    made: { readonly origin: number; readonly gen: number; readonly stamp: string },
  ): Flow<void> {
    const object = yield* wait(this.#tables.object(this.#state.id, link.key));
    if (object === undefined) throw defective(batch, "it links versions of a key that has none");
    const parent = yield* this.#parent(batch, link.parent, object, made.stamp);
    const child = yield* this.#parent(batch, link.child, object, made.stamp);
    if (parent !== undefined && child !== undefined && parent.version >= child.version) {
      throw defective(batch, "it links a version to an older one, which could close a circle");
    }
    const positions = { child: child?.pos ?? prunedPosition, parent: parent?.pos ?? prunedPosition };
    yield* wait(this.#tables.addLink(made.origin, { gen: made.gen, object: object.id, ...positions }));
    yield* this.#moveHeads(object, [], (heads) => heads.filter(({ pos }) => pos !== positions.parent));
  }

  /** Undefined: it was pruned, so something has taken its place. */
  *#parent(batch: GraphBatch, id: VersionId, object: ObjectRow | undefined, stamp: string): Flow<GraphRow | undefined> {
    const origin = yield* this.#parts.names.idOf(id.origin);
    const row = yield* wait(this.#tables.versionOf(origin, id.generation));
    const name = `${id.origin}:${id.generation}`;
    if (row === undefined) {
      const horizon = yield* horizonOf(this.#parts.retained, this.#state.id);
      if (id.generation <= (horizon.get(origin) ?? 0)) return undefined;
      throw defective(batch, `its parent ${name} is no version`);
    }
    if (row.object !== object?.id) throw defective(batch, `its parent ${name} is of another key`);
    if (row.version.slice(0, stampDigits) >= stamp.slice(0, stampDigits)) {
      throw defective(batch, `its stamp is not above that of its parent ${name}`);
    }
    return row;
  }

  *#moveHeads(
    object: ObjectRow,
    known: readonly GraphRow[],
    move: (heads: readonly GraphRow[]) => readonly GraphRow[],
  ): Flow<void> {
    const before = yield* headRows(this.#tables, object, known);
    const after = [...move(before)].sort(byStamp);
    const [shown, ...others] = after;
    if (shown === undefined) throw new StoreWatchError("INTERNAL", `object ${object.id} would have no head`);
    const isDeleted = shown.value === null;
    if (isDeleted !== object.isDeleted) this.#state.keys += isDeleted ? -1 : 1;
    yield* wait(this.#tables.setHeads(object, shown, others, before.length > 1));
    if (shown.pos !== object.head) yield* this.#moved(object.id);
  }

  *#moved(object: number): Flow<void> {
    if (this.onMove !== undefined) yield* this.onMove(object);
  }

  get #epoch(): number {
    return (this.#state.epoch as { readonly id: number }).id;
  }

  rewound(generation: number, own: number): StoreWatchError {
    return new StoreWatchError(
      "REWOUND",
      `another site has change ${generation} of this history (${this.#parts.origin}), which itself ends at ${own}: it was ` +
        "restored from a backup. Start with a new history, which takes everything from the other sites",
    );
  }
}

function lastOf(batch: GraphBatch): number {
  return batch.first + batch.records.length - 1;
}

/** The versions that a record refers to. */
function idsOf(record: GraphRecord): readonly VersionId[] {
  if (record.type === "link") return [record.child, record.parent];
  return record.type === "announcement" ? [] : record.parents;
}

function defective(batch: GraphBatch, detail: string): StoreWatchError {
  return new StoreWatchError(
    "PROTOCOL",
    `batch ${batch.first} of origin ${batch.origin} is defective: ${detail}; nothing of it was applied`,
  );
}
