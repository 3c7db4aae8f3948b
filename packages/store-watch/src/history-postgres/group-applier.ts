import { createHash } from "node:crypto";
import { absent, type FrameReader, frameKinds } from "../frame-layout.ts";
import { viaCodes } from "../history/ddl.ts";
import { type ChangeFacts, decideSweep, decideVersion } from "../history/decide.ts";
import { Bits } from "../history/group-writer.ts";
import type { CachedObject } from "../history/object-cache.ts";
import type { QuarantinedChange } from "../history/quarantine-table.ts";
import type { AppendStats } from "../history/stream-state.ts";
import type { PostgresClient } from "./driver.ts";
import { findObjects, liveObjects } from "./object-lookup.ts";
import { classifyPostgresError, messageOf } from "./postgres-errors.ts";
import { quarantine, supersede } from "./quarantine-rows.ts";
import type { PostgresStreamState } from "./stream-rows.ts";
import type { VersionRows } from "./version-rows.ts";

/** Frames whose keys are resolved together. */
const windowFrames = 4096;
const maxWindowBytes = 1024 * 1024;
const sweepPage = 4096;

/** Everything that the changes of one group share. */
export interface GroupContext {
  readonly stream: PostgresStreamState;
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

/**
 * Applies the changes of groups, within the writer's transaction. What to do is decided here, in memory; the server is
 * asked for what is not known yet, and told what came of it, thousands of rows at a time.
 */
export class GroupApplier {
  readonly #client: PostgresClient;
  readonly #rows: VersionRows;
  #windowReader: FrameReader | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  readonly #keys: string[] = Array.from({ length: windowFrames }, () => "");
  /** Objects that were found in the database for this window, or came into being in it. */
  readonly #fresh = new Map<string, CachedObject>();
  /** The objects that were known when the window was opened. */
  readonly #known: (CachedObject | undefined)[] = Array.from({ length: windowFrames }, () => undefined);
  /** By position: the digest of a value in the database, or a value that is on its way there. For comparing alone. */
  readonly #values = new Map<number, { readonly digest: Buffer } | { readonly value: Buffer | null }>();
  readonly #facts: { -readonly [Key in keyof ChangeFacts]: ChangeFacts[Key] } = {
    isDelete: false,
    version: undefined,
    epoch: 0,
    isFirstInSnapshot: false,
    position: 0,
  };

  /** One for each transaction. */
  constructor(client: PostgresClient, rows: VersionRows) {
    this.#client = client;
    this.#rows = rows;
  }

