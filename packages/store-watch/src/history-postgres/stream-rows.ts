import type { Cursor, GapReason, SourceCapabilities } from "../contract.ts";
import type { StoreWatchError } from "../errors.ts";
import type { OpenGroup } from "../history/groups.ts";
import type { ObjectCache } from "../history/object-cache.ts";
import type { AppendStats, StreamState } from "../history/stream-state.ts";
import type { OpenStreamOptions } from "../history-types.ts";
import type { PostgresClient } from "./driver.ts";

/** One open stream as its writer knows it. What has a column in `streams` is reloaded after a rollback. */
export type PostgresStreamState = Omit<StreamState, "stage" | "spare" | "cache"> & {
  cache: ObjectCache;
  open: OpenGroup | undefined;
  /** Pieces of the open group that are in `stage`. */
  staged: number;
  /** Why nobody may go on before the stream is opened again, although nobody has opened it. */
  isVoid: StoreWatchError | undefined;
};

type StreamColumns = Pick<
  PostgresStreamState,
  "name" | "capabilities" | "epoch" | "cursor" | "keys" | "versions" | "gaps" | "quarantined" | "lastCommitAt"
>;

export interface StreamRow {
  readonly id: number;
  readonly name: string;
  readonly capabilities: string;
  readonly kind: string;
  readonly scope: string;
  readonly epoch: number | null;
  readonly identity: string | null;
  readonly cursor: string | null;
  readonly keys: number;
  readonly versions: number;
  readonly gaps: number;
  readonly quarantined: number;
  readonly last_commit_at: number | null;
}

const select = `SELECT s.id, s.name, s.capabilities, s.kind, s.scope, s.epoch, e.identity, s.cursor, s.keys, s.versions,
  s.gaps, s.quarantined, s.last_commit_at FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`;

/** Finds or makes the row, and tells whether what it is about has changed. */
export async function openStreamRow(
  client: PostgresClient,
  options: OpenStreamOptions,
): Promise<{ readonly id: number; readonly previous: StreamRow | undefined }> {
  const { name, kind, description, scope } = options;
  const capabilities = JSON.stringify(options.capabilities);
  const { rows } = await client.query<StreamRow>({ text: `${select} WHERE s.name = $1`, values: [name] });
  const previous = rows[0];
  if (previous !== undefined) {
    await client.query({
      text: "UPDATE streams SET kind = $1, description = $2, scope = $3, capabilities = $4 WHERE id = $5",
      values: [kind, description, scope, capabilities, previous.id],
    });
    return { id: previous.id, previous };
  }
  const inserted = await client.query<{ readonly id: number }>({
    text: `INSERT INTO streams (id, name, kind, description, scope, capabilities)
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM streams), $1, $2, $3, $4, $5) RETURNING id`,
    values: [name, kind, description, scope, capabilities],
  });
  return { id: (inserted.rows[0] as { id: number }).id, previous: undefined };
}

export async function loadStream(client: PostgresClient, id: number): Promise<StreamColumns> {
  const { rows } = await client.query<StreamRow>({ text: `${select} WHERE s.id = $1`, values: [id] });
  const row = rows[0] as StreamRow;
  return {
    name: row.name,
    capabilities: JSON.parse(row.capabilities) as SourceCapabilities,
    epoch: row.epoch === null ? undefined : { id: row.epoch, identity: row.identity as string },
    cursor: row.cursor ?? undefined,
    keys: row.keys,
    versions: row.versions,
    gaps: row.gaps,
    quarantined: row.quarantined,
    lastCommitAt: row.last_commit_at ?? undefined,
  };
}

export async function saveStream(client: PostgresClient, stream: PostgresStreamState): Promise<void> {
  await client.query({
    name: "tidemark_save_stream",
    text: `UPDATE streams SET epoch = $1, cursor = $2, keys = $3, versions = $4, gaps = $5, quarantined = $6,
      last_commit_at = $7 WHERE id = $8`,
    values: [
      stream.epoch?.id ?? null,
      stream.cursor ?? null,
      stream.keys,
      stream.versions,
      stream.gaps,
      stream.quarantined,
      stream.lastCommitAt ?? null,
      stream.id,
    ],
  });
}

/**
 * Goes over to another epoch: cursors from before mean nothing in it. If nothing said so before, a gap does now, because
 * what happened in between is unknown.
 */
export async function enterEpoch(
  client: PostgresClient,
  stream: PostgresStreamState,
  identity: string,
  position: number,
  now: number,
  stats: AppendStats,
): Promise<void> {
  const { epoch } = stream;
  if (epoch?.identity === identity) return;
  // Without a cursor the loss is on record since that was given up.
  if (epoch !== undefined && !stream.isAfterGap && stream.cursor !== undefined) {
    const detail = `the source's history is now ${identity}, it was ${epoch.identity}`;
    const gap = { reason: "epoch-changed", detail, from: stream.cursor, to: undefined } as const;
    stream.ownGap = await addGap(client, stream, gap, position, now, stats);
  }
  const { rows } = await client.query<{ readonly id: number }>({
    text: `INSERT INTO epochs (id, stream, identity, began_at, reason)
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM epochs), $1, $2, $3, $4) RETURNING id`,
    values: [stream.id, identity, now, epoch === undefined ? "first" : "changed"],
  });
  stream.epoch = { id: (rows[0] as { id: number }).id, identity };
  stream.cursor = undefined;
}

/** Records that changes were lost; the same gap is recorded once. Returns the row's id, undefined if it was known. */
export async function addGap(
  client: PostgresClient,
  stream: PostgresStreamState,
  gap: {
    readonly reason: GapReason;
    readonly detail: string;
    readonly from: Cursor | undefined;
    readonly to: Cursor | undefined;
  },
  position: number,
  now: number,
  stats: AppendStats,
): Promise<number | undefined> {
  const { reason, detail, from, to } = gap;
  stream.isAfterGap = true;
  if (reason === "epoch-changed" && stream.ownGap !== undefined) {
    await client.query({
      text: "UPDATE gaps SET detail = $1, from_cursor = coalesce($2, from_cursor), to_cursor = $3 WHERE id = $4",
      values: [detail, from ?? null, to ?? null, stream.ownGap],
    });
    stream.ownGap = undefined;
    return undefined;
  }
  const start = from ?? stream.cursor ?? null;
  const isExact = from !== undefined && to !== undefined;
  const epoch = stream.epoch?.id ?? null;
  const known = await client.query({
    text: `SELECT 1 FROM gaps WHERE stream = $1 AND epoch IS NOT DISTINCT FROM $2 AND reason = $3
      AND from_cursor IS NOT DISTINCT FROM $4 AND to_cursor IS NOT DISTINCT FROM $5 AND ($6::boolean OR position = $7) LIMIT 1`,
    values: [stream.id, epoch, reason, start, to ?? null, isExact, position],
  });
  if (known.rows.length > 0) return undefined;
  const { rows } = await client.query<{ readonly id: number }>({
    text: `INSERT INTO gaps (id, stream, epoch, reason, detail, from_cursor, to_cursor, position, at)
      VALUES ((SELECT coalesce(max(id), 0) + 1 FROM gaps), $1, $2, $3, $4, $5, $6, $7, $8) RETURNING id`,
    values: [stream.id, epoch, reason, detail, start, to ?? null, position, now],
  });
  stream.gaps++;
  stats.gaps++;
  return (rows[0] as { id: number }).id;
}
