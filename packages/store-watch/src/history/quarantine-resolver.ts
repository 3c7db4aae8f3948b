import { sortableInteger } from "../cursor.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./batch-kinds.ts";
import type { CommitLog } from "./commit-log.ts";
import { viaCodes } from "./ddl.ts";
import { type Flow, type Later, wait } from "./flow.ts";
import type { CachedObject } from "./object-cache.ts";
import type { ObjectRows } from "./object-rows.ts";
import type { QuarantineRow, QuarantineRows } from "./quarantine-log.ts";
import type { StreamLog } from "./stream-log.ts";
import type { StreamState } from "./stream-state.ts";
import type { VersionSink } from "./version-sink.ts";

interface ResolverParts {
  readonly store: VersionSink;
  readonly streams: StreamLog;
  readonly commits: CommitLog;
  readonly objects: ObjectRows;
  readonly quarantine: QuarantineRows;
  readonly stateOf: (id: number) => Later<StreamState>;
}

/** What a person decides about a change in quarantine. The decision is part of the record. Within a transaction. */
export class QuarantineResolver {
  readonly #parts: ResolverParts;

  constructor(parts: ResolverParts) {
    this.#parts = parts;
  }

  /**
   * Applies the change now, unless something newer has come for its key: then that is the resolution.
   *
   * @throws {StoreWatchError} `NOT_FOUND`
   */
  *retry(id: number, nowMs: number): Flow<void> {
    const { quarantine, commits, streams } = this.#parts;
    const row = yield* this.#openRow(id);
    const stream = yield* wait(this.#parts.stateOf(row.stream));
    const now = commits.begin(nowMs);
    const object = yield* this.#find(stream, row.key);
    const newer = whatSuperseded(stream, object, row);
    const resolution = newer ?? String(yield* this.#apply(stream, object, row, now));
    yield* wait(quarantine.resolve(id, "retried", resolution));
    stream.quarantined--;
    yield* streams.save(stream);
  }

  /** A retry failed, and this is why. */
  blame(id: number, error: string): Flow<void> {
    return wait(this.#parts.quarantine.blame(id, error));
  }

  /** @throws {StoreWatchError} `NOT_FOUND` */
  *skip(id: number, reason: string): Flow<void> {
    const row = yield* this.#openRow(id);
    const stream = yield* wait(this.#parts.stateOf(row.stream));
    yield* wait(this.#parts.quarantine.resolve(id, "skipped", reason));
    stream.quarantined--;
    yield* this.#parts.streams.save(stream);
  }

  *#openRow(id: number): Flow<QuarantineRow> {
    const row = yield* wait(this.#parts.quarantine.byId(id));
    if (row?.state === "open") return row;
    const what = row === undefined ? "there is none" : `it was ${row.state}`;
    throw new StoreWatchError("NOT_FOUND", `expected an open change ${id} in quarantine, but ${what}`);
  }

  *#find(stream: StreamState, key: Buffer): Flow<CachedObject | undefined> {
    const name = key.toString("latin1");
    if (stream.cache.get(name) === undefined) {
      yield* wait(this.#parts.objects.find(stream.id, [key], (found, object) => stream.cache.set(found, object)));
    }
    return stream.cache.get(name);
  }

  *#apply(stream: StreamState, known: CachedObject | undefined, row: QuarantineRow, now: number): Flow<number> {
    const { store, commits } = this.#parts;
    const object = known ?? store.createObject(row.key, row.epoch);
    if (known === undefined) stream.cache.set(row.key.toString("latin1"), object);
    const position = store.position + 1;
    const isDelete = row.value === null;
    const batch = store.nextBatch;
    // It becomes visible now, so it belongs to what is known at the present cursor.
    const last = (yield* commits.lastCursor(stream.id, row.epoch)) ?? row.cursor;
    const cursor = stream.cursor ?? (last > row.cursor ? last : row.cursor);
    store.share(row.epoch, viaCodes.retry);
    if (object.isDeleted !== isDelete) stream.keys += isDelete ? -1 : 1;
    const version = row.version ?? sortableInteger(position);
    store.addVersion(object, batch, version, row.value, row.attributes, row.source_time);
    if (object.epoch !== row.epoch) {
      // What the source said in an earlier epoch does not compare with what is to come.
      object.epoch = row.epoch;
      object.seen = row.version ?? "";
    } else if (row.version !== null && row.version > object.seen) object.seen = row.version;
    store.addBatch({
      stream: stream.id,
      epoch: row.epoch,
      committedAt: now,
      kind: batchKinds.retry,
      cursor,
      firstPosition: position,
      count: 1,
      sourceTime: null,
    });
    yield* wait(store.flushAll(stream.id));
    commits.extend(cursor, position, batch);
    yield* commits.end(stream);
    stream.versions++;
    stream.lastCommitAt = now;
    return position;
  }
}

function whatSuperseded(stream: StreamState, object: CachedObject | undefined, row: QuarantineRow): string | undefined {
  if (stream.epoch !== undefined && stream.epoch.id !== row.epoch)
    return `superseded by epoch ${stream.epoch.identity}`;
  if (object === undefined) return row.value === null ? "the key does not exist" : undefined;
  if (row.value === null && object.isDeleted) return `superseded by position ${object.head}`;
  const isOld =
    row.version === null ? object.head > row.position : object.epoch === row.epoch && row.version <= object.seen;
  return isOld ? `superseded by position ${object.head}` : undefined;
}
