import { systemClock } from "@tidemark/clock";
import type { FsckFinding, FsckReport } from "../history-types.ts";
import type { PostgresClient } from "./driver.ts";
import { messageOf } from "./postgres-errors.ts";

/** Findings shown per check; a broken database breaks a rule many times. */
const maxPerCheck = 20;

/** One rule as a query for the rows that break it: each result is a sentence. */
interface Check {
  readonly invariant: FsckFinding["invariant"];
  readonly query: string;
}

const what = "'version at position ' || v.pos";

/** V1 to V9 in SQL, and the references that PostgreSQL is not told of. Every stream is a linear chain. */
const checks: readonly Check[] = [
  {
    invariant: "V1",
    query: `SELECT 'object ' || object || ' has version ' || version || ' ' || count(*) || ' times in epoch ' || epoch
      FROM versions GROUP BY object, epoch, version HAVING count(*) > 1`,
  },
  {
    invariant: "V1",
    query: `SELECT 'key ' || encode(key, 'hex') || ' of stream ' || stream || ' has ' || count(*) || ' objects'
      FROM objects GROUP BY stream, key HAVING count(*) > 1`,
  },
  {
    invariant: "V2",
    query: `SELECT ${what} || ' has parent ' || v.parent || ', which is neither there nor pruned (floor ' || s.floor || ')'
      FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream
      LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.parent IS NOT NULL AND p.pos IS NULL AND v.parent > s.floor`,
  },
  {
    invariant: "V2",
    query: `SELECT ${what} || ' has level ' || v.level || ', its parent leads to ' || (1 + coalesce(p.level, 0))
      FROM versions v LEFT JOIN versions p ON p.pos = v.parent
      WHERE (v.parent IS NULL OR p.pos IS NOT NULL) AND v.level <> 1 + coalesce(p.level, 0)`,
  },
  {
    invariant: "V2",
    query: `SELECT ${what} || ' has parent ' || v.parent || ' of another object'
      FROM versions v JOIN versions p ON p.pos = v.parent WHERE p.object <> v.object`,
  },
  {
    invariant: "V3",
    query: `SELECT 'object ' || o.id || ' has head ' || o.head || ', its newest version is ' || coalesce(n.pos::text, 'missing')
      FROM objects o LEFT JOIN (SELECT object, max(pos) AS pos FROM versions GROUP BY object) n ON n.object = o.id
      WHERE o.head IS DISTINCT FROM n.pos`,
  },
  {
    // Positions of one object in order: the next one's parent is this one, so only the newest has no child.
    invariant: "V3",
    query: `SELECT 'object ' || object || ' has a second head at position ' || previous || ': ' || pos || ' has parent ' || coalesce(parent::text, 'none')
      FROM (SELECT object, pos, parent, lag(pos) OVER (PARTITION BY object ORDER BY pos) AS previous FROM versions) AS chain
      WHERE previous IS NOT NULL AND parent IS DISTINCT FROM previous`,
  },
  {
    invariant: "V4",
    query: `SELECT ${what} || ' belongs to no object' FROM versions v LEFT JOIN objects o ON o.id = v.object WHERE o.id IS NULL`,
  },
  {
    invariant: "V4",
    query: `SELECT 'object ' || o.id || ' has no version' FROM objects o
      WHERE NOT EXISTS (SELECT 1 FROM versions v WHERE v.object = o.id)`,
  },
  {
    invariant: "V5",
    query: `SELECT 'positions above the floor ' || low || ' are not dense: ' || found || ' of ' || (high - low)
      FROM (SELECT low, coalesce(max(pos), low) AS high, count(*) AS found
        FROM versions, (SELECT coalesce(max(floor), 0) AS low FROM streams) f WHERE pos > low GROUP BY low) d
      WHERE found <> high - low`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || origin || ' has generation ' || gen || ' at position ' || pos || ' after ' || before || ' at ' || previous
      FROM (SELECT origin, gen, pos, lag(gen) OVER w AS before, lag(pos) OVER w AS previous FROM versions
          WINDOW w AS (PARTITION BY origin ORDER BY pos)) g,
        (SELECT coalesce(max(floor), 0) AS floor FROM streams) f
      WHERE before IS NOT NULL AND (gen <= before OR (previous >= floor AND gen <> before + 1))`,
  },
  {
    invariant: "V5",
    query: `SELECT ${what} || ' comes before its parent ' || v.parent FROM versions v WHERE v.parent >= v.pos`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' is at cursor ' || coalesce(s.cursor, 'none') || ', but has a batch of cursor ' || c.cursor
      FROM streams s JOIN commits c ON c.id = (SELECT max(id) FROM commits WHERE stream = s.id AND epoch = s.epoch)
      WHERE (s.capabilities::json ->> 'resumable')::boolean AND s.cursor < c.cursor`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' counts ' || s.keys || ' keys and ' || s.versions || ' versions, there are ' || live || ' and ' || found
      FROM (SELECT s.*, (SELECT count(*) FROM objects o WHERE o.stream = s.id AND NOT o.is_deleted) AS live,
          (SELECT count(*) FROM objects o JOIN versions v ON v.object = o.id WHERE o.stream = s.id) AS found FROM streams s) s
      WHERE s.keys <> live OR s.versions <> found`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' counts ' || s.gaps || ' gaps and ' || s.quarantined || ' open changes in quarantine'
      FROM streams s WHERE s.gaps <> (SELECT count(*) FROM gaps g WHERE g.stream = s.id)
        OR s.quarantined <> (SELECT count(*) FROM quarantine q WHERE q.stream = s.id AND q.state = 'open')`,
  },
  {
    invariant: "V6",
    query: `SELECT 'the last commit is at position ' || coalesce(committed::text, 'none') || ', the log ends at ' || coalesce(newest::text, 'none')
      FROM (SELECT (SELECT max(position) FROM commits) AS committed, (SELECT max(pos) FROM versions) AS newest) n
      WHERE committed IS DISTINCT FROM newest`,
  },
  {
    invariant: "V6",
    query: `SELECT 'commit ' || id || ' is at ' || committed_at || ' ms and position ' || position || ', the one before at ' || before || ' ms and ' || previous
      FROM (SELECT id, committed_at, position, lag(committed_at) OVER (ORDER BY id) AS before,
          lag(position) OVER (ORDER BY id) AS previous FROM commits) c
      WHERE committed_at < before OR position <= previous`,
  },
  {
    invariant: "V7",
    query: `SELECT 'batch ' || b.id || ' has ' || n.found || ' of ' || b.count || ' versions'
      FROM batches b JOIN streams s ON s.id = b.stream, LATERAL (SELECT count(*) AS found FROM versions v
        WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count AND v.batch = b.id) n
      WHERE b.first_pos > s.floor AND b.count <> n.found`,
  },
  {
    invariant: "V7",
    query: `SELECT ${what} || ' is not within its batch ' || v.batch || ' or of another stream'
      FROM versions v LEFT JOIN batches b ON b.id = v.batch LEFT JOIN objects o ON o.id = v.object
      WHERE b.id IS NULL OR v.pos < b.first_pos OR v.pos >= b.first_pos + b.count
        OR b.stream IS DISTINCT FROM o.stream OR b.epoch <> v.epoch`,
  },
  {
    invariant: "V8",
    query: `SELECT ${what} || ' deletes what did not exist' FROM versions v LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.value IS NULL AND (v.parent IS NULL OR (p.pos IS NOT NULL AND p.value IS NULL))`,
  },
  {
    invariant: "V8",
    query: `SELECT 'object ' || o.id || ' is' || CASE WHEN o.is_deleted THEN '' ELSE ' not' END || ' deleted, its head at ' || o.head || ' says otherwise'
      FROM objects o JOIN versions v ON v.pos = o.head WHERE o.is_deleted <> (v.value IS NULL)`,
  },
  {
    invariant: "V9",
    query: `SELECT ${what} || ' lost its parent ' || v.parent || ', which was still the state at the floor ' || s.floor
      FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream
      LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.parent IS NOT NULL AND p.pos IS NULL AND v.pos > s.floor`,
  },
  {
    invariant: "V9",
    query: `SELECT 'consumer ' || c.name || ' is at position ' || c.position || ', below the floor ' || floor
      FROM consumers c, (SELECT coalesce(max(floor), 0) AS floor FROM streams) f WHERE c.position < floor`,
  },
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
    ] as const
  ).map(
    ([table, column, parent]) =>
      ({
        invariant: "POSTGRES",
        query: `SELECT 'a row of ${table} points at ${column} ' || t.${column} || ', which is missing'
          FROM ${table} t LEFT JOIN ${parent} p ON p.id = t.${column} WHERE t.${column} IS NOT NULL AND p.id IS NULL`,
      }) as const,
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
