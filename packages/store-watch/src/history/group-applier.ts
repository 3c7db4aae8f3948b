import { absent, type FrameReader, frameKinds } from "../frame-layout.ts";
import type { Bits } from "./bits.ts";
import { viaCodes } from "./ddl.ts";
import { type ChangeFacts, decideSweep, decideVersion } from "./decide.ts";
import { type Flow, wait } from "./flow.ts";
import type { CachedObject } from "./object-cache.ts";
import type { HeldValues, ObjectRows, Savepoints } from "./object-rows.ts";
import type { QuarantinedChange, QuarantineLog } from "./quarantine-log.ts";
import type { AppendStats, StreamState } from "./stream-state.ts";
import type { VersionSink } from "./version-sink.ts";

const maxWindowBytes = 1024 * 1024;
const sweepPage = 4096;

/** Everything that the changes of one group share. */
export interface GroupContext {
  readonly stream: StreamState;
  readonly epoch: number;
  readonly batch: number;
  readonly cursor: string;
  readonly now: number;
  readonly isSnapshot: boolean;
  /** Each change in a savepoint of its own, so that a poisonous one can be set aside. */
  readonly isCareful: boolean;
  readonly stats: AppendStats;
  /** In a snapshot: which objects it contained, of those that existed before it. */
  readonly contained: Bits | undefined;
  /** Keys (as Latin-1 text) that came and were set aside. */
  readonly poisoned: Set<string>;
}

export interface GroupParts {
  readonly store: VersionSink;
  readonly objects: ObjectRows;
  readonly values: HeldValues;
  readonly savepoints: Savepoints;
  readonly quarantine: QuarantineLog;
  /** Frames whose keys are resolved together. */
  readonly windowFrames: number;
}

/**
 * Applies the changes of groups, within the writer's transaction. What to do is decided here, in memory; the database is
 * asked for what is not known yet, and told what came of it, many rows at a time.
 */
