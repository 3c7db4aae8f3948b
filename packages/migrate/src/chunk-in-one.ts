import { type SQL, sql } from "drizzle-orm";
import { bookTables } from "./bookkeeping.ts";
import type { SqlQuery, SqlResult } from "./connection.ts";
import { encodeKey } from "./key-codec.ts";
import { type Lease, LeaseLost, type Worker } from "./ledger.ts";
import type { Ahead, Key, KeyRange, Plan } from "./plan.ts";
import { assign, rateWindow } from "./run-changes.ts";
import { type RunRow, runColumnNames, toRunRow } from "./run-row.ts";

/** A chunk that one statement does: the fence, the effect, its count, the books, and where the next chunk ends. */
export interface ChunkInOne {
  readonly range: KeyRange & { readonly isLast: boolean };
  /** The UPDATE of a range, of its rows that satisfy a condition as well. */
  readonly effect: (range: KeyRange, and?: SQL) => SQL;
  /** Rows that the next chunks are to have. */
  readonly rows: number;
  /** The ends of how many next chunks are looked for. */
  readonly ends: number;
  /**
   * Not the first of several that were sent at once: it does nothing where so many milliseconds have gone since they came to
   * the server.
   */
  readonly withinMs?: number;
  readonly bound: Key;
  /** Time that the books do not have yet. */
  readonly spent: { readonly spentMs: number; readonly yieldedMs: number };
}

/** What a dialect puts together into one statement. */
export interface ChunkParts {
  /** The table of the books. */
  readonly runs: SQL;
  /** Of the run in them: that it is this one. */
  readonly isRun: SQL;
  /**
   * Of the run in them: that the lease is held, and the cursor is where this chunk begins. A server may go on with a chunk
   * whose connection is lost, and commit it when it has been given up here.
   */
  readonly isHeld: SQL;
  /** Milliseconds since the server was asked, within which the chunk has to begin. */
  readonly withinMs: SQL | undefined;
  /** The UPDATE; `and`: of rows for which that is so, too. */
  readonly effect: (and?: SQL) => SQL;
  /** What becomes of the books; `done`: how many rows the UPDATE was about. */
  readonly books: (done: SQL) => SQL;
  /** Joins of where the next chunks end, where there are such rows. */
  readonly next: SQL;
  /** What is selected in the end, of the books and of `next`. */
  readonly answer: (done: SQL) => SQL;
}

const runs = sql`${sql.identifier(bookTables.runs)}`;
const cursor = sql.identifier("cursor");
const columns = sql.join(
  runColumnNames.map((name) => sql`${runs}.${sql.identifier(name)}`),
  sql`, `,
);

/**
 * The statement. The run is locked before the first row is looked at, and no row is written where the lease is over: one
 * way to the server does what else takes four.
 */
export function chunkInOne(
  plan: Plan,
  lease: Lease,
  worker: Worker,
  chunk: ChunkInOne,
  together: (parts: ChunkParts) => SQL,
): SqlQuery {
  const { range, effect, rows, ends, bound, spent, withinMs } = chunk;
  const { now = sql`null`, sinceMs = sql`null` } = plan.database.dialect;
  const values = [
    lease.name,
    lease.fence,
    encodeKey(range.upTo),
    Number(range.isLast),
    spent.spentMs,
    spent.yieldedMs,
    worker.heartbeatMs,
    worker.leaseMs,
    range.after === undefined ? null : encodeKey(range.after),
    withinMs ?? null,
    ...Array.from({ length: ends }, (_, index) => (index + 1) * rows - 1),
    ...bound,
  ];
  return plan.queryOf(
    `in one, ${ends}${withinMs === undefined ? "" : ", within"}`,
    range,
    (symbolic, slots) => {
      const at = (index: number) => sql`${sql.param(slots[index])}`;
      const behind = { after: symbolic.upTo, upTo: slots.slice(10 + ends) };
      const found = Array.from({ length: ends }, (_, index) => plan.endOf(behind, at(10 + index), `ahead_${index}`));
      return together({
        runs,
        isRun: sql`name = ${at(0)}`,
        isHeld: sql`name = ${at(0)} and fence = ${at(1)} and state = 'running' and ${cursor} ${
          symbolic.after === undefined ? sql`is null` : sql`= ${at(8)}`
        }`,
        withinMs: withinMs === undefined ? undefined : at(9),
        effect: (and) => effect(symbolic, and),
        books(done) {
          const finished = sql`rows_done + rows_quarantined + ${done}`;
          return assign({
            ...rateWindow,
            // Rows may have come below the bound since they were counted; a share above all of it would be a lie.
            total: sql`case when total < ${finished} then ${finished} else total end`,
            rows_done: sql`rows_done + ${done}`,
            rows_changed: sql`rows_changed + ${done}`,
            chunks: sql`chunks + 1`,
            cursor: at(2),
            is_exhausted: at(3),
            spent_ms: sql`spent_ms + ${at(4)}`,
            yielded_ms: sql`yielded_ms + ${at(5)}`,
            throttle_reason: null,
            beat: sql`beat + 1`,
            heartbeat_at: now,
            updated_at: now,
            heartbeat_ms: at(6),
            lease_expires_at: sql`${now} + ${at(7)}`,
          });
        },
        next: sql.join(
          found.map(({ table }) => sql`left join ${table} on true`),
          sql` `,
        ),
        answer: (done) => sql.join([columns, done, sinceMs, ...found.flatMap((each) => each.columns)], sql`, `),
      });
    },
    values,
  );
}

/**
 * What the statement answered.
 *
 * @throws {LeaseLost} also where another chunk was first
 */
export function didInOne(
  lease: Lease,
  { range, rows, ends, bound }: ChunkInOne,
  { rows: [found] }: SqlResult,
): { readonly row: RunRow; readonly done: number; readonly ahead: readonly Ahead[]; readonly sinceMs: number } {
  if (found === undefined) throw new LeaseLost(`the lease ${lease.fence} of "${lease.name}" is over`);
  const width = runColumnNames.length;
  const ahead: Ahead[] = [];
  for (let after = range.upTo; ahead.length < ends && ahead.at(-1)?.isLast !== true; ) {
    const from = width + 2 + ahead.length * bound.length;
    const end = found.slice(from, from + bound.length);
    // No part of a key is NULL, so a NULL means that there are fewer rows than that.
    const next = end[0] === null ? { upTo: bound, isLast: true } : { upTo: end, isLast: false };
    ahead.push({ after, rows, ...next });
    after = next.upTo;
  }
  return { row: toRunRow(found), done: Number(found[width]), ahead, sinceMs: Number(found[width + 1]) };
}
