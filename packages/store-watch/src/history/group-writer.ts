import type Database from "better-sqlite3";
import { absent, type FrameReader, frameKinds } from "../frame-layout.ts";
import { viaCodes } from "./ddl.ts";
import { type ChangeFacts, decideSweep, decideVersion } from "./decide.ts";
import { type CachedObject, ObjectLookup } from "./object-cache.ts";
import type { QuarantinedChange, QuarantineTable } from "./quarantine-table.ts";
import { classifySqliteError } from "./sqlite-errors.ts";
import type { AppendStats, StreamState } from "./stream-state.ts";
import type { VersionStore } from "./version-store.ts";

/** Frames whose keys are resolved together. */
const windowFrames = 256;
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

/** A set of small integers. */
export class Bits {
  readonly size: number;
  readonly #words: Uint32Array;

  /** Holds [0, size). */
  constructor(size: number) {
    this.size = size;
    this.#words = new Uint32Array((size >>> 5) + 1);
  }

  has(bit: number): boolean {
    return ((this.#words[bit >>> 5] as number) & (1 << (bit & 31))) !== 0;
  }

  add(bit: number): void {
    this.#words[bit >>> 5] = (this.#words[bit >>> 5] as number) | (1 << (bit & 31));
  }
}

/** Applies the changes of groups. Runs within the writer's transaction. */
export class GroupWriter {
  readonly #db: Database.Database;
  readonly #store: VersionStore;
  readonly #quarantine: QuarantineTable;
  readonly #lookup: ObjectLookup;
  readonly #sweepPage: Database.Statement<[number, number, number], [number]>;
  readonly #sweepKey: Database.Statement<[number], Buffer>;
  #windowReader: FrameReader | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  readonly #keys: string[] = Array.from({ length: windowFrames }, () => "");
  /** Objects that were found in the database for this window, or came into being in it. */
  readonly #fresh = new Map<string, CachedObject>();
  /** The objects that were known when the window was opened. */
  readonly #known: (CachedObject | undefined)[] = Array.from({ length: windowFrames }, () => undefined);
  readonly #facts: { -readonly [Key in keyof ChangeFacts]: ChangeFacts[Key] } = {
    isDelete: false,
    version: undefined,
    epoch: 0,
    isFirstInSnapshot: false,
    position: 0,
  };

  constructor(db: Database.Database, store: VersionStore, quarantine: QuarantineTable) {
    this.#db = db;
    this.#store = store;
    this.#quarantine = quarantine;
    this.#lookup = new ObjectLookup(db);
    this.#sweepPage = db
      .prepare<[number, number, number], [number]>(
        `SELECT id FROM objects WHERE id > ? AND id < ? AND stream = ? AND is_deleted = 0 ORDER BY id LIMIT ${sweepPage}`,
      )
      .raw();
    this.#sweepKey = db.prepare<[number], Buffer>("SELECT key FROM objects WHERE id = ?").pluck();
  }

  /** Forgets what was read ahead: before a buffer is applied, and whenever the cache may have forgotten it. */
  restart(): void {
    this.#windowReader = undefined;
  }

  /** Applies the change and poison frames in [from, to); others in between are skipped. */
  apply(context: GroupContext, reader: FrameReader, from: number, to: number): void {
    this.#store.share(context.epoch, context.isSnapshot ? viaCodes.snapshot : viaCodes.stream);
    for (let frame = from; frame < to; frame++) {
      if (frame >= this.#windowEnd || reader !== this.#windowReader) this.#readAhead(context.stream, reader, frame);
      const kind = reader.kind(frame);
      if (kind === frameKinds.poison) this.#setAside(context, reader, frame);
      else if (kind !== frameKinds.change) continue;
      else if (context.isCareful) this.#changeCarefully(context, reader, frame, this.#keyOf(frame));
      else this.#change(context, reader, frame, this.#keyOf(frame));
    }
  }

  /** Makes tombstones of the live keys that the snapshot did not contain (H8, V8). */
  sweep(context: GroupContext): void {
    const { stream, contained } = context;
    if (contained === undefined) return;
    this.#voidUncontained(context, contained);
    if (stream.keys === 0) return;
    this.restart();
    this.#store.flush(stream.id);
    this.#store.share(context.epoch, viaCodes.sweep);
    for (let after = 0; ; ) {
      const page = this.#sweepPage.all(after, contained.size, stream.id);
      const gone = page.map(([id]) => id).filter((id) => !contained.has(id));
      for (let from = 0; from < gone.length; from += windowFrames) {
        const keys = gone.slice(from, from + windowFrames).map((id) => this.#sweepKey.get(id) as Buffer);
        this.#makeRoom(stream);
        this.#resolve(stream, keys);
        for (const key of keys) this.#sweepOne(context, key);
      }
      this.#store.flush(stream.id);
      if (page.length < sweepPage) return;
      after = (page.at(-1) as [number])[0];
    }
  }

  /** What is in quarantine and not in the snapshot has vanished as well. */
  #voidUncontained(context: GroupContext, contained: Bits): void {
    const { stream } = context;
    if (stream.quarantined === 0) return;
    const isVoid = (key: Buffer) => {
      if (context.poisoned.has(key.toString("latin1"))) return false;
      this.#resolve(stream, [key]);
      const object = stream.cache.get(key.toString("latin1"));
      return object === undefined || (object.id < contained.size && !contained.has(object.id));
    };
    this.#quarantine.supersede(stream, isVoid, `gone in the snapshot at cursor ${context.cursor}`);
  }

  /** Makes sure that the next window's objects fit into the cache. */
  #makeRoom(stream: StreamState): void {
    const { isCrowded } = stream.cache;
    if (!isCrowded && !this.#store.isFull) return;
    this.#store.flush(stream.id);
    if (isCrowded) stream.cache.forget();
  }

  /** Brings the objects of these keys into the cache, if they exist. */
  #resolve(stream: StreamState, keys: readonly Buffer[]): void {
    const { cache } = stream;
    if (cache.isComplete) return;
    const missing = keys.filter((key) => cache.get(key.toString("latin1")) === undefined);
    if (missing.length > 0) this.#lookup.find(stream.id, missing, (key, object) => cache.set(key, object));
  }

  #keyOf(frame: number): string {
    return this.#keys[frame - this.#windowStart] as string;
  }

