import type Database from "better-sqlite3";
import type { CachedObject } from "./object-cache.ts";
import { RowWriter } from "./row-writer.ts";
import type { NewBatch, SinkMark, VersionSink } from "./version-sink.ts";

/** Objects whose heads moved since the last flush; above this they are written. */
const maxDirty = 8192;

/** The tables that every change touches, on SQLite: rows are written 64 at a time. */
export class VersionStore implements VersionSink {
  readonly #versions: RowWriter;
  readonly #objects: RowWriter;
  readonly #batches: RowWriter;
  readonly #updateObject: Database.Statement;
  readonly #selectValue: Database.Statement<[number], Buffer | null>;
  readonly #selectAttributes: Database.Statement<[number], string | null>;
  readonly #maxima: Database.Statement<[], [number, number, number, number]>;
  readonly #generation = { epoch: 0, via: 0, gen: 0 };
  readonly #batchShared = { stream: 0, epoch: 0, committed_at: 0, kind: 0 };
  readonly #objectShared = { stream: 0 };
  #lastObject: number;
  #dirty: CachedObject[] = [];

  constructor(db: Database.Database) {
    this.#maxima = db
      .prepare<[], [number, number, number, number]>(
        `SELECT coalesce((SELECT max(pos) FROM versions), 0),
                coalesce((SELECT gen FROM versions WHERE origin = 1 ORDER BY pos DESC LIMIT 1), 0),
                coalesce((SELECT max(id) FROM objects), 0), coalesce((SELECT max(id) FROM batches), 0)`,
      )
      .raw();
    const [position, generation, object, batch] = this.#maxima.get() as [number, number, number, number];
    this.#lastObject = object;
    this.#generation.gen = generation + 1;
    this.#versions = new RowWriter(db, {
      table: "versions",
      columns: ["object", "batch", "parent", "level", "version", "attributes", "source_time", "value"],
      shared: ["epoch", "via"],
      counter: "gen",
      lastId: position,
    });
    this.#versions.share(this.#generation);
    this.#objects = new RowWriter(db, {
      table: "objects",
      columns: ["key", "head", "is_deleted", "seen"],
      shared: ["stream"],
      lastId: object,
    });
    this.#objects.share(this.#objectShared);
    this.#batches = new RowWriter(db, {
      table: "batches",
      columns: ["cursor", "first_pos", "count", "source_time"],
      shared: ["stream", "epoch", "committed_at", "kind"],
      lastId: batch,
    });
    this.#batches.share(this.#batchShared);
    this.#updateObject = db.prepare("UPDATE objects SET head = ?, is_deleted = ?, seen = ? WHERE id = ?");
    this.#selectValue = db.prepare<[number], Buffer | null>("SELECT value FROM versions WHERE pos = ?").pluck();
    this.#selectAttributes = db
      .prepare<[number], string | null>("SELECT attributes FROM versions WHERE pos = ?")
      .pluck();
  }

  get position(): number {
    return this.#versions.lastId;
  }

  get lastObject(): number {
    return this.#lastObject;
  }

  get nextBatch(): number {
    return this.#batches.lastId + 1;
  }

  get mark(): SinkMark {
    return {
      position: this.#versions.lastId,
      generation: this.#generation.gen + this.#versions.pending - 1,
      object: this.#lastObject,
      batch: this.#batches.lastId,
    };
  }

  share(epoch: number, via: number): void {
    if (this.#generation.epoch === epoch && this.#generation.via === via) return;
    this.#versions.flush();
    this.#generation.epoch = epoch;
    this.#generation.via = via;
  }

  createObject(key: Buffer, epoch: number): CachedObject {
    return {
      id: ++this.#lastObject,
      head: 0,
      level: 0,
      epoch,
      version: "",
      seen: "",
      isDeleted: true,
      newKey: key,
      isDirty: false,
    };
  }

  addVersion(
    object: CachedObject,
    batch: number,
    version: string,
    value: Buffer | null,
    attributes: string | null,
    sourceTime: number | null,
  ): void {
    const at = this.#versions.next();
    const { values } = this.#versions;
    values[at] = object.id;
    values[at + 1] = batch;
    values[at + 2] = object.head === 0 ? null : object.head;
    values[at + 3] = ++object.level;
    values[at + 4] = version;
    values[at + 5] = attributes;
    values[at + 6] = sourceTime;
    values[at + 7] = value;
    object.head = this.#versions.lastId;
    object.version = version;
    object.isDeleted = value === null;
    this.touch(object);
  }

  touch(object: CachedObject): void {
    if (object.isDirty) return;
    object.isDirty = true;
    this.#dirty.push(object);
  }

  addBatch(batch: NewBatch): void {
    const shared = this.#batchShared;
    if (
      shared.stream !== batch.stream ||
      shared.epoch !== batch.epoch ||
      shared.committed_at !== batch.committedAt ||
      shared.kind !== batch.kind
    ) {
      this.#batches.flush();
      shared.stream = batch.stream;
      shared.epoch = batch.epoch;
      shared.committed_at = batch.committedAt;
      shared.kind = batch.kind;
    }
    const at = this.#batches.next();
    const { values } = this.#batches;
    values[at] = batch.cursor;
    values[at + 1] = batch.firstPosition;
    values[at + 2] = batch.count;
    values[at + 3] = batch.sourceTime;
  }

  advance(position: number, object: number): void {
    this.#versions.reset(position);
    this.#objects.reset(object);
    this.#lastObject = object;
  }

  /** The value at a position; null for a deletion. */
  valueAt(position: number): Buffer | null {
    if (position > this.#versions.lastId - this.#versions.pending) this.#versions.flush();
    return this.#selectValue.get(position) ?? null;
  }

  /** The attributes of a version that {@link valueAt} was asked about. */
  attributesAt(position: number): string | null {
    return this.#selectAttributes.get(position) ?? null;
  }

  get isFull(): boolean {
    return this.#dirty.length >= maxDirty;
  }

  flush(stream: number): void {
    this.#versions.flush();
    if (this.#objectShared.stream !== stream) {
      this.#objects.flush();
      this.#objectShared.stream = stream;
    }
    for (const object of this.#dirty) {
      object.isDirty = false;
      const seen = object.seen === object.version ? null : object.seen;
      if (object.newKey === undefined) {
        this.#updateObject.run(object.head, object.isDeleted ? 1 : 0, seen, object.id);
        continue;
      }
      const at = this.#objects.next();
      const { values } = this.#objects;
      values[at] = object.newKey;
      values[at + 1] = object.head;
      values[at + 2] = object.isDeleted ? 1 : 0;
      values[at + 3] = seen;
      object.newKey = undefined;
    }
    this.#dirty = [];
    this.#objects.flush();
  }

  flushAll(stream: number): void {
    this.flush(stream);
    this.#batches.flush();
  }

  /** Forgets what is collected and takes the counters from the mark, or from the tables: after a rollback. */
  reset(mark?: SinkMark): void {
    const [position, generation, object, batch] = mark
      ? [mark.position, mark.generation, mark.object, mark.batch]
      : (this.#maxima.get() as [number, number, number, number]);
    for (const dirty of this.#dirty) dirty.isDirty = false;
    this.#dirty = [];
    this.#lastObject = object;
    this.#generation.gen = generation + 1;
    this.#versions.reset(position);
    this.#objects.reset(object);
    this.#batches.reset(batch);
  }
}
