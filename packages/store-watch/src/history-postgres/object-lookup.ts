import { type CachedObject, ObjectCache } from "../history/object-cache.ts";
import { bytesArray } from "./array-literals.ts";
import type { PostgresClient } from "./driver.ts";

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

/** Finds objects by their keys, all of them with one question. */
export async function findObjects(
  client: PostgresClient,
  stream: number,
  keys: readonly Buffer[],
  found: (key: string, object: CachedObject) => void,
): Promise<void> {
  const { rows } = await client.query<LookupRow>({
    name: "tidemark_find",
    text: `SELECT ${columns} FROM unnest($2::bytea[]) AS wanted (key)
      JOIN objects o ON o.stream = $1 AND substr(o.key, 1, 1000) = substr(wanted.key, 1, 1000) AND o.key = wanted.key
      JOIN versions v ON v.pos = o.head`,
    values: [stream, bytesArray(keys)],
  });
  for (const row of rows) found(row.key.toString("latin1"), objectOf(row));
}

/** All objects of a stream into a cache that then knows that it has them all, if there are no more than `limit`. */
export async function cacheOf(
  client: PostgresClient,
  stream: number,
  limit: number,
  maxBytes: number,
): Promise<ObjectCache> {
  const { rows } = await client.query<LookupRow>({
    text: `SELECT ${columns} FROM objects o JOIN versions v ON v.pos = o.head WHERE o.stream = $1 LIMIT $2`,
    values: [stream, limit + 1],
  });
  const isComplete = rows.length <= limit;
  const cache = new ObjectCache({ maxBytes, isComplete });
  if (isComplete) for (const row of rows) cache.set(row.key.toString("latin1"), objectOf(row));
  return cache;
}

export interface LiveObject {
  readonly key: Buffer;
  readonly object: CachedObject;
}

/** The live objects with ids in (after, before), in the order of their ids. */
export async function liveObjects(
  client: PostgresClient,
  range: { readonly stream: number; readonly after: number; readonly before: number; readonly limit: number },
): Promise<LiveObject[]> {
  const { rows } = await client.query<LookupRow>({
    name: "tidemark_live",
    text: `SELECT ${columns} FROM objects o JOIN versions v ON v.pos = o.head
      WHERE o.id > $1 AND o.id < $2 AND o.stream = $3 AND NOT o.is_deleted ORDER BY o.id LIMIT $4`,
    values: [range.after, range.before, range.stream, range.limit],
  });
  return rows.map((row) => ({ key: row.key, object: objectOf(row) }));
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