  /** Finds the objects of the next frames together, also beyond the end of the group: most groups are small. */
  #readAhead(stream: StreamState, reader: FrameReader, from: number): void {
    this.#makeRoom(stream);
    const { cache } = stream;
    const keys = this.#keys;
    this.#fresh.clear();
    const limit = Math.min(from + windowFrames, reader.frames);
    let missing: Map<string, Buffer> | undefined;
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
      if (object !== undefined || cache.isComplete) continue;
      missing ??= new Map();
      missing.set(key, reader.data.subarray(start, end));
    }
    if (missing !== undefined) {
      this.#lookup.find(stream.id, [...missing.values()], (key, object) => {
        cache.set(key, object);
        this.#fresh.set(key, object);
      });
    }
    this.#windowReader = reader;
    this.#windowStart = from;
    this.#windowEnd = to;
  }

  /** The object of a frame in the window: without another search in the large map. */
  #objectOf(frame: number, key: string): CachedObject | undefined {
    return this.#known[frame - this.#windowStart] ?? this.#fresh.get(key);
  }

  #change(context: GroupContext, reader: FrameReader, frame: number, key: string): void {
    const { stream, stats, contained } = context;
    const facts = this.#facts;
    let object = this.#objectOf(frame, key);
    facts.isDelete = reader.fieldLength(frame, 1) === absent;
    facts.version = reader.text(frame, 2);
    facts.epoch = context.epoch;
    facts.position = this.#store.position + 1;
    facts.isFirstInSnapshot = false;
    if (contained !== undefined && object !== undefined && object.id < contained.size) {
      facts.isFirstInSnapshot = !contained.has(object.id);
      if (!facts.isDelete) contained.add(object.id);
    }
    const version = decideVersion(object, facts, (head) => this.#isSameValue(head, reader, frame));
    if (version === undefined) {
      stats.duplicates++;
      if (object === undefined && stream.quarantined > 0) this.#voidQuarantined(context, reader, frame);
      // A second deletion is no version, but what is older than it is old.
      if (object !== undefined && facts.isDelete && object.epoch === facts.epoch)
        this.#raiseSeen(object, facts.version);
      return;
    }
    if (object === undefined) {
      object = this.#store.createObject(reader.bytes(frame, 0) as Buffer, context.epoch);
      stream.cache.set(key, object);
      this.#fresh.set(key, object);
    }
    if (object.isDeleted !== facts.isDelete) stream.keys += facts.isDelete ? -1 : 1;
    const sourceTime = reader.sourceTimeMs(frame);
    this.#store.addVersion(
      object,
      context.batch,
      version,
      (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
      reader.text(frame, 3) ?? null,
      sourceTime === undefined ? null : Math.floor(sourceTime),
    );
    if (object.epoch !== context.epoch) {
      object.epoch = context.epoch;
      object.seen = facts.version ?? "";
    } else if (facts.version !== undefined && facts.version > object.seen) {
      object.seen = facts.version;
    }
    stats.versions++;
  }

  #voidQuarantined(context: GroupContext, reader: FrameReader, frame: number): void {
    const key = reader.bytes(frame, 0) as Buffer;
    this.#quarantine.supersede(context.stream, (other) => other.equals(key), `deleted at cursor ${context.cursor}`);
  }

  #raiseSeen(object: CachedObject, version: string | undefined): void {
    if (version === undefined || version <= object.seen) return;
    object.seen = version;
    this.#store.touch(object);
  }

  #isSameValue(object: CachedObject | { readonly head: number }, reader: FrameReader, frame: number): boolean {
    const value = this.#store.valueAt(object.head);
    return value !== null && (reader.bytes(frame, 1) as Buffer).equals(value);
  }

  #changeCarefully(context: GroupContext, reader: FrameReader, frame: number, key: string): void {
    this.#carefully(
      context,
      key,
      () => this.#change(context, reader, frame, key),
      (error) => {
        const sourceTime = reader.sourceTimeMs(frame);
        return {
          key: reader.bytes(frame, 0) as Buffer,
          value: (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
          version: reader.text(frame, 2) ?? null,
          attributes: reader.text(frame, 3) ?? null,
          sourceTime: sourceTime === undefined ? null : Math.floor(sourceTime),
          error,
        };
      },
    );
  }

  #setAside(context: GroupContext, reader: FrameReader, frame: number): void {
    const key = reader.bytes(frame, 0) as Buffer;
    this.#keep(context, key.toString("latin1"));
    this.#quarantine.add(context, this.#store.position, {
      key,
      value: (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
      version: reader.text(frame, 2) ?? null,
      attributes: null,
      sourceTime: null,
      error: reader.text(frame, 3) ?? "the source could not decode it",
    });
  }

  /** A key in quarantine did come in the snapshot, so it has not vanished. */
  #keep(context: GroupContext, key: string): void {
    const { contained, stream } = context;
    context.poisoned.add(key);
    if (contained === undefined) return;
    this.#resolve(stream, [Buffer.from(key, "latin1")]);
    const object = stream.cache.get(key);
    if (object !== undefined && object.id < contained.size) contained.add(object.id);
  }

  #sweepOne(context: GroupContext, key: Buffer): void {
    const name = key.toString("latin1");
    const tombstone = () => {
      const object = context.stream.cache.get(name) as CachedObject;
      const position = this.#store.position + 1;
      const version = decideSweep(
        object,
        context.epoch,
        context.cursor,
        position,
        context.stream.capabilities.versioned,
      );
      this.#store.addVersion(object, context.batch, version, null, null, null);
      if (object.epoch !== context.epoch) {
        object.epoch = context.epoch;
        object.seen = "";
      }
      context.stream.keys--;
      context.stats.versions++;
    };
    if (!context.isCareful) {
      tombstone();
      return;
    }
    this.#carefully(context, name, tombstone, (error) => ({
      key,
      value: null,
      version: context.cursor,
      attributes: null,
      sourceTime: null,
      error,
    }));
  }

  /** Applies one change in a savepoint; what SQLite refuses goes to quarantine, and everything else is as before. */
  #carefully(
    context: GroupContext,
    key: string,
    apply: () => void,
    describe: (error: string) => QuarantinedChange,
  ): void {
    const { stream, stats } = context;
    this.#store.flushAll(stream.id);
    const mark = this.#store.mark;
    const { keys } = stream;
    const { versions, duplicates } = stats;
    const object = stream.cache.get(key);
    const before = object === undefined ? undefined : { ...object };
    this.#db.exec("SAVEPOINT change");
    try {
      apply();
      this.#store.flush(stream.id);
    } catch (error) {
      if (classifySqliteError(error) !== "data") throw error;
      this.#db.exec("ROLLBACK TO change");
      this.#store.reset(mark);
      if (object === undefined) {
        stream.cache.delete(key);
        this.#fresh.delete(key);
      } else Object.assign(object, before);
      stream.keys = keys;
      stats.versions = versions;
      stats.duplicates = duplicates;
      context.poisoned.add(key);
      this.#quarantine.add(context, mark.position, describe(error instanceof Error ? error.message : String(error)));
    }
    this.#db.exec("RELEASE change");
  }
}
