import { byStamp, stampDigits, stampText } from "./graph-stamp.ts";
import type Database from "better-sqlite3";
import { sortableInteger } from "../cursor.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./appender.ts";
import { commonAncestor } from "./ancestor.ts";
import type { CommitTable } from "./commit-table.ts";
import { viaCodes } from "./ddl.ts";
import { GraphMirror } from "./graph-mirror.ts";
import { decodeBatch, encodeBatch } from "./graph-codec.ts";
import { type GenerationRow, GraphTables, type GraphRow, type ObjectRow } from "./graph-tables.ts";
import type {
  ConflictGroup,
  ConflictKey,
  GraphApplied,
  GraphBatch,
  GraphEdit,
  GraphHead,
  GraphMessage,
  GraphRecord,
  GraphState,
  GraphStatus,
  GraphVersion,
  GraphWritten,
  Stamp,
  VersionId,
} from "./graph-types.ts";
import { commitFailed } from "./sqlite-errors.ts";
import type { StreamState } from "./stream-state.ts";
import type { StreamTable } from "./stream-table.ts";
import type { Transactions } from "./transactions.ts";
import type { VersionStore } from "./version-store.ts";

/** Counters of stamps have four hexadecimal digits. */
const maxCounter = 0xffff;
/** What `batches` gives at once, without a limit. */
const defaultBatchBytes = 1024 * 1024;

export interface GraphParts {
  readonly store: VersionStore;
  readonly streams: StreamTable;
  readonly commits: CommitTable;
  readonly transactions: Transactions;
}

interface Tally {
  versions: number;
  links: number;
}

/** One graph: its versions, its heads and its inbox. Runs on the writer's connection. */
export class GraphWriter {
  readonly #tables: GraphTables;
  readonly #parts: GraphParts;
  readonly #state: StreamState;
  readonly origin: string;
  readonly #origins = new Map<string, number>();
  readonly #own: number;
  readonly mirror: GraphMirror;

