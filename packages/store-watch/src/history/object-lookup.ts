import type Database from "better-sqlite3";
import { type CachedObject, ObjectCache } from "./object-cache.ts";
import type { FoundObject, ObjectRows } from "./object-rows.ts";

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
  FROM objects o JOIN versions v ON v.pos = o.head `;

/** Finds objects by their keys, 64 at a time. */
export class ObjectLookup implements ObjectRows {
  readonly #byKeys: Database.Statement<unknown[], LookupRow>;
  readonly #some: Database.Statement<unknown[], LookupRow>;
  readonly #liveIds: Database.Statement<[number, number, number, number], number>;
  readonly #byId: Database.Statement<[number], LookupRow>;

  constructor(db: Database.Database) {
    const places = Array.from({ length: keysPerLookup }, () => "?").join(", ");
    this.#byKeys = db
      .prepare<unknown[], LookupRow>(`${lookup} WHERE o.stream = :stream AND o.key IN (${places})`)
      .raw();
    this.#some = db.prepare<unknown[], LookupRow>(`${lookup} WHERE o.stream = :stream LIMIT :limit`).raw();
    this.#liveIds = db
      .prepare<[number, number, number, number], number>(
        "SELECT id FROM objects WHERE id > ? AND id < ? AND stream = ? AND is_deleted = 0 ORDER BY id LIMIT ?",
      )
      .pluck();
    this.#byId = db.prepare<[number], LookupRow>(`${lookup} WHERE o.id = ?`).raw();
  }

  find(stream: number, keys: readonly Buffer[], found: (key: string, object: CachedObject) => void): void {
    for (let from = 0; from < keys.length; from += keysPerLookup) {
      const some: (Buffer | null)[] = keys.slice(from, from + keysPerLookup);
      while (some.length < keysPerLookup) some.push(null);
      for (const row of this.#byKeys.all(some, { stream })) found(row[0].toString("latin1"), objectOf(row));
    }
  }

  liveIds({ stream, after, before, limit }: Parameters<ObjectRows["liveIds"]>[0]): number[] {
    return this.#liveIds.all(after, before, stream, limit);
  }

  byIds(ids: readonly number[]): FoundObject[] {
    return ids.map((id) => {
      const row = this.#byId.get(id) as LookupRow;
      return { key: row[0], object: objectOf(row) };
    });
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
