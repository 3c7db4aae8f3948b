import type Database from "better-sqlite3";
import { sortableInteger } from "../cursor.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./appender.ts";
import type { CommitTable } from "./commit-table.ts";
import { viaCodes } from "./ddl.ts";
import { type CachedObject, ObjectLookup } from "./object-cache.ts";
import { classifySqliteError, commitFailed } from "./sqlite-errors.ts";
import type { StreamState } from "./stream-state.ts";
import type { StreamTable } from "./stream-table.ts";
import type { Transactions } from "./transactions.ts";
import type { VersionStore } from "./version-store.ts";

interface QuarantineRow {
  readonly id: number;
  readonly stream: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string | null;
  readonly attributes: string | null;
  readonly source_time: number | null;
  readonly epoch: number;
  readonly cursor: string;
  readonly position: number;
  readonly state: "open" | "retried" | "skipped";
}

/** What a person decides about a change in quarantine. The decision is part of the record. */
export class QuarantineResolver {
  readonly #store: VersionStore;
  readonly #streams: StreamTable;
  readonly #commits: CommitTable;
  readonly #transactions: Transactions;
  readonly #stateOf: (id: number) => StreamState;
  readonly #lookup: ObjectLookup;
  readonly #select: Database.Statement<[number], QuarantineRow>;
  readonly #resolve: Database.Statement;
  readonly #blame: Database.Statement;
  readonly #lastCursor: Database.Statement<unknown[], string | null>;

  constructor(
    db: Database.Database,
    parts: {
      readonly store: VersionStore;
      readonly streams: StreamTable;
      readonly commits: CommitTable;
      readonly transactions: Transactions;
      readonly stateOf: (id: number) => StreamState;
    },
  ) {
    this.#store = parts.store;
    this.#streams = parts.streams;
    this.#commits = parts.commits;
    this.#transactions = parts.transactions;
    this.#stateOf = parts.stateOf;
    this.#lookup = new ObjectLookup(db);
    this.#select = db.prepare("SELECT * FROM quarantine WHERE id = ?");
    this.#resolve = db.prepare("UPDATE quarantine SET state = ?, resolution = ? WHERE id = ?");
    this.#blame = db.prepare("UPDATE quarantine SET error = ? WHERE id = ?");
    this.#lastCursor = db
      .prepare<unknown[], string | null>("SELECT max(cursor) FROM commits WHERE stream = ? AND epoch = ?")
      .pluck();
  }

  /**
   * Applies the change now, unless something newer has come for its key: then that is the resolution.
   *
   * @throws {StoreWatchError} `NOT_FOUND`; `COMMIT_FAILED` when it fails again, and the record shows the new error.
   */
  retry(id: number, nowMs: number): void {
    const row = this.#openRow(id);
    const stream = this.#stateOf(row.stream);
    try {
      this.#transactions.run(stream, () => {
        const now = this.#commits.begin(nowMs);
        const object = this.#find(stream, row.key);
        const newer = whatSuperseded(stream, object, row);
        const resolution = newer ?? String(this.#apply(stream, object, row, now));
        this.#resolve.run("retried", resolution, id);
        stream.quarantined--;
        this.#streams.save(stream);
      });
    } catch (error) {
      if (classifySqliteError(error) === "data") {
        const message = error instanceof Error ? error.message : String(error);
        this.#transactions.run(undefined, () => this.#blame.run(message, id));
      }
      throw commitFailed(error);
    }
  }

  /** @throws {StoreWatchError} `NOT_FOUND` */
  skip(id: number, reason: string): void {
    const row = this.#openRow(id);
    const stream = this.#stateOf(row.stream);
    this.#transactions.run(stream, () => {
      this.#resolve.run("skipped", reason, id);
      stream.quarantined--;
      this.#streams.save(stream);
    });
  }

  #openRow(id: number): QuarantineRow {
    const row = this.#select.get(id);
    if (row?.state === "open") return row;
    const what = row === undefined ? "there is none" : `it was ${row.state}`;
    throw new StoreWatchError("NOT_FOUND", `expected an open change ${id} in quarantine, but ${what}`);
  }

  #find(stream: StreamState, key: Buffer): CachedObject | undefined {
    const name = key.toString("latin1");
    if (stream.cache.get(name) === undefined) {
      this.#lookup.find(stream.id, [key], (found, object) => stream.cache.set(found, object));
    }
    return stream.cache.get(name);
  }

  #apply(stream: StreamState, known: CachedObject | undefined, row: QuarantineRow, now: number): number {
    const store = this.#store;
    const object = known ?? store.createObject(row.key, row.epoch);
    if (known === undefined) stream.cache.set(row.key.toString("latin1"), object);
    const position = store.position + 1;
    const isDelete = row.value === null;
    const batch = store.nextBatch;
    // It becomes visible now, so it belongs to what is known at the present cursor.
    const last = this.#lastCursor.get(stream.id, row.epoch) ?? row.cursor;
    const cursor = stream.cursor ?? (last > row.cursor ? last : row.cursor);
    store.share(row.epoch, viaCodes.retry);
    if (object.isDeleted !== isDelete) stream.keys += isDelete ? -1 : 1;
    store.addVersion(
      object,
      batch,
      row.version ?? sortableInteger(position),
      row.value,
      row.attributes,
      row.source_time,
    );
    if (row.version !== null && row.version > object.seen) object.seen = row.version;
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
    store.flushAll(stream.id);
    this.#commits.extend(cursor, position, batch);
    this.#commits.end(stream);
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
