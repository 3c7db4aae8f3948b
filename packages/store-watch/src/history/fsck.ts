import { systemClock } from "@tidemark/clock";
import type Database from "better-sqlite3";

import type { FsckFinding, FsckReport } from "../history-types.ts";
import { graphKind } from "./ddl.ts";

/** Findings shown per check; a broken database breaks a rule many times. */
const maxPerCheck = 20;

/** One rule as a query for the rows that break it: each result is a sentence. */
interface Check {
  readonly invariant: FsckFinding["invariant"];
  readonly query: string;
}

const what = "'version at position ' || v.pos";

/** Whether an object `o` is one of a graph. */
const isGraph = `EXISTS (SELECT 1 FROM streams s WHERE s.id = o.stream AND s.kind = '${graphKind}')`;

/** V1 to V9 in SQL. A linear chain is what every check of parents comes down to as long as `edges` is empty. */
const checks: readonly Check[] = [
  {
    invariant: "V1",
    query: `SELECT 'object ' || object || ' has version ' || version || ' ' || count(*) || ' times in epoch ' || epoch
      FROM versions GROUP BY object, epoch, version HAVING count(*) > 1`,
  },
  {
    invariant: "V1",
    query: `SELECT 'key ' || quote(key) || ' of stream ' || stream || ' has ' || count(*) || ' objects'
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
    query: `SELECT ${what} || ' has level ' || v.level || ', its parents lead to ' || (1 + coalesce(
        (SELECT max(q.level) FROM edges e JOIN versions q ON q.pos = e.parent WHERE e.child = v.pos AND q.level > p.level), p.level, 0))
      FROM versions v LEFT JOIN versions p ON p.pos = v.parent
      WHERE (v.parent IS NULL OR p.pos IS NOT NULL) AND v.level <> 1 + coalesce(
        (SELECT max(q.level) FROM edges e JOIN versions q ON q.pos = e.parent WHERE e.child = v.pos AND q.level > p.level), p.level, 0)`,
  },
  {
    invariant: "V2",
    query: `SELECT ${what} || ' has parent ' || v.parent || ' of another object'
      FROM versions v JOIN versions p ON p.pos = v.parent WHERE p.object <> v.object`,
  },
  {
    invariant: "V3",
    query: `SELECT 'object ' || o.id || ' has head ' || o.head || ', its newest version is ' ||
        coalesce((SELECT max(pos) FROM versions WHERE object = o.id), 'missing')
      FROM objects o WHERE o.head IS NOT (SELECT max(pos) FROM versions WHERE object = o.id) AND NOT ${isGraph}`,
  },
  {
    // Positions of one object in order: the next one's parent is this one, so only the newest has no child.
    invariant: "V3",
    query: `SELECT 'object ' || object || ' has a second head at position ' || previous || ': ' || pos || ' has parent ' || ifnull(parent, 'none')
      FROM (SELECT object, pos, parent, lag(pos) OVER (PARTITION BY object ORDER BY pos) AS previous FROM versions) AS chain
      WHERE previous IS NOT NULL AND parent IS NOT previous
        AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.id = chain.object AND ${isGraph})`,
  },
  {
    // In a graph the heads are what nothing was made from and no link took the place of.
    invariant: "V3",
    query: `SELECT ${what} || ' of object ' || v.object || iif(h.head IS NULL, ' has no child and is no head', ' is a head and has a child')
      FROM versions v JOIN objects o ON o.id = v.object
      LEFT JOIN (SELECT id AS object, head FROM objects UNION ALL SELECT object, head FROM conflicts) h
        ON h.object = v.object AND h.head = v.pos
      WHERE ${isGraph} AND (h.head IS NULL) = (NOT EXISTS (SELECT 1 FROM versions c WHERE c.object = v.object AND c.parent = v.pos)
        AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.parent = v.pos)
        AND NOT EXISTS (SELECT 1 FROM links l WHERE l.parent = v.pos))`,
  },
  {
    invariant: "V3",
    query: `SELECT 'object ' || o.id || ' shows head ' || o.head || ', the greatest stamp has ' || w.pos
      FROM objects o JOIN versions v ON v.pos = o.head JOIN conflicts c ON c.object = o.id JOIN versions w ON w.pos = c.head
      WHERE ${isGraph} AND w.version > v.version`,
  },
  {
    // What makes circles impossible, whoever links what.
    invariant: "V2",
    query: `SELECT 'version at position ' || e.child || ' has stamp ' || ifnull(c.version, 'none') || ', not above its parent ' || e.parent
      FROM (SELECT pos AS child, parent FROM versions WHERE origin <> 1 UNION ALL SELECT child, parent FROM edges
        UNION ALL SELECT child, parent FROM links) e
      LEFT JOIN versions c ON c.pos = e.child LEFT JOIN versions p ON p.pos = e.parent
      WHERE e.parent IS NOT NULL AND (c.version <= p.version OR c.object IS NOT p.object)`,
  },
  {
    invariant: "V3",
    query: `SELECT 'conflict of object ' || c.object || ' has head ' || c.head || ', which is no version of it'
      FROM conflicts c LEFT JOIN versions v ON v.pos = c.head AND v.object = c.object WHERE v.pos IS NULL`,
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
        FROM versions, (SELECT coalesce(max(floor), 0) AS low FROM streams) WHERE pos > low)
      WHERE found <> high - low`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || origin || ' has generation ' || gen || ' at position ' || pos || ' after ' || before || ' at ' || previous
      FROM (SELECT origin, gen, pos, lag(gen) OVER (PARTITION BY origin ORDER BY pos) AS before,
          lag(pos) OVER (PARTITION BY origin ORDER BY pos) AS previous FROM versions WHERE origin = 1),
        (SELECT coalesce(max(floor), 0) AS floor FROM streams)
      WHERE before IS NOT NULL AND (gen <= before OR (previous >= floor AND gen <> before + 1))`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || origin || ' has generations ' || first || ' to ' || last || ' after ' || before
      FROM (SELECT origin, first, last, lag(last, 1, 0) OVER (PARTITION BY origin ORDER BY first) AS before FROM generations)
      WHERE first <> before + 1 OR last < first`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || g.origin || ' has ' || found || ' of the generations ' || g.first || ' to ' || g.last
      FROM (SELECT g.*, (SELECT count(*) FROM versions v WHERE v.origin = g.origin AND v.origin <> 1 AND v.gen BETWEEN g.first AND g.last)
          + (SELECT count(*) FROM links l WHERE l.origin = g.origin AND l.gen BETWEEN g.first AND g.last) AS found FROM generations g) g
      WHERE found <> g.last - g.first + 1`,
  },
  {
    invariant: "V5",
    query: `SELECT ${what} || ' comes before its parent ' || v.parent FROM versions v WHERE v.parent >= v.pos`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' is at cursor ' || ifnull(s.cursor, 'none') || ', but has a batch of cursor ' || c.cursor
      FROM streams s JOIN commits c ON c.id = (SELECT max(id) FROM commits WHERE stream = s.id AND epoch = s.epoch)
      WHERE json_extract(s.capabilities, '$.resumable') AND s.cursor < c.cursor`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' counts ' || s.keys || ' keys and ' || s.versions || ' versions, there are ' || live || ' and ' || found
      FROM (SELECT s.*, (SELECT count(*) FROM objects o WHERE o.stream = s.id AND o.is_deleted = 0) AS live,
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
    query: `SELECT 'the last commit is at position ' || ifnull(committed, 'none') || ', the log ends at ' || ifnull(newest, 'none')
      FROM (SELECT (SELECT max(position) FROM commits) AS committed, (SELECT max(pos) FROM versions) AS newest)
      WHERE committed IS NOT newest`,
  },
  {
    invariant: "V6",
    query: `SELECT 'commit ' || id || ' is at ' || committed_at || ' ms and position ' || position || ', the one before at ' || before || ' ms and ' || previous
      FROM (SELECT id, committed_at, position, lag(committed_at) OVER (ORDER BY id) AS before,
          lag(position) OVER (ORDER BY id) AS previous FROM commits)
      WHERE committed_at < before OR position <= previous`,
  },
  {
    invariant: "V7",
    query: `SELECT 'batch ' || b.id || ' has ' || (SELECT count(*) FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count AND v.batch = b.id)
        || ' of ' || b.count || ' versions'
      FROM batches b JOIN streams s ON s.id = b.stream
      WHERE b.first_pos > s.floor
        AND b.count <> (SELECT count(*) FROM versions v WHERE v.pos >= b.first_pos AND v.pos < b.first_pos + b.count AND v.batch = b.id)`,
  },
  {
    invariant: "V7",
    query: `SELECT ${what} || ' is not within its batch ' || v.batch || ' or of another stream'
      FROM versions v LEFT JOIN batches b ON b.id = v.batch LEFT JOIN objects o ON o.id = v.object
      WHERE b.id IS NULL OR v.pos < b.first_pos OR v.pos >= b.first_pos + b.count OR b.stream IS NOT o.stream OR b.epoch <> v.epoch`,
  },
  {
    invariant: "V8",
    query: `SELECT ${what} || ' deletes what did not exist' FROM versions v LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.origin = 1 AND v.value IS NULL AND (v.parent IS NULL OR (p.pos IS NOT NULL AND p.value IS NULL))`,
  },
  {
    invariant: "V8",
    query: `SELECT 'object ' || o.id || ' is' || iif(o.is_deleted, '', ' not') || ' deleted, its head at ' || o.head || ' says otherwise'
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
      FROM consumers c, (SELECT coalesce(max(floor), 0) AS floor FROM streams) WHERE c.position < floor`,
  },
  {
    invariant: "SQLITE",
    query: `SELECT 'row ' || ifnull(rowid, '?') || ' of ' || "table" || ' points at a missing row of ' || parent FROM pragma_foreign_key_check`,
  },
];

