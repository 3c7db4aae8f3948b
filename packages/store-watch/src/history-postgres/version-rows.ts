import type { CachedObject } from "../history/object-cache.ts";
import type { NewBatch, SinkMark, VersionSink } from "../history/version-sink.ts";
import { keptText } from "./any-text.ts";
import { booleanArray, bytesArray, numberArray, textArray } from "./array-literals.ts";
import { one, type PostgresSession, run } from "./session.ts";

/** Collected rows are written when there are so many, or so many bytes of them. */
const maxRows = 2048;
const maxBytes = 4 * 1024 * 1024;

/** The columns of rows that are on their way, one array for each: that is how `unnest` takes them. */
class VersionColumns {
  object: number[] = [];
  batch: number[] = [];
  epoch: number[] = [];
  parent: (number | null)[] = [];
  level: number[] = [];
  via: number[] = [];
  version: string[] = [];
  attributes: (string | null)[] = [];
  sourceTime: (number | null)[] = [];
  value: (Buffer | null)[] = [];
}

class BatchColumns {
  stream: number[] = [];
  epoch: number[] = [];
  cursor: string[] = [];
  firstPosition: number[] = [];
  count: number[] = [];
  committedAt: number[] = [];
  sourceTime: (number | null)[] = [];
  kind: number[] = [];
}

/** The tables that every change touches, on PostgreSQL: thousands of rows are written with one statement for each table. */
export class VersionRows implements VersionSink {
  readonly #session: PostgresSession;
  #position = 0;
  #generation = 0;
  #lastObject = 0;
  #lastBatch = 0;
  #epoch = 0;
  #via = 0;
  #versions = new VersionColumns();
  #batches = new BatchColumns();
  #bytes = 0;
  #dirty: CachedObject[] = [];

  /** To be loaded before it is used. */
  constructor(session: PostgresSession) {
    this.#session = session;
  }

  get position(): number {
    return this.#position;
  }

  get lastObject(): number {
    return this.#lastObject;
  }

  get nextBatch(): number {
    return this.#lastBatch + 1;
  }

