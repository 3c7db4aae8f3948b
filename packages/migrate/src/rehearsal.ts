import type { Clock } from "@tidemark/clock";
import { messageOf } from "./body-rows.ts";
import type { BodyRunner, Prepared } from "./chunk.ts";
import type { Migration } from "./definition.ts";
import type { Database } from "./dialect.ts";
import { encodeKey } from "./key-codec.ts";
import { MigrateError } from "./migrate-error.ts";
import { gapAfter } from "./pace.ts";
import { type Key, type KeyRange, Plan } from "./plan.ts";
import { initialServo, nextServo } from "./servo.ts";

/** A chunk that was done and rolled back. */
export interface DryRun {
  /** Rows the migration is about. */
  readonly rows: number;
  /** Rows that would have been written. */
  readonly changed: number;
  /** Rows that would be set aside, by key and with the reason; `undefined` for the key where the database did not say. */
  readonly refused: readonly { readonly key: string | undefined; readonly error: string }[];
  /** The first and the last key of the chunk; undefined: there is no row left. */
  readonly lastKey: string | undefined;
  /** How long the transaction took, without its end. */
  readonly lockMs: number;
  /** How long all of it took. */
  readonly tookMs: number;
}

/** What a few chunks, done and rolled back, say about all of them. */
export interface Sample {
  readonly chunks: number;
  /** Rows that were tried. */
  readonly rows: number;
  readonly changed: number;
  /** What the last chunk suggests for the first of a run: rows that take `targetMs`. */
  readonly rowsPerChunk: number;
  /** Rows that are left; undefined: not known without counting them. */
  readonly total: number | undefined;
  /**
   * How long copying would take with the rests, if all rows are as those that were tried; without waits for signals and
   * without verification. Undefined where the total is.
   */
  readonly copyMs: number | undefined;
}

/** What is needed to try a definition. */
export interface RehearsalContext {
  readonly database: Database;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly bodyOf: (plan: Plan, signal: AbortSignal) => BodyRunner;
}

/** Ends a transaction that must not be committed. */
class RolledBack extends Error {
  readonly outcome: { readonly done: number; readonly changed: number; readonly lockMs: number };
  readonly refused: DryRun["refused"];

  constructor(outcome: RolledBack["outcome"], refused: DryRun["refused"]) {
    super("rolled back");
    this.outcome = outcome;
    this.refused = refused;
  }
}

/**
 * Does the next chunk and rolls it back. Nobody else sees anything of it but its locks.
 *
 * @throws {MigrateError} `OPTIONS_INVALID` for effects outside of the database, which no rollback takes back;
 * `KEY_INVALID`, `SQL_FAILED`
 */
export async function rehearse(
  context: RehearsalContext,
  migration: Migration,
  after: Key | undefined,
  rows: number,
): Promise<DryRun> {
  const { database } = context;
  const plan = new Plan(migration, database, "copy");
  requireRehearsable(migration);
  await plan.requireKey();
  const bound = await plan.lastKey();
  if (bound === undefined) return { rows: 0, changed: 0, refused: [], lastKey: undefined, lockMs: 0, tookMs: 0 };
  return rehearseRange(context, plan, await plan.nextRange(after, bound, rows));
}

/** Tries chunks from `after` on, where `finished` rows lie behind, until `forMs` have passed. @throws as {@link rehearse} */
export async function sample(
  context: RehearsalContext,
  migration: Migration,
  after: Key | undefined,
  finished: number,
  forMs: number,
): Promise<Sample> {
  const { database, clock, signal } = context;
  const { tuning } = migration;
  const plan = new Plan(migration, database, "copy");
  requireRehearsable(migration);
  await plan.requireKey();
  const bound = await plan.lastKey();
  const endMs = clock.monotonic() + forMs;
  let servo = initialServo(tuning);
  let [chunks, rows, changed, visited, usedMs] = [0, 0, 0, 0, 0];
  let isAll = bound === undefined;
  for (let at = after; bound !== undefined && !isAll && (chunks === 0 || clock.monotonic() < endMs); ) {
    signal.throwIfAborted();
    const range = await plan.nextRange(at, bound, servo.rows);
    const chunk = await rehearseRange(context, plan, range);
    const gapMs = gapAfter(chunk.lockMs, tuning);
    chunks++;
    rows += chunk.rows;
    changed += chunk.changed;
    visited += servo.rows;
    usedMs += chunk.tookMs + gapMs;
    isAll = range.isLast;
    const sampleMs = Math.max(chunk.lockMs, chunk.tookMs * (tuning.targetMs / tuning.maxChunkMs));
    if (!isAll) [servo] = nextServo(servo, { type: "measured", rows: servo.rows, tookMs: sampleMs }, tuning);
    at = range.upTo;
    await clock.sleep(gapMs, { signal });
  }
  // Chunks are counted off along the key, so the estimate of all rows is of rows that are visited.
  const all = isAll ? undefined : await database.dialect.estimateRows(database.connection, migration.table);
  const known = { chunks, rows, changed, rowsPerChunk: servo.rows };
  if (isAll) return { ...known, total: rows, copyMs: usedMs };
  if (all === undefined) return { ...known, total: undefined, copyMs: undefined };
  const matching = (all * rows) / visited;
  const left = Math.max(matching - finished, rows);
  const share = matching === 0 ? 1 : left / matching;
  return { ...known, total: Math.round(left), copyMs: ((all * usedMs) / visited) * share };
}

async function rehearseRange(context: RehearsalContext, plan: Plan, range: KeyRange): Promise<DryRun> {
  const { database, clock, signal, bodyOf } = context;
  const startMs = clock.monotonic();
  const body = bodyOf(plan, signal);
  let prepared: Prepared | undefined;
  try {
    prepared = await body.prepare?.(range);
    await database.transaction("write", async (executor) => {
      const lockedMs = clock.monotonic();
      const effect = await (prepared?.(executor) ?? body.perform?.(range, executor));
      if (effect === undefined) throw new Error("a body prepares or performs");
      const refused = effect.poison.map(({ key, error }) => ({ key: encodeKey(key), error }));
      throw new RolledBack({ ...effect, lockMs: clock.monotonic() - lockedMs }, refused);
    });
    throw new Error("a rehearsal was committed");
  } catch (error) {
    const tookMs = clock.monotonic() - startMs;
    const lastKey = encodeKey(range.upTo);
    if (error instanceof RolledBack) {
      const { done, changed, lockMs } = error.outcome;
      return { rows: done, changed, refused: error.refused, lastKey, lockMs, tookMs };
    }
    if (MigrateError.is(error)) throw error;
    const failure = database.dialect.classify(error);
    // A run would find the row by halving.
    if (failure === "poison") {
      const refused = [{ key: undefined, error: messageOf(error) }];
      return { rows: 0, changed: 0, refused, lastKey, lockMs: tookMs, tookMs };
    }
    const isOfDatabase = error instanceof Error && ("code" in error || "errcode" in error);
    throw new MigrateError(isOfDatabase ? "SQL_FAILED" : "BODY_FAILED", `it cannot be tried: ${messageOf(error)}`, {
      cause: error,
      retryable: failure === "retry",
    });
  }
}

function requireRehearsable({ name, body }: Migration): void {
  if (body.type !== "effect") return;
  throw new MigrateError("OPTIONS_INVALID", `"${name}" has effects outside of the database; they cannot be tried`);
}
