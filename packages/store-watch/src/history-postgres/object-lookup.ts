import { type CachedObject, ObjectCache } from "../history/object-cache.ts";
import type { FoundObject, ObjectRows } from "../history/object-rows.ts";
import { bytesArray, numberArray } from "./array-literals.ts";
import { all, type PostgresSession } from "./session.ts";

interface LookupRow {
  readonly key: Buffer;
  readonly id: number;
  readonly head: number;
  readonly is_deleted: boolean;
  readonly seen: string | null;
  readonly level: number;
  readonly epoch: number;
  readonly version: string;
}

const columns = "o.key, o.id, o.head, o.is_deleted, o.seen, v.level, v.epoch, v.version";

/** The questions about objects on PostgreSQL, each about many. */
export class PostgresObjectRows implements ObjectRows {
  readonly #session: PostgresSession;

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  async find(
    stream: number,
    keys: readonly Buffer[],
    found: (key: string, object: CachedObject) => void,
  ): Promise<void> {
    const text = `SELECT ${columns} FROM unnest($2::bytea[]) AS wanted (key)
      JOIN objects o ON o.stream = $1 AND substr(o.key, 1, 1000) = substr(wanted.key, 1, 1000) AND o.key = wanted.key
      JOIN versions v ON v.pos = o.head`;
    const rows = await all<LookupRow>(this.#session, text, [stream, bytesArray(keys)], "find");
    for (const row of rows) found(row.key.toString("latin1"), objectOf(row));
  }

  async liveIds({ stream, after, before, limit }: Parameters<ObjectRows["liveIds"]>[0]): Promise<number[]> {
    const text = `SELECT id FROM objects WHERE id > $1 AND id < $2 AND stream = $3 AND NOT is_deleted ORDER BY id LIMIT $4`;
    const rows = await all<{ readonly id: number }>(this.#session, text, [after, before, stream, limit], "live_ids");
    return rows.map(({ id }) => id);
  }

  async byIds(ids: readonly number[]): Promise<FoundObject[]> {
    const text = `SELECT ${columns} FROM objects o JOIN versions v ON v.pos = o.head
      WHERE o.id = ANY ($1::bigint[]) ORDER BY o.id`;
    const rows = await all<LookupRow>(this.#session, text, [numberArray(ids)], "objects_by_id");
    return rows.map((row) => ({ key: row.key, object: objectOf(row) }));
  }

  /** All objects of a stream into a cache that then knows that it has them all, if there are no more than `limit`. */
  async cacheOf(stream: number, limit: number, maxBytes: number): Promise<ObjectCache> {
    const text = `SELECT ${columns} FROM objects o JOIN versions v ON v.pos = o.head WHERE o.stream = $1 LIMIT $2`;
    const rows = await all<LookupRow>(this.#session, text, [stream, limit + 1]);
    const isComplete = rows.length <= limit;
    const cache = new ObjectCache({ maxBytes, isComplete });
    if (isComplete) for (const row of rows) cache.set(row.key.toString("latin1"), objectOf(row));
    return cache;
  }
}

function objectOf(row: LookupRow): CachedObject {
  return {
    id: row.id,
    head: row.head,
    level: row.level,
    epoch: row.epoch,
    version: row.version,
    seen: row.seen ?? row.version,
    isDeleted: row.is_deleted,
    newKey: undefined,
    isDirty: false,
  };
}