/** Proves V1 to V9 over a whole database, on one snapshot of it, with what SQLite says about itself. */
export function checkDatabase(db: Database.Database): FsckReport {
  const startedMs = systemClock.monotonic();
  const findings: FsckFinding[] = [];
  // A damaged file fails in the middle of any query: that is a finding too.
  const attempt = <T>(otherwise: T, query: () => T): T => {
    try {
      return query();
    } catch (error) {
      findings.push({ invariant: "SQLITE", message: error instanceof Error ? error.message : String(error) });
      return otherwise;
    }
  };
  const count = (query: string) => attempt(0, () => db.prepare<[], number>(query).pluck().get() as number);
  db.exec("BEGIN");
  try {
    const integrity = attempt([], () => db.pragma("integrity_check(20)") as { readonly integrity_check: string }[]);
    for (const { integrity_check: message } of integrity) {
      if (message !== "ok") findings.push({ invariant: "SQLITE", message });
    }
    for (const { invariant, query } of checks) {
      const messages = attempt([], () => db.prepare<[], string | null>(`${query} LIMIT ${maxPerCheck}`).pluck().all());
      // Null: the row is so broken that it cannot be named.
      for (const message of messages) findings.push({ invariant, message: message ?? "a row is broken" });
    }
    const versions = count("SELECT count(*) FROM versions NOT INDEXED");
    const keys = count("SELECT count(*) FROM objects WHERE is_deleted = 0");
    return {
      isClean: findings.length === 0,
      findings,
      versions,
      keys,
      durationMs: systemClock.monotonic() - startedMs,
    };
  } finally {
    attempt(undefined, () => db.exec("ROLLBACK"));
  }
}
