import type { Clock } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import type { AsOfInput } from "../history/methods.ts";
import type { PostgresClient } from "./driver.ts";
import { Moments } from "./moments.ts";
import type { PostgresWriter } from "./writer.ts";

/** Positions, or batches, looked at in one transaction, so that commits get in between. */
const atOnce = 5000;

/** @throws {StoreWatchError} `TOO_OLD` below a floor, `NOT_REACHED` beyond the end. */
export async function setConsumer(
  writer: PostgresWriter,
  name: string,
  position: number | undefined,
  nowMs: number,
): Promise<void> {
  await writer.transactions.run(async (client) => {
    if (position === undefined) {
      await client.query({ text: "DELETE FROM consumers WHERE name = $1", values: [name] });
      return;
    }
    const moments = new Moments(client);
    const floor = await moments.floor(undefined);
    if (position < floor) {
      throw new StoreWatchError(
        "TOO_OLD",
        `a consumer at position ${position} needs versions that were pruned; the floor is ${floor}`,
      );
    }
    await moments.find({ position }, undefined);
    await client.query({
      text: `INSERT INTO consumers (name, position, updated_at) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`,
      values: [name, position, Math.floor(nowMs)],
    });
  });
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * Removes superseded versions, never what a consumer still needs (V9). The floor is raised in a transaction of its own,
 * before anything is removed: whoever reads below it is told so.
 *
 * @throws {StoreWatchError} `NOT_FOUND`, `NOT_REACHED`, `OPTIONS_INVALID`
 */
export async function prune(
  writer: PostgresWriter,
  before: AsOfInput,
  streamName: string | undefined,
  clock: Clock,
): Promise<{ readonly removed: number; readonly floor: number }> {
  const { transactions } = writer;
  const { floor, stream } = await transactions.run((client) => raiseFloor(client, writer, before, streamName));
  const inPieces = async (range: IdRange, piece: (client: PostgresClient, range: Range) => Promise<unknown>) => {
    if (range.first === null || range.last === null) return;
    for (let from = range.first - 1; from < range.last; from += atOnce) {
      const part = { from, to: Math.min(from + atOnce, range.last) };
      await transactions.run((client) => piece(client, part));
      // Commits of the streams get their turn.
      await new Promise<void>((resolve) => clock.setImmediate(resolve));
    }
  };
  const rangeOf = (text: string) =>
    transactions.run(async (client) => (await client.query<IdRange>({ text, values: [floor] })).rows[0] as IdRange);

  let removed = 0;
  await inPieces(
    await rangeOf("SELECT min(pos) AS first, $1::bigint AS last FROM versions WHERE pos <= $1"),
    async (client, range) => {
      removed += await removeVersions(client, writer, range, floor, stream);
    },
  );
  await inPieces(
    await rangeOf(
      `SELECT min(id) AS first, (SELECT batch FROM versions WHERE pos <= $1 ORDER BY pos DESC LIMIT 1) AS last
        FROM batches`,
    ),
    (client, { from, to }) =>
      // One that the floor's state comes from has a version left.
      client.query({
        name: "tidemark_prune_batches",
        text: `DELETE FROM batches b WHERE b.id > $1 AND b.id <= $2 AND b.first_pos + b.count - 1 <= $3
          AND ($4::bigint IS NULL OR b.stream = $4)
          AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count)`,
        values: [from, to, floor, stream],
      }),
  );
  // Each stream's newest at or below the floor says which cursor and time its state there has.
  const kept = await transactions.run(async (client) => {
    const text = "SELECT max(id) AS id FROM commits WHERE position <= $1 GROUP BY stream";
    return (await client.query<{ readonly id: number }>({ text, values: [floor] })).rows.map(({ id }) => id);
  });
  await inPieces(
    await rangeOf("SELECT min(id) AS first, max(id) AS last FROM commits WHERE position <= $1"),
    (client, { from, to }) =>
      client.query({
        name: "tidemark_prune_commits",
        text: `DELETE FROM commits WHERE id > $1 AND id <= $2 AND ($3::bigint IS NULL OR stream = $3)
          AND NOT id = ANY ($4::bigint[])`,
        values: [from, to, stream, kept],
      }),
  );
  return { removed, floor };
}

async function raiseFloor(
  client: PostgresClient,
  writer: PostgresWriter,
  before: AsOfInput,
  streamName: string | undefined,
): Promise<{ readonly floor: number; readonly stream: number | null }> {
  const moments = new Moments(client);
  const facts = streamName === undefined ? undefined : await moments.stream(streamName);
  const wanted = (await moments.find(before, facts)) ?? writer.rows.position;
  const consumers = await client.query<{ readonly position: number | null }>(
    "SELECT min(position) AS position FROM consumers",
  );
  const floor = Math.min(wanted, consumers.rows[0]?.position ?? wanted);
  await client.query({
    text: "UPDATE streams SET floor = greatest(floor, $1) WHERE $2::bigint IS NULL OR id = $2",
    values: [floor, facts?.id ?? null],
  });
  return { floor, stream: facts?.id ?? null };
}

async function removeVersions(
  client: PostgresClient,
  writer: PostgresWriter,
  { from, to }: Range,
  floor: number,
  stream: number | null,
): Promise<number> {
  // Superseded at the floor: something newer of the same object is at or below it.
  const { rows } = await client.query<{ readonly stream: number; readonly removed: number }>({
    name: "tidemark_prune_versions",
    text: `WITH gone AS (
        DELETE FROM versions v USING objects o WHERE o.id = v.object AND v.pos > $1 AND v.pos <= $2
          AND ($4::bigint IS NULL OR o.stream = $4)
          AND v.pos < (SELECT max(w.pos) FROM versions w WHERE w.object = v.object AND w.pos <= $3)
        RETURNING o.stream
      ), counted AS (SELECT stream, count(*) AS removed FROM gone GROUP BY stream)
      UPDATE streams s SET versions = s.versions - counted.removed FROM counted WHERE s.id = counted.stream
      RETURNING s.id AS stream, counted.removed`,
    values: [from, to, floor, stream],
  });
  let total = 0;
  for (const each of rows) {
    writer.subtract(each.stream, each.removed);
    total += each.removed;
  }
  return total;
}

interface IdRange {
  readonly first: number | null;
  readonly last: number | null;
}
