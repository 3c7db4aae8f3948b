import { type ChunkContext, type ChunkResult, type BodyRunner, requireAt, type Spent } from "./chunk.ts";
import { chunkInOne, didInOne } from "./chunk-in-one.ts";
import type { Commit, SqlConnection } from "./connection.ts";
import type { Dialect } from "./dialect.ts";
import type { Ahead, Key, Plan } from "./plan.ts";
import { panicFactor } from "./servo.ts";

/** Chunks of one statement that go to the server together, so that it does not wait for us between two of them. */
export interface ChunkSeries {
  /** The first begins at the cursor of the books, each other one where the one before it ends. */
  readonly ranges: readonly Ahead[];
  readonly bound: Key;
  /** Rows that the chunks behind these are to have, and the ends of how many are looked for. */
  readonly rows: number;
  readonly ends: number;
  /** Time that the books do not have yet. */
  readonly spent: Spent;
  /** What a chunk is to take, in milliseconds. */
  readonly targetMs: number;
}

/** Whether a database and a body take series. */
export function takesSeries({ database }: Plan, body: BodyRunner): boolean {
  const { dialect, connection } = database;
  const isAble = dialect.together !== undefined && dialect.sinceMs !== undefined && connection.inSeries !== undefined;
  return isAble && body.statement !== undefined;
}

/**
 * Does chunks one behind the other, each in a transaction of its own; fewer of them than there are where one takes longer than
 * it should: the rest may be too large then. Resolves with those that are done, at least one.
 *
 * @throws {LeaseLost}, and whatever the database throws; the books say which of them remain.
 */
export async function performSeries(
  context: ChunkContext,
  body: BodyRunner,
  series: ChunkSeries,
): Promise<readonly ChunkResult[]> {
  const { plan, ledger, lease, worker, probe, monotonic } = context;
  const { ranges, bound, rows, targetMs, spent } = series;
  const { together, inSeries, effect } = partsOf(plan, body);
  const last = ranges.length - 1;
  const chunks = ranges.map((range, index) => ({
    range,
    effect,
    bound,
    rows,
    ends: index === last ? series.ends : 0,
    spent: index === 0 ? spent : { spentMs: 0, yieldedMs: 0 },
    // So a chunk that is far above its target is never followed by another one of its size.
    ...(index > 0 && { withinMs: panicFactor * targetMs }),
  }));
  // No chunk comes behind the last one that would notice if it was not committed.
  const commits = ranges.map(({ isLast }): Commit => (isLast ? "durable" : "lazy"));
  probe("before-begin");
  probe("before-effect");
  let startMs = monotonic();
  const found = await inSeries(() => {
    startMs = monotonic();
    return chunks.map((chunk) => chunkInOne(plan, lease, worker, chunk, together));
  }, commits);
  const endMs = monotonic();
  if (found[0]?.rows.length === 0) {
    const holding = await plan.database.connection.execute(ledger.holding(lease));
    requireAt(ledger.held(lease, holding, ["running"]), ranges[0]?.after);
  }
  probe("after-commit");
  const results: ChunkResult[] = [];
  let sinceMs = 0;
  for (const [index, chunk] of chunks.entries()) {
    const answer = found[index];
    if (answer === undefined || (index > 0 && answer.rows.length === 0)) break;
    const { row, done, ahead, sinceMs: nowMs } = didInOne(lease, chunk, answer);
    // A clock that is set meanwhile says nothing.
    const tookMs = Math.min(Math.max(nowMs - sinceMs, 0), endMs - startMs);
    sinceMs = nowMs;
    const { isLast, rows: looked } = chunk.range;
    results.push({ row, done, changed: done, poison: [], ahead, rows: looked, isLast, lockMs: tookMs, tookMs });
  }
  return results;
}

function partsOf({ database }: Plan, { statement }: BodyRunner) {
  const { dialect, connection } = database;
  const together: Dialect["together"] = dialect.together?.bind(dialect);
  const { inSeries }: SqlConnection = connection;
  if (together === undefined || inSeries === undefined || statement === undefined)
    throw new Error("no series is taken");
  return { together, inSeries, effect: statement };
}