  /** Applies the change and poison frames in [from, to); others in between are skipped. */
  async apply(context: GroupContext, reader: FrameReader, from: number, to: number): Promise<void> {
    const { stream } = context;
    this.#rows.share(context.epoch, context.isSnapshot ? viaCodes.snapshot : viaCodes.stream);
    for (let frame = from; frame < to; frame++) {
      if (frame >= this.#windowEnd || reader !== this.#windowReader) await this.#readAhead(stream, reader, frame);
      const kind = reader.kind(frame);
      if (kind === frameKinds.poison) await this.#setAside(context, reader, frame);
      else if (kind !== frameKinds.change) continue;
      else if (context.isCareful) await this.#changeCarefully(context, reader, frame);
      else {
        const isNothing = this.#change(context, reader, frame);
        if (isNothing && stream.quarantined > 0) await this.#voidQuarantined(context, reader, frame);
        if (this.#rows.isFull) await this.#rows.flush(this.#client, stream.id);
      }
    }
  }

  /** Makes tombstones of the live keys that the snapshot did not contain (H8, V8). */
  async sweep(context: GroupContext): Promise<void> {
    const { stream, contained } = context;
    if (contained === undefined) return;
    await this.#voidUncontained(context, contained);
    if (stream.keys === 0) return;
    this.#windowReader = undefined;
    await this.#rows.flush(this.#client, stream.id);
    this.#rows.share(context.epoch, viaCodes.sweep);
    for (let after = 0; ; ) {
      const page = await liveObjects(this.#client, {
        stream: stream.id,
        after,
        before: contained.size,
        limit: sweepPage,
      });
      await this.#makeRoom(stream);
      for (const { key, object: found } of page) {
        if (contained.has(found.id)) continue;
        const name = key.toString("latin1");
        const object = stream.cache.get(name) ?? found;
        stream.cache.set(name, object);
        await this.#sweepOne(context, name, key, object);
      }
      await this.#rows.flush(this.#client, stream.id);
      if (page.length < sweepPage) return;
      after = page.at(-1)?.object.id ?? contained.size;
    }
  }

  /** What is in quarantine and not in the snapshot has vanished as well. */
  async #voidUncontained(context: GroupContext, contained: Bits): Promise<void> {
    const { stream } = context;
    const isVoid = async (key: Buffer) => {
      const name = key.toString("latin1");
      if (context.poisoned.has(name)) return false;
      await this.#resolve(stream, key, name);
      const object = stream.cache.get(name);
      return object === undefined || (object.id < contained.size && !contained.has(object.id));
    };
    await supersede(this.#client, stream, isVoid, `gone in the snapshot at cursor ${context.cursor}`);
  }

  /** Makes sure that the next window's objects fit into the cache. */
  async #makeRoom(stream: PostgresStreamState): Promise<void> {
    const { isCrowded } = stream.cache;
    if (!isCrowded && !this.#rows.isFull) return;
    await this.#rows.flush(this.#client, stream.id);
    if (isCrowded) stream.cache.forget();
  }

  /** Brings the object of a key into the cache, if it exists. */
  async #resolve(stream: PostgresStreamState, key: Buffer, name: string): Promise<void> {
    const { cache } = stream;
    if (cache.isComplete || cache.get(name) !== undefined) return;
    await findObjects(this.#client, stream.id, [key], (found, object) => cache.set(found, object));
  }

  /** Finds the objects of the next frames together, also beyond the end of the group: most groups are small. */
  async #readAhead(stream: PostgresStreamState, reader: FrameReader, from: number): Promise<void> {
    await this.#makeRoom(stream);
    const { cache } = stream;
    this.#fresh.clear();
    const limit = Math.min(from + windowFrames, reader.frames);
    let missing: Map<string, Buffer> | undefined;
    let compared: CachedObject[] | undefined;
    const unversioned = new Set<string>();
    let to = from;
    for (let bytes = 0; to < limit && bytes < maxWindowBytes; to++) {
      if (reader.kind(to) !== frameKinds.change) continue;
      const start = reader.start(to);
      const end = start + reader.fieldLength(to, 0);
      const key = reader.data.toString("latin1", start, end);
      bytes += key.length;
      this.#keys[to - from] = key;
      const object = cache.get(key);
      this.#known[to - from] = object;
      const isCompared = reader.fieldLength(to, 2) === absent;
      if (isCompared && object !== undefined) (compared ??= []).push(object);
      if (object !== undefined || cache.isComplete) continue;
      if (isCompared) unversioned.add(key);
      (missing ??= new Map()).set(key, reader.data.subarray(start, end));
    }
    if (missing !== undefined) {
      await findObjects(this.#client, stream.id, [...missing.values()], (key, object) => {
        cache.set(key, object);
        this.#fresh.set(key, object);
        if (unversioned.has(key)) (compared ??= []).push(object);
      });
    }
    this.#values.clear();
    if (compared !== undefined) await this.#readDigests(stream, compared);
    this.#windowReader = reader;
    this.#windowStart = from;
    this.#windowEnd = to;
  }

  /** Values are compared by their digests, so that large ones need not come here. */
  async #readDigests(stream: PostgresStreamState, objects: readonly CachedObject[]): Promise<void> {
    await this.#rows.flush(this.#client, stream.id);
    const { rows } = await this.#client.query<{ readonly pos: number; readonly digest: Buffer }>({
      name: "tidemark_digests",
      text: "SELECT pos, sha256(value) AS digest FROM versions WHERE pos = ANY ($1::bigint[]) AND value IS NOT NULL",
      values: [[...new Set(objects.map(({ head }) => head))]],
    });
    for (const { pos, digest } of rows) this.#values.set(pos, { digest });
  }

  #isSameValue(head: number, reader: FrameReader, frame: number): boolean {
    const known = this.#values.get(head);
    if (known === undefined) return false;
    const value = reader.bytes(frame, 1) as Buffer;
    if ("digest" in known) return createHash("sha256").update(value).digest().equals(known.digest);
    return known.value !== null && value.equals(known.value);
  }

  /** True for the deletion of a key that never existed. */
  #change(context: GroupContext, reader: FrameReader, frame: number): boolean {
    const { stream, stats, contained } = context;
    const facts = this.#facts;
    const key = this.#keys[frame - this.#windowStart] as string;
    let object = this.#known[frame - this.#windowStart] ?? this.#fresh.get(key);
    facts.isDelete = reader.fieldLength(frame, 1) === absent;
    facts.version = reader.text(frame, 2);
    facts.epoch = context.epoch;
    facts.position = this.#rows.position + 1;
    facts.isFirstInSnapshot = false;
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
      object = this.#rows.createObject(reader.bytes(frame, 0) as Buffer, context.epoch);
      stream.cache.set(key, object);
      this.#fresh.set(key, object);
    }
    if (object.isDeleted !== facts.isDelete) stream.keys += facts.isDelete ? -1 : 1;
    const sourceTime = reader.sourceTimeMs(frame);
    const value = (reader.bytes(frame, 1) as Buffer | undefined) ?? null;
    const attributes = reader.text(frame, 3) ?? null;
    this.#rows.addVersion(
      object,
      context.batch,
      version,
      value,
      attributes,
      sourceTime === undefined ? null : Math.floor(sourceTime),
    );
    if (facts.version === undefined) this.#values.set(object.head, { value });
    if (object.epoch !== context.epoch) {
      object.epoch = context.epoch;
      object.seen = facts.version ?? "";
    } else if (facts.version !== undefined && facts.version > object.seen) {
      object.seen = facts.version;
    }
    stats.versions++;
    return false;
  }

  async #voidQuarantined(context: GroupContext, reader: FrameReader, frame: number): Promise<void> {
    const key = reader.bytes(frame, 0) as Buffer;
    const isVoid = (other: Buffer) => other.equals(key);
    await supersede(this.#client, context.stream, isVoid, `deleted at cursor ${context.cursor}`);
  }

  #raiseSeen(object: CachedObject, version: string | undefined): void {
    if (version === undefined || version <= object.seen) return;
    object.seen = version;
    this.#rows.touch(object);
  }

  async #changeCarefully(context: GroupContext, reader: FrameReader, frame: number): Promise<void> {
    const key = this.#keys[frame - this.#windowStart] as string;
    const object = this.#known[frame - this.#windowStart] ?? this.#fresh.get(key);
    let isNothing = false;
    await this.#carefully(
      context,
      key,
      object,
      () => {
        isNothing = this.#change(context, reader, frame);
      },
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
    if (isNothing) await this.#voidQuarantined(context, reader, frame);
  }

  async #setAside(context: GroupContext, reader: FrameReader, frame: number): Promise<void> {
    const { stream, contained, poisoned } = context;
    const key = reader.bytes(frame, 0) as Buffer;
    const name = key.toString("latin1");
    poisoned.add(name);
    if (contained !== undefined) {
      // It did come in the snapshot, so it has not vanished.
      await this.#resolve(stream, key, name);
      const object = stream.cache.get(name);
      if (object !== undefined && object.id < contained.size) contained.add(object.id);
    }
    await quarantine(this.#client, context, this.#rows.position, {
      key,
      value: (reader.bytes(frame, 1) as Buffer | undefined) ?? null,
      version: reader.text(frame, 2) ?? null,
      attributes: null,
      sourceTime: null,
      error: reader.text(frame, 3) ?? "the source could not decode it",
    });
  }

  async #sweepOne(context: GroupContext, name: string, key: Buffer, object: CachedObject): Promise<void> {
    const { stream, stats, epoch, cursor } = context;
    const tombstone = () => {
      const position = this.#rows.position + 1;
      const version = decideSweep(object, epoch, cursor, position, stream.capabilities.versioned);
      this.#rows.addVersion(object, context.batch, version, null, null, null);
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
    const describe = (error: string) => ({
      key,
      value: null,
      version: cursor,
      attributes: null,
      sourceTime: null,
      error,
    });
    await this.#carefully(context, name, object, tombstone, describe);
  }

  /** Applies one change in a savepoint; what PostgreSQL refuses goes to quarantine, and everything else is as before. */
  async #carefully(
    context: GroupContext,
    key: string,
    object: CachedObject | undefined,
    apply: () => void,
    describe: (error: string) => QuarantinedChange,
  ): Promise<void> {
    const { stream, stats } = context;
    const client = this.#client;
    await this.#rows.flushAll(client, stream.id);
    const { mark } = this.#rows;
    const { keys } = stream;
    const { versions, duplicates } = stats;
    const before = object === undefined ? undefined : { ...object };
    await client.query("SAVEPOINT change");
    try {
      apply();
      await this.#rows.flush(client, stream.id);
    } catch (error) {
      if (classifyPostgresError(error) !== "data") throw error;
      await client.query("ROLLBACK TO change");
      this.#rows.reset(mark);
      if (object === undefined) {
        stream.cache.delete(key);
        this.#fresh.delete(key);
      } else Object.assign(object, before);
      stream.keys = keys;
      stats.versions = versions;
      stats.duplicates = duplicates;
      context.poisoned.add(key);
      await quarantine(client, context, mark.position, describe(messageOf(error)));
    }
    await client.query("RELEASE change");
  }
}