  /** `state` is the stream of the graph; `origin` the identity of the history. */
  constructor(db: Database.Database, parts: GraphParts, state: StreamState, origin: string, nowMs: number) {
    this.#tables = new GraphTables(db);
    this.#parts = parts;
    this.#state = state;
    this.origin = origin;
    this.mirror = new GraphMirror(db, this, this.#tables, state);
    this.#own = parts.transactions.run(state, () => {
      const stats = { versions: 0, duplicates: 0, quarantined: 0, gaps: 0 };
      parts.streams.enterEpoch(state, "graph", parts.store.position, parts.commits.begin(nowMs), stats);
      parts.streams.save(state);
      return this.#originId(origin);
    });
  }

  write(edits: readonly GraphEdit[], nowMs: number): GraphWritten {
    return this.commit(nowMs, (now) => this.add(edits, nowMs, now));
  }

  /** Makes one batch within a transaction. */
  add(edits: readonly GraphEdit[], nowMs: number, now: number): GraphWritten {
    const first = this.#tables.lastGeneration(this.#own) + 1;
    const records = edits.flatMap((edit) => this.#toRecord(edit) ?? []);
    if (records.length === 0) return { generation: first - 1, versions: 0, links: 0 };
    const tally = { versions: 0, links: 0 };
    this.#insert({ origin: this.origin, first, stamp: this.#tick(nowMs), records }, now, tally);
    return { generation: first + records.length - 1, ...tally };
  }

  /** The position of the newest version. */
  get position(): number {
    return this.#parts.store.position;
  }

  apply(messages: readonly Uint8Array[], nowMs: number): GraphApplied {
    return this.commit(nowMs, (now) => {
      const tally = { versions: 0, links: 0 };
      const counts = { applied: 0, duplicates: 0, echoes: 0, waiting: 0 };
      let mayBeWaiting = this.#tables.waiting(this.#state.id).length > 0;
      for (const data of messages) {
        const batch = decodeBatch(data);
        const next = this.#tables.lastGeneration(this.#originId(batch.origin)) + 1;
        const last = lastOf(batch);
        if (batch.origin === this.origin) {
          if (last >= next) throw this.#rewound(last, next - 1);
          counts.echoes++;
        } else if (last < next) counts.duplicates++;
        else if (this.#isNext(batch, next)) {
          this.#insert(batch, now, tally);
          counts.applied++;
          if (mayBeWaiting) counts.applied += this.#drain(now, tally);
        } else if (this.#tables.inbox(this.#state.id, batch.origin, batch.first) === undefined) {
          const row = { origin: batch.origin, first: batch.first, last, data: Buffer.from(data) };
          this.#tables.addInbox(this.#state.id, row, now);
          counts.waiting++;
          mayBeWaiting = true;
        } else counts.duplicates++;
      }
      return { ...counts, ...tally };
    });
  }

  batches(afterGeneration: number, maxBytes = defaultBatchBytes): GraphMessage[] {
    const messages: GraphMessage[] = [];
    let bytes = 0;
    for (const row of this.#tables.generationsAfter(this.#own, afterGeneration)) {
      const data = this.#encode(this.#own, row);
      messages.push({ first: row.first, generation: row.last, data });
      bytes += data.length;
      if (bytes >= maxBytes) break;
    }
    return messages;
  }

  /** What a site with this vector does not have. */
  missing(vector: Readonly<Record<string, number>>, maxBytes = defaultBatchBytes): Uint8Array[] {
    const known: Record<number, number> = {};
    for (const { origin } of this.#tables.vector(this.#state.id)) known[origin] = vector[this.#siteOf(origin)] ?? 0;
    const messages: Uint8Array[] = [];
    let bytes = 0;
    for (const row of this.#tables.generationsBeyond(this.#state.id, known)) {
      const data = this.#encode(row.origin, row);
      messages.push(data);
      bytes += data.length;
      if (bytes >= maxBytes) break;
    }
    return messages;
  }

  heads(key: Uint8Array): GraphHead[] {
    const object = this.#tables.object(this.#state.id, key);
    return object === undefined ? [] : this.#rowsOf(object).map((row) => this.#toHead(row));
  }

  /** Keys in conflict and what batches tie to them, from the first conflict after `after` on. */
  conflictGroup(after: number): ConflictGroup | undefined {
    const start = this.#tables.nextConflict(this.#state.id, after);
    if (start === undefined) return undefined;
    const found = new Map<number, GraphRow[]>();
    const batches = new Set<number>();
    const queue = [start];
    for (let object = queue.pop(); object !== undefined; object = queue.pop()) {
      if (found.has(object)) continue;
      const heads = this.#rowsOf(this.#tables.objectById(object));
      found.set(object, heads);
      for (const { batch, via } of heads) {
        // What a resolution wrote together does not belong together.
        if (via === viaCodes.merge || batches.has(batch)) continue;
        batches.add(batch);
        for (const sibling of this.#tables.batchObjects(batch)) {
          if (this.#tables.headsOf(this.#tables.objectById(sibling.object)).includes(sibling.pos)) {
            queue.push(sibling.object);
          }
        }
      }
    }
    const keys = [...found].sort(([one], [other]) => one - other).map(([id, rows]) => this.#conflictKey(id, rows));
    return { next: start, keys };
  }

  status(): GraphStatus {
    const vector: Record<string, number> = {};
    for (const { origin, last } of this.#tables.vector(this.#state.id)) vector[this.#siteOf(origin)] = last;
    const waiting = this.#tables.waiting(this.#state.id);
    return {
      vector,
      waiting: waiting.map((row) => ({ ...row, next: (vector[row.origin] ?? 0) + 1 })),
      conflicts: this.#tables.conflictCount(this.#state.id),
    };
  }

  /** Runs `work` in one SQL transaction with what it makes. @throws {StoreWatchError} */
  commit<T>(nowMs: number, work: (now: number) => T): T {
    const { transactions, commits, streams, store } = this.#parts;
    try {
      return transactions.run(this.#state, () => {
        const before = store.position;
        const now = commits.begin(nowMs);
        const result = work(now);
        if (store.position > before) this.#state.lastCommitAt = now;
        commits.end(this.#state);
        store.flushAll(this.#state.id);
        streams.save(this.#state);
        return result;
      });
    } catch (error) {
      // Origins that came with it are gone as well.
      this.#origins.clear();
      throw commitFailed(error);
    }
  }

  /** The record that an edit makes; undefined where it makes nothing. */
  #toRecord(edit: GraphEdit): GraphRecord | undefined {
    if (edit.type === "link") return edit;
    const { key, value, attributes, isMerge = false } = edit;
    const heads = this.heads(key);
    if (value === undefined && heads.every((head) => head.value === undefined) && heads.length < 2) return undefined;
    return { type: "version", key, value, attributes, isMerge, parents: edit.parents ?? heads.map(({ id }) => id) };
  }

  /** Greater than everything that is here, so than whatever the batch is made from. */
  #tick(nowMs: number): Stamp {
    const { ms, counter } = this.#tables.lastStamp(this.#state.id);
    const now = Math.floor(nowMs);
    if (now > ms) return { ms: now, counter: 0 };
    return counter < maxCounter ? { ms, counter: counter + 1 } : { ms: ms + 1, counter: 0 };
  }

  /** Whether everything that the batch builds on is here. */
  #isNext(batch: GraphBatch, next: number): boolean {
    if (batch.first > next) return false;
    if (batch.first < next) {
      throw defective(batch, `it begins with a generation that was in another batch; expected ${next}`);
    }
    const isHere = (id: VersionId) => {
      if (id.origin === batch.origin && id.generation >= batch.first) {
        throw defective(batch, `it is made from generation ${id.generation}, which is its own`);
      }
      return id.generation <= this.#tables.lastGeneration(this.#originId(id.origin));
    };
    return batch.records.every((record) =>
      record.type === "link" ? isHere(record.child) && isHere(record.parent) : record.parents.every(isHere),
    );
  }

  /** Applies what has waited for what came now. */
  #drain(now: number, tally: Tally): number {
    let applied = 0;
    for (let isProgress = true; isProgress; ) {
      isProgress = false;
      for (const { origin, first } of this.#tables.waiting(this.#state.id)) {
        const row = this.#tables.inbox(this.#state.id, origin, first);
        if (row === undefined) continue;
        const next = this.#tables.lastGeneration(this.#originId(origin)) + 1;
        const isKnown = row.last < next;
        const batch = decodeBatch(row.data);
        if (!isKnown && !this.#isNext(batch, next)) continue;
        if (!isKnown) {
          this.#insert(batch, now, tally);
          applied++;
        }
        this.#tables.removeInbox(this.#state.id, origin, first);
        isProgress = true;
      }
    }
    return applied;
  }

  #insert(batch: GraphBatch, now: number, tally: Tally): void {
    const { store, commits } = this.#parts;
    const state = this.#state;
    store.flushAll(state.id);
    const origin = this.#originId(batch.origin);
    const id = store.nextBatch;
    const stamp = stampText(batch.stamp, batch.origin);
    const firstPosition = store.position + 1;
    const keys = new Set<string>();
    for (const [index, record] of batch.records.entries()) {
      const gen = batch.first + index;
      if (record.type === "link") {
        this.#insertLink(batch, record, origin, gen);
        tally.links++;
        continue;
      }
      const name = Buffer.from(record.key).toString("latin1");
      if (keys.has(name)) throw defective(batch, "it has two versions of one key");
      keys.add(name);
      this.#insertVersion(batch, record, { origin, gen, batch: id, stamp });
      tally.versions++;
    }
    const count = keys.size;
    this.#tables.addGenerations(state.id, origin, {
      first: batch.first,
      last: lastOf(batch),
      batch: count === 0 ? null : id,
      stamp_ms: batch.stamp.ms,
      stamp_counter: batch.stamp.counter,
    });
    if (count === 0) return;
    const cursor = sortableInteger(BigInt(store.position));
    const epoch = (state.epoch as { readonly id: number }).id;
    store.addBatch({
      stream: state.id,
      epoch,
      committedAt: now,
      kind: batchKinds.stream,
      cursor,
      firstPosition,
      count,
      sourceTime: batch.stamp.ms,
    });
    commits.extend(cursor, store.position, id);
    state.cursor = cursor;
    state.versions += count;
  }

  #insertVersion(
    batch: GraphBatch,
    record: GraphVersion,
    made: { readonly origin: number; readonly gen: number; readonly batch: number; readonly stamp: string },
  ): void {
    const { store } = this.#parts;
    const state = this.#state;
    const object = this.#tables.object(state.id, record.key);
    const parents = record.parents.map((id) => this.#parent(batch, id, object, made.stamp));
    if (new Set(parents).size < parents.length) throw defective(batch, "it names a parent twice");
    const isPeer = batch.origin !== this.origin;
    const row: GraphRow = {
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
      parent: null,
    };
    const epoch = (state.epoch as { readonly id: number }).id;
    this.#tables.addVersion({ ...row, epoch, parents: parents.map(({ pos }) => pos) });
    store.advance(row.pos, Math.max(store.lastObject, row.object));
    if (object === undefined) {
      this.#tables.addObject(row.object, state.id, record.key, row.pos, row.value === null);
      if (row.value !== null) state.keys++;
      this.mirror.touch(row.object);
      return;
    }
    const replaced = new Set(parents.map(({ pos }) => pos));
    this.#moveHeads(object, (heads) => [...heads.filter(({ pos }) => !replaced.has(pos)), row]);
  }

  #insertLink(batch: GraphBatch, link: GraphRecord & { readonly type: "link" }, origin: number, gen: number): void {
    const object = this.#tables.object(this.#state.id, link.key);
    if (object === undefined) throw defective(batch, "it links versions of a key that has none");
    const parent = this.#parent(batch, link.parent, object, stampText(batch.stamp, batch.origin));
    const child = this.#parent(batch, link.child, object, stampText(batch.stamp, batch.origin));
    if (parent.version >= child.version) {
      throw defective(batch, "it links a version to an older one, which could close a circle");
    }
    this.#tables.addLink(origin, { gen, object: object.id, child: child.pos, parent: parent.pos });
    this.#moveHeads(object, (heads) => heads.filter(({ pos }) => pos !== parent.pos));
  }

  #parent(batch: GraphBatch, id: VersionId, object: ObjectRow | undefined, stamp: string): GraphRow {
    const row = this.#tables.versionOf(this.#originId(id.origin), id.generation);
    const name = `${id.origin}:${id.generation}`;
    if (row === undefined) throw defective(batch, `its parent ${name} is no version`);
    if (row.object !== object?.id) throw defective(batch, `its parent ${name} is of another key`);
    if (row.version.slice(0, stampDigits) >= stamp.slice(0, stampDigits)) {
      throw defective(batch, `its stamp is not above that of its parent ${name}`);
    }
    return row;
  }

  #moveHeads(object: ObjectRow, move: (heads: readonly GraphRow[]) => readonly GraphRow[]): void {
    const before = this.#rowsOf(object);
    const after = [...move(before)].sort(byStamp);
    const [shown, ...others] = after;
    if (shown === undefined) throw new StoreWatchError("INTERNAL", `object ${object.id} would have no head`);
    const isDeleted = shown.value === null;
    if (isDeleted !== (object.is_deleted === 1)) this.#state.keys += isDeleted ? -1 : 1;
    this.#tables.setHeads(object.id, shown, others, before.length > 1);
    if (shown.pos !== object.head) this.mirror.touch(object.id);
  }

  #rowsOf(object: { readonly id: number; readonly head: number }): GraphRow[] {
    return this.#tables
      .headsOf(object)
      .map((position) => this.#tables.version(position) as GraphRow)
      .sort(byStamp);
  }

  #encode(origin: number, { first, last, stamp_ms, stamp_counter }: GenerationRow): Uint8Array {
    const stamp = { ms: stamp_ms, counter: stamp_counter };
    return encodeBatch({ origin: this.#siteOf(origin), first, stamp, records: this.#records(origin, first, last) });
  }

  #records(origin: number, first: number, last: number): GraphRecord[] {
    const records: GraphRecord[] = [];
    for (const row of this.#tables.versionsIn(origin, first, last)) {
      records[row.gen - first] = {
        type: "version",
        key: this.#tables.objectById(row.object).key,
        value: row.value ?? undefined,
        attributes: row.attributes ?? undefined,
        parents: this.#tables.parentsOf(row).map((position) => this.idOf(position)),
        isMerge: row.via === viaCodes.merge,
      };
    }
    for (const link of this.#tables.linksIn(origin, first, last)) {
      records[link.gen - first] = {
        type: "link",
        key: this.#tables.objectById(link.object).key,
        child: this.idOf(link.child),
        parent: this.idOf(link.parent),
      };
    }
    return records;
  }

  #conflictKey(object: number, rows: readonly GraphRow[]): ConflictKey {
    const ancestor =
      rows.length < 2
        ? undefined
        : commonAncestor(
            rows.map(({ pos }) => pos),
            (position) => this.#tables.nodeOf(position),
          );
    return {
      key: this.#tables.objectById(object).key,
      heads: rows.map((row) => this.#toHead(row)),
      ancestor: ancestor && this.#toState(this.#tables.version(ancestor.position)),
      before: rows.map((row) => {
        const parents = this.#tables.parentsOf(row).flatMap((position) => this.#tables.version(position) ?? []);
        return this.#toState(parents.sort(byStamp)[0]);
      }),
    };
  }

  #toHead(row: GraphRow): GraphHead {
    return {
      id: { origin: this.#siteOf(row.origin), generation: row.gen },
      stamp: row.version,
      value: row.value ?? undefined,
      attributes: row.attributes ?? undefined,
      isMerge: row.via === viaCodes.merge,
      batch: this.#tables.generationsOf(row.origin, row.gen)?.first ?? row.gen,
      position: BigInt(row.pos),
    };
  }

  #toState(row: GraphRow | undefined): GraphState | undefined {
    return row && { id: { origin: this.#siteOf(row.origin), generation: row.gen }, value: row.value ?? undefined };
  }

  idOf(position: number): VersionId {
    const row = this.#tables.version(position);
    if (row === undefined) throw new StoreWatchError("INTERNAL", `version ${position} was pruned while it was needed`);
    return { origin: this.#siteOf(row.origin), generation: row.gen };
  }

  #originId(site: string): number {
    const known = this.#origins.get(site);
    if (known !== undefined) return known;
    const id = this.#tables.origin(`${this.#state.name}/${site}`);
    this.#origins.set(site, id);
    return id;
  }

  #siteOf(origin: number): string {
    return this.#tables.originName(origin).slice(this.#state.name.length + 1);
  }

  #rewound(generation: number, own: number): StoreWatchError {
    return new StoreWatchError(
      "REWOUND",
      `another site has change ${generation} of this history (${this.origin}), which itself ends at ${own}: it was restored ` +
        "from a backup. Start with a new history, which takes everything from the other sites",
    );
  }
}

function lastOf(batch: GraphBatch): number {
  return batch.first + batch.records.length - 1;
}

function defective(batch: GraphBatch, detail: string): StoreWatchError {
  return new StoreWatchError(
    "PROTOCOL",
    `batch ${batch.first} of origin ${batch.origin} is defective: ${detail}; nothing of it was applied`,
  );
}
