import { type SQL, sql } from "drizzle-orm";
import type { SqlExecutor } from "./connection.ts";
import { encodeKey } from "./key-codec.ts";
import type { Ledger, Lease, RunChanges, Worker } from "./ledger.ts";
import type { Key, KeyRange, Plan } from "./plan.ts";
import type { Quarantine } from "./quarantine.ts";
import type { RunRow } from "./run-row.ts";

/** Places in a chunk where a test can throw or kill. */
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
  /** The same as `perform`, as one UPDATE whose rows are all there is to count. */
  statement?(range: KeyRange): SQL;
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
 * @throws {LeaseLost}, and whatever the database or the body throws; then nothing of the chunk remains.
 */
export async function performChunk(
  context: ChunkContext,
  body: BodyRunner,
  after: Key | undefined,
  bound: Key,
  limit: number,
  spent: Spent,
): Promise<ChunkResult> {
  const { plan, ledger, lease, worker, probe, monotonic } = context;
  let startMs = monotonic();
  probe("before-begin");
  let range: (KeyRange & { readonly isLast: boolean }) | undefined;
  let prepared: Prepared | undefined;
  // A chunk of one row is the end of a search for it: it has to be that row, whoever inserts another one before it.
  if (body.prepare !== undefined || limit > 1) range = await plan.nextRange(after, bound, limit);
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
  const result = await plan.database.transaction("write", async (executor) => {
    lockedMs = monotonic();
    const row = await ledger.hold(lease, executor, ["running"]);
    probe("before-effect");
    const at = range ?? (await plan.nextRange(after, bound, limit, executor));
    if (body.statement !== undefined && plan.database.dialect.chainsUpdates) {
      const progress = {
        cursor: encodeKey(at.upTo),
        isExhausted: row.isExhausted || at.isLast,
        ...spentIn(row, spent),
      };
      const next = await ledger.advanceBehind(lease, worker, row, plan, at, body.statement, progress, executor);
      probe("after-effect");
      probe("before-commit");
      const done = next.rowsDone - row.rowsDone;
      return { done, changed: done, poison: [], row: next, isLast: at.isLast };
    }
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
    return { ...effect, row: next, isLast: at.isLast };
  });
  const endMs = monotonic();
  probe("after-commit");
  return { ...result, lockMs: endMs - lockedMs, tookMs: endMs - startMs };
}

/**
 * Sets a row aside and moves on behind it, in one transaction.
 *
 * @throws {LeaseLost}
 */
export function quarantineNext(context: ChunkContext, poison: PoisonRow, spent: Spent): Promise<void> {
  const { plan, ledger, lease, worker } = context;
  return plan.database.transaction("write", async (executor) => {
    const row = await ledger.hold(lease, executor, ["running"]);
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