export class GroupApplier {
  readonly #parts: GroupParts;
  readonly #store: VersionSink;
  readonly #values: HeldValues;
  #windowReader: FrameReader | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  readonly #keys: string[];
  /** Objects that were found in the database for this window, or came into being in it. */
  readonly #fresh = new Map<string, CachedObject>();
  /** The objects that were known when the window was opened. */
  readonly #known: (CachedObject | undefined)[];
  readonly #facts: { -readonly [Key in keyof ChangeFacts]: ChangeFacts[Key] } = {
    isDelete: false,
    version: undefined,
    epoch: 0,
    isFirstInSnapshot: false,
    isRepair: false,
    position: 0,
  };

  constructor(parts: GroupParts) {
    this.#parts = parts;
    this.#store = parts.store;
    this.#values = parts.values;
    this.#keys = Array.from({ length: parts.windowFrames }, () => "");
    this.#known = Array.from({ length: parts.windowFrames }, () => undefined);
  }

  /** Forgets what was read ahead: before a buffer is applied, and whenever the cache may have forgotten it. */
  restart(): void {
    this.#windowReader = undefined;
  }

  /** Applies the change and poison frames in [from, to); others in between are skipped. */
  *apply(context: GroupContext, reader: FrameReader, from: number, to: number): Flow<void> {
    const { stream } = context;
    this.#store.share(context.epoch, context.isSnapshot ? viaCodes.snapshot : viaCodes.stream);
    for (let frame = from; frame < to; frame++) {
      if (frame >= this.#windowEnd || reader !== this.#windowReader) yield* this.#readAhead(stream, reader, frame);
      const kind = reader.kind(frame);
      if (kind === frameKinds.poison) yield* this.#setAside(context, reader, frame);
      else if (kind !== frameKinds.change) continue;
      else if (context.isCareful) yield* this.#changeCarefully(context, reader, frame);
      else {
        const isNothing = this.#change(context, reader, frame);
        if (isNothing && stream.quarantined > 0) yield* this.#voidQuarantined(context, reader, frame);
        if (this.#store.isFull) yield* wait(this.#store.flush(stream.id));
      }
    }
  }

  /** Makes tombstones of the live keys that the snapshot did not contain (H8, V8). */
  *sweep(context: GroupContext): Flow<void> {
    const { stream, contained } = context;
    if (contained === undefined) return;
    yield* this.#voidUncontained(context, contained);
    if (stream.keys === 0) return;
    this.restart();
    yield* wait(this.#store.flush(stream.id));
    this.#store.share(context.epoch, viaCodes.sweep);
    const { objects, windowFrames } = this.#parts;
    for (let after = 0; ; ) {
      const range = { stream: stream.id, after, before: contained.size, limit: sweepPage };
      const page = yield* wait(objects.liveIds(range));
      const gone = page.filter((id) => !contained.has(id));
      for (let from = 0; from < gone.length; from += windowFrames) {
        const found = yield* wait(objects.byIds(gone.slice(from, from + windowFrames)));
        yield* this.#makeRoom(stream);
        for (const each of found) {
          const name = each.key.toString("latin1");
          const object = stream.cache.get(name) ?? each.object;
          stream.cache.set(name, object);
          yield* this.#sweepOne(context, name, each.key, object);
        }
      }
      yield* wait(this.#store.flush(stream.id));
      if (page.length < sweepPage) return;
      after = page.at(-1) as number;
    }
  }

  /** What is in quarantine and not in the snapshot has vanished as well. */
  *#voidUncontained(context: GroupContext, contained: Bits): Flow<void> {
    const { stream, poisoned } = context;
    const resolve = this.#resolve.bind(this);
    const isVoid = function* (key: Buffer): Flow<boolean> {
      const name = key.toString("latin1");
      if (poisoned.has(name)) return false;
      const object = yield* resolve(stream, key, name);
      return object === undefined || (object.id < contained.size && !contained.has(object.id));
    };
    yield* this.#parts.quarantine.supersede(stream, isVoid, `gone in the snapshot at cursor ${context.cursor}`);
  }

  /** Makes sure that the next window's objects fit into the cache. */
  *#makeRoom(stream: StreamState): Flow<void> {
    const { isCrowded } = stream.cache;
    if (!isCrowded && !this.#store.isFull) return;
    yield* wait(this.#store.flush(stream.id));
    if (isCrowded) stream.cache.forget();
  }

  /** The object of a key, if it exists; then it is in the cache. */
  *#resolve(stream: StreamState, key: Buffer, name: string): Flow<CachedObject | undefined> {
    const { cache } = stream;
    const known = cache.get(name);
    if (known !== undefined || cache.isComplete) return known;
    yield* wait(this.#parts.objects.find(stream.id, [key], (found, object) => cache.set(found, object)));
    return cache.get(name);
  }

  /** Finds the objects of the next frames together, also beyond the end of the group: most groups are small. */
  *#readAhead(stream: StreamState, reader: FrameReader, from: number): Flow<void> {
    yield* this.#makeRoom(stream);
    const { cache } = stream;
    const { windowFrames, objects } = this.#parts;
    const keys = this.#keys;
    this.#fresh.clear();
    const limit = Math.min(from + windowFrames, reader.frames);
    const { isAhead } = this.#values;
    const compared: number[] = [];
    let missing: Map<string, Buffer> | undefined;
    let comparedIfFound: Set<string> | undefined;
    let to = from;
    for (let bytes = 0; to < limit && bytes < maxWindowBytes; to++) {
      if (reader.kind(to) !== frameKinds.change) continue;
      const start = reader.start(to);
      const end = start + reader.fieldLength(to, 0);
      const key = reader.data.toString("latin1", start, end);
      bytes += key.length;
      keys[to - from] = key;
      const object = cache.get(key);
      this.#known[to - from] = object;
      const isCompared = isAhead && (reader.fieldLength(to, 2) === absent || stream.isRepair);
      if (isCompared && object !== undefined) compared.push(object.head);
      if (object !== undefined || cache.isComplete) continue;
      if (isCompared) (comparedIfFound ??= new Set()).add(key);
      (missing ??= new Map()).set(key, reader.data.subarray(start, end));
    }
    if (missing !== undefined) {
      const find = objects.find(stream.id, [...missing.values()], (key, object) => {
        cache.set(key, object);
        this.#fresh.set(key, object);
        if (comparedIfFound?.has(key) === true) compared.push(object.head);
      });
      yield* wait(find);
    }
    if (isAhead) yield* wait(this.#values.readAhead(stream.id, compared));
    this.#windowReader = reader;
    this.#windowStart = from;
    this.#windowEnd = to;
  }

  /** The object of a frame in the window: without another search in the large map. */
  #objectOf(frame: number, key: string): CachedObject | undefined {
    return this.#known[frame - this.#windowStart] ?? this.#fresh.get(key);
  }

  /** True for the deletion of a key that never existed. */
  #change(context: GroupContext, reader: FrameReader, frame: number): boolean {
    const { stream, stats, contained } = context;
    const facts = this.#facts;
    const key = this.#keys[frame - this.#windowStart] as string;
    let object = this.#objectOf(frame, key);
    facts.isDelete = reader.fieldLength(frame, 1) === absent;
    facts.version = reader.text(frame, 2);
    facts.epoch = context.epoch;
    facts.position = this.#store.position + 1;
    facts.isFirstInSnapshot = false;
    facts.isRepair = stream.isRepair;
    if (contained !== undefined && object !== undefined && object.id < contained.size) {
      facts.isFirstInSnapshot = !contained.has(object.id);
      if (!facts.isDelete) contained.add(object.id);
    }
    const version = decideVersion(object, facts, ({ head }) => this.#isSameValue(head, reader, frame));
    if (version === undefined) {
      stats.duplicates++;
      // A second deletion is no version, but what is older than it is old.
      if (object !== undefined && facts.isDelete && object.epoch === facts.epoch)
        this.#raiseSeen(object, facts.version);
      return object === undefined;
    }
    if (object === undefined) {
      object = this.#store.createObject(reader.bytes(frame, 0) as Buffer, context.epoch);
      stream.cache.set(key, object);
      this.#fresh.set(key, object);
    }
    if (object.isDeleted !== facts.isDelete) stream.keys += facts.isDelete ? -1 : 1;
    const sourceTime = reader.sourceTimeMs(frame);
    const value = (reader.bytes(frame, 1) as Buffer | undefined) ?? null;
    const attributes = reader.text(frame, 3) ?? null;
    this.#store.addVersion(
      object,
      context.batch,
      version,
      value,
      attributes,
      sourceTime === undefined ? null : Math.floor(sourceTime),
    );
    if (facts.version === undefined) this.#values.add(object.head, value, attributes);
    if (object.epoch !== context.epoch) {
      object.epoch = context.epoch;
      object.seen = facts.version ?? "";
    } else if (facts.version !== undefined && (facts.version > object.seen || facts.isRepair)) {
      object.seen = facts.version;
    }
    stats.versions++;
    return false;
  }

  #isSameValue(head: number, reader: FrameReader, frame: number): boolean {
    if (!this.#values.isSame(head, reader.bytes(frame, 1) as Buffer)) return false;
    return !this.#facts.isRepair || this.#values.hasAttributes(head, reader.text(frame, 3) ?? null);
  }

  *#voidQuarantined(context: GroupContext, reader: FrameReader, frame: number): Flow<void> {
    const key = reader.bytes(frame, 0) as Buffer;
    const isVoid = (other: Buffer) => wait(other.equals(key));
    yield* this.#parts.quarantine.supersede(context.stream, isVoid, `deleted at cursor ${context.cursor}`);
  }

  #raiseSeen(object: CachedObject, version: string | undefined): void {
    if (version === undefined || version <= object.seen) return;
    object.seen = version;
    this.#store.touch(object);
  }

  *#changeCarefully(context: GroupContext, reader: FrameReader, frame: number): Flow<void> {
    const key = this.#keys[frame - this.#windowStart] as string;
    let isNothing = false;
    const apply = () => {
      isNothing = this.#change(context, reader, frame);
    };
    const describe = (error: string) => {
      const sourceTime = reader.sourceTimeMs(frame);
      return {
        key: reader.bytes(frame, 0) as Buffer,
        value: (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
        version: reader.text(frame, 2) ?? null,
        attributes: reader.text(frame, 3) ?? null,
        sourceTime: sourceTime === undefined ? null : Math.floor(sourceTime),
        error,
      };
    };
    yield* this.#carefully(context, key, this.#objectOf(frame, key), apply, describe);
    if (isNothing) yield* this.#voidQuarantined(context, reader, frame);
  }

  *#setAside(context: GroupContext, reader: FrameReader, frame: number): Flow<void> {
    const { stream, contained, poisoned } = context;
    const key = reader.bytes(frame, 0) as Buffer;
    const name = key.toString("latin1");
    poisoned.add(name);
    if (contained !== undefined) {
      // It did come in the snapshot, so it has not vanished.
      const object = yield* this.#resolve(stream, key, name);
      if (object !== undefined && object.id < contained.size) contained.add(object.id);
    }
    yield* this.#parts.quarantine.add(context, this.#store.position, {
      key,
      value: (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
      version: reader.text(frame, 2) ?? null,
      attributes: null,
      sourceTime: null,
      error: reader.text(frame, 3) ?? "the source could not decode it",
    });
  }

  *#sweepOne(context: GroupContext, name: string, key: Buffer, object: CachedObject): Flow<void> {
    const { stream, stats, epoch, cursor } = context;
    const tombstone = () => {
      const position = this.#store.position + 1;
      const version = decideSweep(object, epoch, cursor, position, stream.capabilities.versioned);
      this.#store.addVersion(object, context.batch, version, null, null, null);
      if (object.epoch !== epoch) {
        object.epoch = epoch;
        object.seen = "";
      }
      stream.keys--;
      stats.versions++;
    };
    if (!context.isCareful) {
      tombstone();
      return;
    }
    const change = { key, value: null, version: cursor, attributes: null, sourceTime: null };
    yield* this.#carefully(context, name, object, tombstone, (error) => ({ ...change, error }));
  }

  /** Applies one change in a savepoint; what the database refuses goes to quarantine, and everything else is as before. */
  *#carefully(
    context: GroupContext,
    key: string,
    object: CachedObject | undefined,
    apply: () => void,
    describe: (error: string) => QuarantinedChange,
  ): Flow<void> {
    const { stream, stats } = context;
    const { savepoints, quarantine } = this.#parts;
    yield* wait(this.#store.flushAll(stream.id));
    const { mark } = this.#store;
    const { keys } = stream;
    const { versions, duplicates } = stats;
    const before = object === undefined ? undefined : { ...object };
    yield* wait(savepoints.begin());
    try {
      apply();
      yield* wait(this.#store.flush(stream.id));
      yield* wait(savepoints.check());
    } catch (error) {
      const refusal = savepoints.refusalOf(error);
      if (refusal === undefined) throw error;
      yield* wait(savepoints.rollBack());
      this.#store.reset(mark);
      if (object === undefined) {
        stream.cache.delete(key);
        this.#fresh.delete(key);
      } else Object.assign(object, before);
      stream.keys = keys;
      stats.versions = versions;
      stats.duplicates = duplicates;
      context.poisoned.add(key);
      yield* quarantine.add(context, mark.position, describe(refusal));
    }
    yield* wait(savepoints.release());
  }
}
