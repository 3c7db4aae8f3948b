import { systemClock } from "@tidemark/clock";
import { type Check, checksOf } from "../history/fsck-checks.ts";
import type { FsckFinding, FsckReport } from "../history-types.ts";
import type { PostgresClient } from "./driver.ts";
import { messageOf } from "./postgres-errors.ts";

/** Findings shown per check; a broken database breaks a rule many times. */
const maxPerCheck = 20;

/** V1 to V9, and the references that PostgreSQL is not told of. */
const checks: readonly Check[] = [
  ...checksOf({
    isDeleted: "o.is_deleted",
    isResumable: "(s.capabilities::json ->> 'resumable')::boolean",
    hex: (column) => `encode(${column}, 'hex')`,
  }),
  ...(
    [
      ["epochs", "stream", "streams"],
      ["objects", "stream", "streams"],
      ["versions", "epoch", "epochs"],
      ["versions", "origin", "origins"],
      ["batches", "stream", "streams"],
      ["commits", "stream", "streams"],
      ["commits", "epoch", "epochs"],
      ["gaps", "stream", "streams"],
      ["quarantine", "stream", "streams"],
      ["quarantine", "epoch", "epochs"],
      ["streams", "epoch", "epochs"],
      ["conflicts", "object", "objects"],
      ["links", "object", "objects"],
      ["links", "origin", "origins"],
      ["generations", "origin", "origins"],
      ["generations", "stream", "streams"],
      ["inbox", "stream", "streams"],
      ["mirrored", "source", "streams"],
      ["mirrors", "object", "objects"],
      ["intents", "object", "objects"],
      ["dirty", "object", "objects"],
      ["announcements", "origin", "origins"],
      ["horizons", "origin", "origins"],
    ] as const
  ).map(
    ([table, column, parent]): Check => ({
      invariant: "POSTGRES",
      query: `SELECT 'a row of ${table} points at ${column} ' || t.${column} || ', which is missing'
        FROM ${table} t LEFT JOIN ${parent} p ON p.id = t.${column} WHERE t.${column} IS NOT NULL AND p.id IS NULL`,
    }),
  ),
];

/** Proves V1 to V9 over a whole database, on one snapshot of it. Runs within a transaction. */
export async function checkPostgres(client: PostgresClient, signal: AbortSignal | undefined): Promise<FsckReport> {
  const startedMs = systemClock.monotonic();
  const findings: FsckFinding[] = [];
  for (const { invariant, query } of checks) {
    signal?.throwIfAborted();
    await client.query("SAVEPOINT fsck");
    try {
      const text = `SELECT message FROM (${query}) AS broken (message) LIMIT ${maxPerCheck}`;
      const { rows } = await client.query<{ readonly message: string | null }>(text);
      for (const { message } of rows) findings.push({ invariant, message: message ?? "a row is broken" });
    } catch (error) {
      // Damaged pages fail in the middle of any query: that is a finding too.
      await client.query("ROLLBACK TO fsck");
      findings.push({ invariant: "POSTGRES", message: messageOf(error) });
    }
  }
  const { rows } = await client.query<{ readonly versions: number; readonly keys: number }>(
    `SELECT (SELECT count(*) FROM versions) AS versions, (SELECT count(*) FROM objects WHERE NOT is_deleted) AS keys`,
  );
  return {
    isClean: findings.length === 0,
    findings,
    versions: rows[0]?.versions ?? 0,
    keys: rows[0]?.keys ?? 0,
    durationMs: systemClock.monotonic() - startedMs,
  };
}
