import { sortableInteger } from "../cursor.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "../history/appender.ts";
import { viaCodes } from "../history/ddl.ts";
import type { CachedObject } from "../history/object-cache.ts";
import type { PostgresClient } from "./driver.ts";
import { findObjects } from "./object-lookup.ts";
import { classifyPostgresError, commitFailed, messageOf } from "./postgres-errors.ts";
import { type PostgresStreamState, saveStream } from "./stream-rows.ts";
import type { PostgresWriter } from "./writer.ts";

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

/**
 * Applies a change in quarantine now, unless something newer has come for its key: then that is the resolution.
 *
 * @throws {StoreWatchError} `NOT_FOUND`; `COMMIT_FAILED` when it fails again, and the record shows the new error.
 */
export async function retryQuarantined(writer: PostgresWriter, id: number, nowMs: number): Promise<void> {
  try {
    await writer.transactions.run(async (client) => {
      const row = await openRow(client, id);
      const stream = await writer.stateOf(client, row.stream);
      const now = writer.commits.begin(nowMs);
      const object = await find(client, stream, row.key);
      const newer = whatSuperseded(stream, object, row);
      const resolution = newer ?? String(await apply(client, writer, stream, object, row, now));
      await resolve(client, id, "retried", resolution);
      stream.quarantined--;
      await saveStream(client, stream);
    });
  } catch (error) {
    if (classifyPostgresError(error) === "data") {
      const blame = { text: "UPDATE quarantine SET error = $1 WHERE id = $2", values: [messageOf(error), id] };
      await writer.transactions.run((client) => client.query(blame));
    }
    throw commitFailed(error);
  }
}

/** @throws {StoreWatchError} `NOT_FOUND` */
export async function skipQuarantined(writer: PostgresWriter, id: number, reason: string): Promise<void> {
  await writer.transactions.run(async (client) => {
    const row = await openRow(client, id);
    const stream = await writer.stateOf(client, row.stream);
    await resolve(client, id, "skipped", reason);
    stream.quarantined--;
    await saveStream(client, stream);
  });
}

async function openRow(client: PostgresClient, id: number): Promise<QuarantineRow> {
  const { rows } = await client.query<QuarantineRow>({ text: "SELECT * FROM quarantine WHERE id = $1", values: [id] });
  const row = rows[0];
  if (row?.state === "open") return row;
  const what = row === undefined ? "there is none" : `it was ${row.state}`;
  throw new StoreWatchError("NOT_FOUND", `expected an open change ${id} in quarantine, but ${what}`);
}

function resolve(client: PostgresClient, id: number, state: string, resolution: string) {
  const text = "UPDATE quarantine SET state = $1, resolution = $2 WHERE id = $3";
  return client.query({ text, values: [state, resolution, id] });
}

async function find(
  client: PostgresClient,
  stream: PostgresStreamState,
  key: Buffer,
): Promise<CachedObject | undefined> {
  const name = key.toString("latin1");
  if (stream.cache.get(name) === undefined) {
    await findObjects(client, stream.id, [key], (found, object) => stream.cache.set(found, object));
  }
  return stream.cache.get(name);
}

async function apply(
  client: PostgresClient,
  writer: PostgresWriter,
  stream: PostgresStreamState,
  known: CachedObject | undefined,
  row: QuarantineRow,
  now: number,
): Promise<number> {
  const { rows, commits } = writer;
  const object = known ?? rows.createObject(row.key, row.epoch);
  if (known === undefined) stream.cache.set(row.key.toString("latin1"), object);
  const position = rows.position + 1;
  const isDelete = row.value === null;
  const batch = rows.nextBatch;
  // It becomes visible now, so it belongs to what is known at the present cursor.
  const newest = await client.query<{ readonly cursor: string | null }>({
    text: "SELECT max(cursor) AS cursor FROM commits WHERE stream = $1 AND epoch = $2",
    values: [stream.id, row.epoch],
  });
  const last = newest.rows[0]?.cursor ?? row.cursor;
  const cursor = stream.cursor ?? (last > row.cursor ? last : row.cursor);
  rows.share(row.epoch, viaCodes.retry);
  if (object.isDeleted !== isDelete) stream.keys += isDelete ? -1 : 1;
  const version = row.version ?? sortableInteger(position);
  rows.addVersion(object, batch, version, row.value, row.attributes, row.source_time);
  if (row.version !== null && row.version > object.seen) object.seen = row.version;
  rows.addBatch({
    stream: stream.id,
    epoch: row.epoch,
    committedAt: now,
    kind: batchKinds.retry,
    cursor,
    firstPosition: position,
    count: 1,
    sourceTime: null,
  });
  await rows.flushAll(client, stream.id);
  commits.extend(cursor, position, batch);
  await commits.end(client, stream);
  stream.versions++;
  stream.lastCommitAt = now;
  return position;
}

function whatSuperseded(
  stream: PostgresStreamState,
  object: CachedObject | undefined,
  row: QuarantineRow,
): string | undefined {
  if (stream.epoch !== undefined && stream.epoch.id !== row.epoch) {
    return `superseded by epoch ${stream.epoch.identity}`;
  }
  if (object === undefined) return row.value === null ? "the key does not exist" : undefined;
  if (row.value === null && object.isDeleted) return `superseded by position ${object.head}`;
  const isOld =
    row.version === null ? object.head > row.position : object.epoch === row.epoch && row.version <= object.seen;
  return isOld ? `superseded by position ${object.head}` : undefined;
}
