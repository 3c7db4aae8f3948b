import { type SQL, sql } from "drizzle-orm";
import { DatabaseAway } from "./away.ts";
import { type ChunkInOne, chunkInOne, didInOne } from "./chunk-in-one.ts";
import type { SqlExecutor, SqlQuery } from "./connection.ts";
import { encodeKey } from "./key-codec.ts";
import type { Ledger, Lease, Worker } from "./ledger.ts";
import type { Ahead, Key, KeyRange, Plan } from "./plan.ts";
import type { Quarantine } from "./quarantine.ts";
import type { RunChanges } from "./run-changes.ts";
import type { RunRow } from "./run-row.ts";

/** Places in a chunk where a test can throw or kill; where one statement does it all, the two in its middle are passed by. */
export type ChunkPoint =
  | "before-begin"
  | "prepared"
  | "before-effect"
  | "after-effect"
  | "before-commit"
  | "after-commit";

export interface ChunkContext {
  readonly plan: Plan;
  readonly ledger: Ledger;
  readonly quarantine: Quarantine;
  readonly runNo: number;
  readonly lease: Lease;
  readonly worker: Worker;
  readonly signal: AbortSignal;
  readonly probe: (point: ChunkPoint) => void;
  /** Fractional milliseconds. */
  readonly monotonic: () => number;
}

/** A row that could not be migrated. */
export interface PoisonRow {
  readonly key: Key;
  readonly error: string;
}

/** What a body did to the rows of a chunk. */
export interface Effect {
  /** Rows the migration is about. */
  readonly done: number;
  /** Rows that were written. */
  readonly changed: number;
  readonly poison: readonly PoisonRow[];
}

/** A chunk that is committed. */
export interface ChunkResult extends Effect {
  /** The books behind it. */
  readonly row: RunRow;
  readonly isLast: boolean;
  /** The rows that were looked at, whether or not the migration is about them. */
  readonly rows: number;
  /** Where the next chunks end, as far as that is known already. */
  readonly ahead?: readonly Ahead[];
  /** How long the transaction took. */
  readonly lockMs: number;
  /** How long all of it took. */
  readonly tookMs: number;
}

/** What a body has prepared outside of the transaction. */
export type Prepared = (executor: SqlExecutor) => Promise<Effect>;

/** A body, as the chunk protocol uses it. */
export interface BodyRunner {
  /** What has to be known before a range can be prepared, for many chunks at a time; its time is not that of the chunk. */
  gather?(range: KeyRange): Promise<void>;
  /**
   * Looks at the rows of a range without holding a lock, and returns what is to be done in the transaction. Undefined
   * where everything happens in there.
   */
  prepare?(range: KeyRange): Promise<Prepared>;
  /**
   * The same as `perform`, as one UPDATE whose rows are all there is to count; `and`: only of rows for which that is so.
   */
  statement?(range: KeyRange, and?: SQL): SQL;
  /** Where a crash of the server must not take back what is committed, because it cannot take back the effect. */
  readonly isOutside?: boolean;
  /** Everything in the transaction. */
  perform?(range: KeyRange, executor: SqlExecutor): Promise<Effect>;
}

/** Time since the last chunk that the books do not have yet. */
export interface Spent {
  readonly spentMs: number;
  readonly yieldedMs: number;
}

/**
 * Does the next chunk: effect, cursor, counters and fence in one transaction, so that no crash can part them.
 *
 * `ends`: where how many next chunks end is to be looked for, where that costs next to nothing.
 *
 * @throws {LeaseLost}, and whatever the database or the body throws; then nothing of the chunk remains.
 */
export async function performChunk(
  context: ChunkContext,
  body: BodyRunner,
  after: Key | undefined,
  bound: Key,
  limit: number,
  spent: Spent,
  ahead?: Ahead,
  ends = 1,
): Promise<ChunkResult> {
  const { plan, ledger, lease, worker, probe, monotonic } = context;
  let startMs = monotonic();
  probe("before-begin");
  let range: (KeyRange & { readonly isLast: boolean }) | undefined;
  let prepared: Prepared | undefined;
  // A chunk of one row is the end of a search for it: it has to be that row, whoever inserts another one before it.
  if (body.prepare !== undefined || limit > 1) range = ahead ?? (await plan.nextRange(after, bound, limit));
  const rows = ahead?.rows ?? limit;
  if (body.gather !== undefined && range !== undefined) {
    const gatheredMs = monotonic();
    await body.gather(range);
    startMs += monotonic() - gatheredMs;
  }
  let lockedMs = startMs;
  if (body.prepare !== undefined && range !== undefined) {
    prepared = await body.prepare(range);
    probe("prepared");
    context.signal.throwIfAborted();
  }
  const commit = body.isOutside === true ? "durable" : "lazy";
  const locking = (statement: () => SqlQuery) => () => {
    lockedMs = monotonic();
    return statement();
  };
  const inSteps = () =>
    plan.database.transactionFrom(
      locking(() => ledger.holding(lease)),
      async (executor, found) => {
        const row = ledger.held(lease, found, ["running"]);
        requireAt(row, after);
        probe("before-effect");
        const at = range ?? (await plan.nextRange(after, bound, limit, executor));
        const effect = await (prepared?.(executor) ?? body.perform?.(at, executor));
        if (effect === undefined) throw new Error("a body prepares or performs");
        probe("after-effect");
        const held = await holdAll(context, effect.poison, executor);
        const progress = {
          ...countedIn(row, effect.done, effect.changed, held),
          ...spentIn(row, spent),
          cursor: encodeKey(at.upTo),
          isExhausted: row.isExhausted || at.isLast,
        };
        const next = await ledger.advance(lease, worker, row, progress, executor);
        probe("before-commit");
        return { ...effect, row: next, rows, isLast: at.isLast };
      },
      commit,
    );
  const inOne = async (at: KeyRange & { readonly isLast: boolean }, effect: ChunkInOne["effect"]) => {
    const { dialect, connection } = plan.database;
    const { together } = dialect;
    if (connection.inOne === undefined || together === undefined) return inSteps();
    const chunk = { range: at, effect, rows: limit, ends, bound, spent };
    probe("before-effect");
    const found = await connection.inOne(
      locking(() => chunkInOne(plan, lease, worker, chunk, together)),
      // No chunk comes behind the last one that would notice if it was not committed.
      at.isLast ? "durable" : commit,
    );
    if (found.rows.length === 0) {
      const holding = await connection.execute(ledger.holding(lease));
      requireAt(ledger.held(lease, holding, ["running"]), after);
    }
    const { row, done, ahead: next } = didInOne(lease, chunk, found);
    return { row, done, changed: done, poison: [], ahead: next, rows, isLast: at.isLast };
  };
  const result =
    body.statement === undefined || range === undefined ? await inSteps() : await inOne(range, body.statement);
  const endMs = monotonic();
  probe("after-commit");
  return { ...result, lockMs: endMs - lockedMs, tookMs: endMs - startMs };
}

