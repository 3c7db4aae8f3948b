import type Database from "better-sqlite3";
import type { ObjectState } from "./decide.ts";

/** An object on its way into the database. */
export interface CachedObject extends ObjectState {
  /** Bytes of its key as long as it has no row. */
  newKey: Buffer | undefined;
  isDirty: boolean;
}

const keysPerLookup = 64;

type LookupRow = [
  key: Buffer,
  id: number,
  head: number,
  isDeleted: number,
  seen: string | null,
  level: number,
  epoch: number,
  version: string,
];

const lookup = `SELECT o.key, o.id, o.head, o.is_deleted, o.seen, v.level, v.epoch, v.version
  FROM objects o JOIN versions v ON v.pos = o.head WHERE o.stream = :stream`;

/** Finds objects by their keys, 64 at a time. */
export class ObjectLookup {
  readonly #byKeys: Database.Statement<unknown[], LookupRow>;
  readonly #some: Database.Statement<unknown[], LookupRow>;

  constructor(db: Database.Database) {
    const places = Array.from({ length: keysPerLookup }, () => "?").join(", ");
    this.#byKeys = db.prepare<unknown[], LookupRow>(`${lookup} AND o.key IN (${places})`).raw();
    this.#some = db.prepare<unknown[], LookupRow>(`${lookup} LIMIT :limit`).raw();
  }

  find(stream: number, keys: readonly Buffer[], found: (key: string, object: CachedObject) => void): void {
    for (let from = 0; from < keys.length; from += keysPerLookup) {
      const some: (Buffer | null)[] = keys.slice(from, from + keysPerLookup);
      while (some.length < keysPerLookup) some.push(null);
      for (const row of this.#byKeys.all(some, { stream })) found(row[0].toString("latin1"), objectOf(row));
    }
  }

  /** All objects of a stream into a cache that then knows that it has them all, if there are no more than `limit`. */
  cacheOf(stream: number, limit: number, maxBytes: number): ObjectCache {
    const rows = this.#some.all({ stream, limit: limit + 1 });
    const isComplete = rows.length <= limit;
    const cache = new ObjectCache({ maxBytes, isComplete });
    if (isComplete) for (const row of rows) cache.set(row[0].toString("latin1"), objectOf(row));
    return cache;
  }
}

function objectOf([, id, head, isDeleted, seen, level, epoch, version]: LookupRow): CachedObject {
  return {
    id,
    head,
    level,
    epoch,
    version,
    seen: seen ?? version,
    isDeleted: isDeleted === 1,
    newKey: undefined,
    isDirty: false,
  };
}

/** What an object takes besides its key, measured. */
const bytesPerObject = 180;

/**
 * The objects of one stream that were touched last, by key (as Latin-1 text, so any bytes). Two generations: when the
 * young one is full, it becomes the old one and what was not touched since is forgotten.
 */
export class ObjectCache {
  readonly #maxYoungBytes: number;
  #youngBytes = 0;
  #young = new Map<string, CachedObject>();
  #old = new Map<string, CachedObject>();
  #isComplete: boolean;

  constructor(options: { readonly maxBytes: number; readonly isComplete: boolean }) {
    this.#maxYoungBytes = options.maxBytes / 2;
    this.#isComplete = options.isComplete;
  }

  /** Every object of the stream is here, so a key that is not found is new. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Whether it is time to {@link forget}. */
  get isCrowded(): boolean {
    return this.#youngBytes >= this.#maxYoungBytes;
  }

  get(key: string): CachedObject | undefined {
    const young = this.#young.get(key);
    // Most of the time there is only the young one, and a search costs the same in an empty map.
    if (young !== undefined || this.#old.size === 0) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, object: CachedObject): void {
    this.#young.set(key, object);
    this.#youngBytes += key.length + bytesPerObject;
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  /** Makes room: drops the older half. Nothing in it may be waiting to be written. */
  forget(): void {
    if (this.#old.size > 0) this.#isComplete = false;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  /** Drops everything. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#youngBytes = 0;
    this.#isComplete = false;
  }
}
