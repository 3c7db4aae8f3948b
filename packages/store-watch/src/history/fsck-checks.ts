import type { FsckFinding } from "../history-types.ts";
import { graphKind } from "./ddl.ts";

/** One rule as a query for the rows that break it: each result is a sentence. */
export interface Check {
  readonly invariant: FsckFinding["invariant"];
  readonly query: string;
}

const what = "'version at position ' || v.pos";

/** Whether an object `o` is one of a graph. */
const isGraph = `EXISTS (SELECT 1 FROM streams s WHERE s.id = o.stream AND s.kind = '${graphKind}')`;

/** Where the dialects differ. */
export interface CheckDialect {
  /** Whether an object `o` is deleted, as a truth value. */
  readonly isDeleted: string;
  /** Whether a stream `s` can be resumed. */
  readonly isResumable: string;
  /** Bytes as text. */
  readonly hex: (column: string) => string;
}

/** V1 to V9 in SQL. A linear chain is what every check of parents comes down to as long as `edges` is empty. */
export const checksOf = ({ isDeleted, isResumable, hex }: CheckDialect): readonly Check[] => [
  {
    invariant: "V1",
    query: `SELECT 'object ' || object || ' has version ' || version || ' ' || count(*) || ' times in epoch ' || epoch
      FROM versions GROUP BY object, epoch, version HAVING count(*) > 1`,
  },
  {
    invariant: "V1",
    query: `SELECT 'key ' || ${hex("key")} || ' of stream ' || stream || ' has ' || count(*) || ' objects'
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
        (SELECT max(q.level) FROM edges e JOIN versions q ON q.pos = e.parent WHERE e.child = v.pos AND q.level > p.level), p.level, 0)
        AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.child = v.pos AND NOT EXISTS (SELECT 1 FROM versions q WHERE q.pos = e.parent))`,
  },
  {
    invariant: "V2",
    query: `SELECT ${what} || ' has parent ' || v.parent || ' of another object'
      FROM versions v JOIN versions p ON p.pos = v.parent WHERE p.object <> v.object`,
  },
  {
    invariant: "V3",
    query: `SELECT 'object ' || o.id || ' has head ' || o.head || ', its newest version is ' ||
        coalesce(CAST((SELECT max(pos) FROM versions WHERE object = o.id) AS TEXT), 'missing')
      FROM objects o WHERE o.head IS DISTINCT FROM (SELECT max(pos) FROM versions WHERE object = o.id) AND NOT ${isGraph}`,
  },
  {
    // Positions of one object in order: the next one's parent is this one, so only the newest has no child.
    invariant: "V3",
    query: `SELECT 'object ' || object || ' has a second head at position ' || previous || ': ' || pos || ' has parent ' || coalesce(CAST(parent AS TEXT), 'none')
      FROM (SELECT object, pos, parent, lag(pos) OVER (PARTITION BY object ORDER BY pos) AS previous FROM versions) AS chain
      WHERE previous IS NOT NULL AND parent IS DISTINCT FROM previous
        AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.id = chain.object AND ${isGraph})`,
  },
  {
    // In a graph the heads are what nothing was made from and no link took the place of.
    invariant: "V3",
    query: `SELECT ${what} || ' of object ' || v.object || CASE WHEN h.head IS NULL THEN ' has no child and is no head' ELSE ' is a head and has a child' END
      FROM versions v JOIN objects o ON o.id = v.object
      LEFT JOIN (SELECT id AS object, head FROM objects UNION ALL SELECT object, head FROM conflicts) h
        ON h.object = v.object AND h.head = v.pos
      WHERE ${isGraph} AND (h.head IS NULL) = (NOT EXISTS (SELECT 1 FROM relics WHERE version = v.pos) AND NOT EXISTS (SELECT 1 FROM versions c WHERE c.object = v.object AND c.parent = v.pos)
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
    query: `SELECT 'version at position ' || e.child || ' has stamp ' || coalesce(c.version, 'none') || ', not above its parent ' || e.parent
      FROM (SELECT pos AS child, parent FROM versions WHERE origin <> 1 UNION ALL SELECT child, parent FROM edges
        UNION ALL SELECT child, parent FROM links) e
      LEFT JOIN versions c ON c.pos = e.child LEFT JOIN versions p ON p.pos = e.parent
      WHERE c.version <= p.version OR c.object <> p.object`,
  },
  {
    invariant: "V2",
    query: `SELECT 'version at position ' || e.child || ' has parent ' || e.parent || ', which is neither there nor pruned'
      FROM edges e JOIN versions c ON c.pos = e.child JOIN objects o ON o.id = c.object JOIN streams s ON s.id = o.stream
      WHERE e.parent > s.floor AND NOT EXISTS (SELECT 1 FROM versions p WHERE p.pos = e.parent)
      UNION ALL SELECT 'a link has version ' || l.child || ' in the place of ' || l.parent || ', which are not there and not pruned'
      FROM links l JOIN objects o ON o.id = l.object JOIN streams s ON s.id = o.stream
      WHERE (l.child > s.floor AND NOT EXISTS (SELECT 1 FROM versions c WHERE c.pos = l.child))
        OR (l.parent > s.floor AND NOT EXISTS (SELECT 1 FROM versions p WHERE p.pos = l.parent))`,
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
        FROM versions, (SELECT coalesce(max(floor), 0) AS low FROM streams) f WHERE pos > low GROUP BY low) d
      WHERE found <> high - low`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || origin || ' has generation ' || gen || ' at position ' || pos || ' after ' || before || ' at ' || previous
      FROM (SELECT origin, gen, pos, lag(gen) OVER (PARTITION BY origin ORDER BY pos) AS before,
          lag(pos) OVER (PARTITION BY origin ORDER BY pos) AS previous FROM versions WHERE origin = 1) g,
        (SELECT coalesce(max(floor), 0) AS floor FROM streams) f
      WHERE before IS NOT NULL AND (gen <= before OR (previous >= floor AND gen <> before + 1))`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || origin || ' has generations ' || first || ' to ' || last || ' after ' || before
      FROM (SELECT origin, first, last, lag(last, 1, 0) OVER (PARTITION BY origin ORDER BY first) AS before FROM generations) g
        LEFT JOIN horizons h USING (origin)
      WHERE (first <> before + 1 AND first > coalesce(h.generation, 0)) OR first <= before OR last < first`,
  },
  {
    invariant: "V5",
    query: `SELECT 'origin ' || g.origin || ' has ' || found || ' of the generations ' || g.first || ' to ' || g.last
      FROM (SELECT g.*, (SELECT count(*) FROM versions v WHERE v.origin = g.origin AND v.origin <> 1 AND v.gen BETWEEN g.first AND g.last)
          + (SELECT count(*) FROM links l WHERE l.origin = g.origin AND l.gen BETWEEN g.first AND g.last)
          + (SELECT count(*) FROM announcements a WHERE a.origin = g.origin AND a.gen BETWEEN g.first AND g.last) AS found
        FROM generations g LEFT JOIN horizons h ON h.origin = g.origin WHERE g.last > coalesce(h.generation, 0)) g
      WHERE found <> g.last - g.first + 1`,
  },
  {
    invariant: "V9",
    query: `SELECT ${what} || ' is a relic, and a head or beyond the horizon of origin ' || v.origin
      FROM relics r JOIN versions v ON v.pos = r.version JOIN objects o ON o.id = v.object
      LEFT JOIN horizons h ON h.origin = v.origin
      WHERE o.head = v.pos OR EXISTS (SELECT 1 FROM conflicts c WHERE c.object = o.id AND c.head = v.pos)
        OR v.gen > coalesce(h.generation, 0)`,
  },
  {
    invariant: "V9",
    query: `SELECT 'origin ' || h.origin || ' is pruned up to generation ' || h.generation || ', which is not there'
      FROM horizons h WHERE NOT EXISTS (SELECT 1 FROM generations g WHERE g.origin = h.origin AND g.last = h.generation)`,
  },
  {
    invariant: "V5",
    query: `SELECT ${what} || ' comes before its parent ' || v.parent FROM versions v WHERE v.parent >= v.pos`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' is at cursor ' || coalesce(s.cursor, 'none') || ', but has a batch of cursor ' || c.cursor
      FROM streams s JOIN commits c ON c.id = (SELECT max(id) FROM commits WHERE stream = s.id AND epoch = s.epoch)
      WHERE ${isResumable} AND s.cursor < c.cursor`,
  },
  {
    invariant: "V6",
    query: `SELECT 'stream ' || s.name || ' counts ' || s.keys || ' keys and ' || s.versions || ' versions, there are ' || live || ' and ' || found
      FROM (SELECT s.*, (SELECT count(*) FROM objects o WHERE o.stream = s.id AND NOT ${isDeleted}) AS live,
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
    query: `SELECT 'the last commit is at position ' || coalesce(CAST(committed AS TEXT), 'none') || ', the log ends at ' || coalesce(CAST(newest AS TEXT), 'none')
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
      WHERE b.id IS NULL OR v.pos < b.first_pos OR v.pos >= b.first_pos + b.count OR b.stream IS DISTINCT FROM o.stream OR b.epoch <> v.epoch`,
  },
  {
    invariant: "V8",
    query: `SELECT ${what} || ' deletes what did not exist' FROM versions v LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.origin = 1 AND v.value IS NULL AND (v.parent IS NULL OR (p.pos IS NOT NULL AND p.value IS NULL))`,
  },
  {
    invariant: "V8",
    query: `SELECT 'object ' || o.id || ' is' || CASE WHEN ${isDeleted} THEN '' ELSE ' not' END || ' deleted, its head at ' || o.head || ' says otherwise'
      FROM objects o JOIN versions v ON v.pos = o.head WHERE ${isDeleted} <> (v.value IS NULL)`,
  },
  {
    invariant: "V9",
    query: `SELECT ${what} || ' lost its parent ' || v.parent || ', which was still the state at the floor ' || s.floor
      FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream
      LEFT JOIN versions p ON p.pos = v.parent
      WHERE v.parent IS NOT NULL AND p.pos IS NULL AND v.pos > s.floor AND (v.parent > 0 OR v.origin = 1)`,
  },
  {
    invariant: "V9",
    query: `SELECT 'consumer ' || c.name || ' is at position ' || c.position || ', below the floor ' || floor
      FROM consumers c, (SELECT coalesce(max(floor), 0) AS floor FROM streams) f WHERE c.position < floor`,
  },
];