/**
 * A server may commit a chunk whose connection is lost after the books were asked whether it has, or not commit one that was
 * left to it: they are asked again.
 *
 * @throws {DatabaseAway}
 */
export function requireAt({ cursor }: RunRow, after: Key | undefined): void {
  if (cursor === (after === undefined ? undefined : encodeKey(after))) return;
  throw new DatabaseAway("whether the chunk before was committed is not as it was taken to be");
}

/**
 * Sets a row aside and moves on behind it, in one transaction.
 *
 * @throws {LeaseLost}
 */
export function quarantineNext(
  context: ChunkContext,
  after: Key | undefined,
  poison: PoisonRow,
  spent: Spent,
): Promise<void> {
  const { plan, ledger, lease, worker } = context;
  return plan.database.transaction("write", async (executor) => {
    const row = await ledger.hold(lease, executor, ["running"]);
    requireAt(row, after);
    const held = await holdAll(context, [poison], executor);
    const { isExhausted } = row;
    const progress = {
      ...countedIn(row, 0, 0, held),
      ...spentIn(row, spent),
      cursor: encodeKey(poison.key),
      isExhausted,
    };
    await ledger.advance(lease, worker, row, progress, executor);
  });
}

/**
 * Tries a row of the quarantine again. It leaves it when that works, in the transaction of its effect.
 *
 * @throws {LeaseLost}, and whatever the database or the body throws.
 */
export async function retryQuarantined(context: ChunkContext, body: BodyRunner, key: Key): Promise<Effect> {
  const { plan, ledger, quarantine, lease, worker } = context;
  const range = { after: undefined, upTo: key, isSingle: true };
  const prepared = await body.prepare?.(range);
  return plan.database.transaction("write", async (executor) => {
    await ledger.hold(lease, executor, ["running", "verifying"]);
    const effect = await (prepared?.(executor) ?? body.perform?.(range, executor));
    if (effect === undefined) throw new Error("a body prepares or performs");
    if (effect.poison.length > 0) {
      await holdAll(context, effect.poison, executor);
      await ledger.update(lease, worker, {}, executor);
    } else {
      await quarantine.release(lease.name, encodeKey(key), executor);
      // The row may be gone or match no longer; either way it is finished.
      await ledger.update(lease, worker, counted(1, effect.changed, -1), executor);
    }
    return effect;
  });
}

async function holdAll(context: ChunkContext, rows: readonly PoisonRow[], executor: SqlExecutor): Promise<number> {
  const { ledger, quarantine, lease, runNo } = context;
  let added = 0;
  for (const { key, error } of rows) {
    if (await quarantine.hold(lease.name, runNo, encodeKey(key), error, ledger.now, executor)) added++;
  }
  return added;
}

/** The counters of a run that is held. */
function countedIn(row: RunRow, done: number, changed: number, held: number) {
  const rowsDone = row.rowsDone + done;
  const rowsQuarantined = row.rowsQuarantined + held;
  const finished = rowsDone + rowsQuarantined;
  return {
    rowsDone,
    rowsQuarantined,
    rowsChanged: row.rowsChanged + changed,
    chunks: row.chunks + 1,
    // Rows may have come below the bound since they were counted; a share above all of it would be a lie.
    total: row.total === undefined ? undefined : Math.max(row.total, finished),
  };
}

function spentIn(row: RunRow, { spentMs, yieldedMs }: Spent) {
  return { spentMs: row.spentMs + spentMs, yieldedMs: row.yieldedMs + yieldedMs };
}

function counted(done: number, changed: number, held: number): RunChanges {
  const finished = sql`rows_done + rows_quarantined + ${done + held}`;
  return {
    // Rows may have come below the bound since they were counted; a share above all of it would be a lie. First, because
    // an assignment of MySQL sees those before it.
    total: sql`case when total < ${finished} then ${finished} else total end`,
    rows_done: sql`rows_done + ${done}`,
    rows_changed: sql`rows_changed + ${changed}`,
    rows_quarantined: sql`rows_quarantined + ${held}`,
    chunks: sql`chunks + 1`,
  };
}
