import { classifyPostgresError } from "./postgres-errors.ts";
import type { PostgresClient } from "./driver.ts";
import type { GroupContext } from "./group-applier.ts";
import type { PostgresStreamState } from "./stream-rows.ts";
import type { QuarantinedChange } from "../history/quarantine-table.ts";

/**
 * Closes what a later deletion made void. Without this, a retry would bring back a key that never had a version here
 * and so has no tombstone either.
 */
export async function supersede(
  client: PostgresClient,
  stream: PostgresStreamState,
  isVoid: (key: Buffer) => boolean | Promise<boolean>,
  resolution: string,
): Promise<void> {
  if (stream.quarantined === 0) return;
  const { rows } = await client.query<{ readonly id: number; readonly key: Buffer }>({
    text: "SELECT id, key FROM quarantine WHERE stream = $1 AND state = 'open' ORDER BY id",
    values: [stream.id],
  });
  for (const { id, key } of rows) {
    if (!(await isVoid(key))) continue;
    await client.query({
      text: "UPDATE quarantine SET state = 'skipped', resolution = $1 WHERE id = $2",
      values: [resolution, id],
    });
    stream.quarantined--;
  }
}

/** Puts a change aside, in the transaction that moves the cursor past it. `position` is the last one before it. */
export async function quarantine(
  client: PostgresClient,
  context: GroupContext,
  position: number,
  change: QuarantinedChange,
): Promise<void> {
  const { stream, epoch, cursor, stats } = context;
  const { key, value } = change;
  // PostgreSQL's text has no 0x00. What was refused for that reason must not be refused here again.
  const [version, attributes] = [withoutNul(change.version), withoutNul(change.attributes)];
  const known = await client.query({
    text: `SELECT 1 FROM quarantine WHERE stream = $1 AND substr(key, 1, 1000) = substr($2::bytea, 1, 1000) AND key = $2
      AND epoch = $3 AND version IS NOT DISTINCT FROM $4
      AND (version IS NOT NULL OR (cursor = $5 AND value IS NOT DISTINCT FROM $6)) LIMIT 1`,
    values: [stream.id, key, epoch, version, cursor, value],
  });
  if (known.rows.length > 0) {
    stats.duplicates++;
    return;
  }
  const insert = (kept: Buffer | null, error: string) =>
    client.query({
      text: `INSERT INTO quarantine
          (id, stream, key, value, version, attributes, source_time, epoch, cursor, position, error, at)
        VALUES ((SELECT coalesce(max(id), 0) + 1 FROM quarantine), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      values: [
        stream.id,
        key,
        kept,
        version,
        attributes,
        change.sourceTime,
        epoch,
        cursor,
        position,
        withoutNul(error),
        context.now,
      ],
    });
  await client.query("SAVEPOINT quarantine");
  try {
    await insert(value, change.error);
  } catch (error) {
    // Too big even here: that it existed must not get lost.
    if (classifyPostgresError(error) !== "data" || value === null) throw error;
    await client.query("ROLLBACK TO quarantine");
    await insert(null, `${change.error}; its value of ${value.length} bytes could not be kept`);
  }
  await client.query("RELEASE quarantine");
  stream.quarantined++;
  stats.quarantined++;
}

function withoutNul(text: string | null): string | null {
  return text === null ? null : text.replaceAll("\0", "\u2400");
}