  get mark(): SinkMark {
    return { position: this.#position, generation: this.#generation, object: this.#lastObject, batch: this.#lastBatch };
  }

  get isFull(): boolean {
    const rows = Math.max(this.#versions.object.length, this.#dirty.length, this.#batches.stream.length);
    return this.#bytes >= maxBytes || rows >= maxRows;
  }

  /** Forgets what is collected and takes the counters from the tables. */
  async load(): Promise<void> {
    const text = `SELECT coalesce((SELECT max(pos) FROM versions), 0) AS position,
      coalesce((SELECT gen FROM versions WHERE origin = 1 ORDER BY pos DESC LIMIT 1), 0) AS generation,
      coalesce((SELECT max(id) FROM objects), 0) AS object, coalesce((SELECT max(id) FROM batches), 0) AS batch`;
    this.reset((await one<SinkMark>(this.#session, text)) as SinkMark);
  }

  reset(mark: SinkMark): void {
    for (const object of this.#dirty) object.isDirty = false;
    this.#dirty = [];
    this.#versions = new VersionColumns();
    this.#batches = new BatchColumns();
    this.#bytes = 0;
    this.#position = mark.position;
    this.#generation = mark.generation;
    this.#lastObject = mark.object;
    this.#lastBatch = mark.batch;
  }

  share(epoch: number, via: number): void {
    this.#epoch = epoch;
    this.#via = via;
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
    const columns = this.#versions;
    columns.object.push(object.id);
    columns.batch.push(batch);
    columns.epoch.push(this.#epoch);
    columns.parent.push(object.head === 0 ? null : object.head);
    columns.level.push(++object.level);
    columns.via.push(this.#via);
    columns.version.push(version);
    columns.attributes.push(keptText(attributes));
    columns.sourceTime.push(sourceTime);
    columns.value.push(value);
    this.#bytes += 64 + (value?.length ?? 0) + (attributes?.length ?? 0) + (object.newKey?.length ?? 0);
    this.#generation++;
    object.head = ++this.#position;
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
    const columns = this.#batches;
    columns.stream.push(batch.stream);
    columns.epoch.push(batch.epoch);
    columns.cursor.push(batch.cursor);
    columns.firstPosition.push(batch.firstPosition);
    columns.count.push(batch.count);
    columns.committedAt.push(batch.committedAt);
    columns.sourceTime.push(batch.sourceTime);
    columns.kind.push(batch.kind);
    this.#lastBatch++;
  }

  advance(position: number, object: number): void {
    this.#position = position;
    this.#lastObject = object;
  }

  async flush(stream: number): Promise<void> {
    await this.#flushVersions();
    await this.#flushObjects(stream);
    if (this.#batches.stream.length >= maxRows) await this.#flushBatches();
    this.#bytes = 0;
  }

  async flushAll(stream: number): Promise<void> {
    await this.flush(stream);
    await this.#flushBatches();
  }

  async #flushBatches(): Promise<void> {
    const columns = this.#batches;
    const count = columns.stream.length;
    if (count === 0) return;
    this.#batches = new BatchColumns();
    await run(
      this.#session,
      `INSERT INTO batches (id, stream, epoch, cursor, first_pos, count, committed_at, source_time, kind)
        SELECT $1 + i, stream, epoch, cursor, first_pos, count, committed_at, source_time, kind FROM
          unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::smallint[])
          WITH ORDINALITY AS t (stream, epoch, cursor, first_pos, count, committed_at, source_time, kind, i)`,
      [
        this.#lastBatch - count,
        numberArray(columns.stream),
        numberArray(columns.epoch),
        textArray(columns.cursor),
        numberArray(columns.firstPosition),
        numberArray(columns.count),
        numberArray(columns.committedAt),
        numberArray(columns.sourceTime),
        numberArray(columns.kind),
      ],
      "batches",
    );
  }

  async #flushVersions(): Promise<void> {
    const columns = this.#versions;
    const count = columns.object.length;
    if (count === 0) return;
    this.#versions = new VersionColumns();
    await run(
      this.#session,
      `INSERT INTO versions
          (pos, object, batch, gen, epoch, parent, level, via, version, attributes, source_time, value)
        SELECT $1 + i, object, batch, $2 + i, epoch, parent, level, via, version, attributes, source_time, value FROM
          unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::smallint[], $9::text[],
            $10::text[], $11::bigint[], $12::bytea[])
          WITH ORDINALITY AS t (object, batch, epoch, parent, level, via, version, attributes, source_time, value, i)`,
      [
        this.#position - count,
        this.#generation - count,
        numberArray(columns.object),
        numberArray(columns.batch),
        numberArray(columns.epoch),
        numberArray(columns.parent),
        numberArray(columns.level),
        numberArray(columns.via),
        textArray(columns.version),
        textArray(columns.attributes),
        numberArray(columns.sourceTime),
        bytesArray(columns.value),
      ],
      "versions",
    );
  }

  async #flushObjects(stream: number): Promise<void> {
    const dirty = this.#dirty;
    if (dirty.length === 0) return;
    this.#dirty = [];
    const added: CachedObject[] = [];
    const moved: CachedObject[] = [];
    for (const object of dirty) (object.newKey === undefined ? moved : added).push(object);
    if (moved.length > 0) {
      await run(
        this.#session,
        `UPDATE objects o SET head = t.head, is_deleted = t.is_deleted, seen = t.seen
          FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::text[]) AS t (id, head, is_deleted, seen)
          WHERE o.id = t.id`,
        columnsOf(moved),
        "objects_moved",
      );
    }
    if (added.length > 0) {
      await run(
        this.#session,
        `INSERT INTO objects (stream, key, id, head, is_deleted, seen) SELECT $1, t.* FROM
          unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[]) AS t`,
        [stream, bytesArray(added.map(({ newKey }) => newKey)), ...columnsOf(added)],
        "objects_added",
      );
    }
    for (const object of dirty) {
      object.isDirty = false;
      object.newKey = undefined;
    }
  }
}

/** Ids, heads, whether deleted, what was seen: null where it is the head's version. */
function columnsOf(objects: readonly CachedObject[]): unknown[] {
  return [
    numberArray(objects.map(({ id }) => id)),
    numberArray(objects.map(({ head }) => head)),
    booleanArray(objects.map(({ isDeleted }) => isDeleted)),
    textArray(objects.map(({ seen, version }) => (seen === version ? null : seen))),
  ];
}
