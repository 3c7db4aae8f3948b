import { sql } from "drizzle-orm";
import { aggregateRunner, suspectsOf } from "./aggregate/run-aggregate.ts";
import { effectBody, mapBody, messageOf } from "./body-rows.ts";
import { isSplit, splitBody } from "./body-split.ts";
import { runBody, setBody, updateOf } from "./body-sql.ts";
import type { BodyRunner } from "./chunk.ts";
import { Copier } from "./copier.ts";
import type { Migration } from "./definition.ts";
import { Heart } from "./heart.ts";
import { encodeKey } from "./key-codec.ts";
import { failure, type Lease, LeaseLost } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import { gapAfter, retryDelayMs } from "./pace.ts";
import type { Plan } from "./plan.ts";
import { repairOf } from "./repair.ts";
import { type RunContext, RunHandle } from "./run-handle.ts";
import type { RunChanges } from "./run-changes.ts";
import type { RunRow, TotalKind } from "./run-row.ts";
import type { RunEvent } from "./run-state.ts";
import { Stride } from "./stride.ts";
import { findWrong, verifierOf } from "./verifier.ts";
import { slicesOf } from "./walk.ts";

/** How the work on a lease ended. `released`: because this process was told to stop. */
export type RunOutcome = "done" | "failed" | "released" | "lost";

/** Waits between attempts to write how a run ended. */
const terminalRetryMs = [100, 500, 2000] as const;

/** The work on one run for as long as its lease is held. */
export class RunSession {
  readonly #run: RunHandle;
  #copier: Copier | undefined;
  /** Aborts when the lease is lost. */
  readonly #lost = new AbortController();
  readonly #stop: AbortSignal;

  constructor(context: RunContext, migration: Migration, claimed: RunRow, lease: Lease, stop: AbortSignal) {
    this.#stop = stop;
    this.#run = new RunHandle(context, migration, claimed, lease, AbortSignal.any([stop, this.#lost.signal]));
  }

  get rowsChanged(): number {
    return this.#run.row.rowsChanged;
  }

  /** Works until the run is over or the lease is. Rejects only when not even a failure could be written. */
  async work(): Promise<RunOutcome> {
    const { ledger, worker, clock, probe } = this.#run.context;
    const heart = new Heart(
      clock,
      () => worker.heartbeatMs,
      async () => {
        try {
          await ledger.update(this.#run.lease, worker, {});
        } catch (error) {
          if (error instanceof LeaseLost) this.#lost.abort(error);
        }
      },
    );
    try {
      probe("claimed");
      for (let failures = 1; ; failures++) {
        try {
          await this.#advance();
          break;
        } catch (error) {
          await this.#getOver(error, failures);
        }
      }
      probe("done");
      return "done";
    } catch (error) {
      return await this.#end(error);
    } finally {
      heart.stop();
    }
  }

  /** Does what is left to do, wherever the books stand. */
  async #advance(): Promise<void> {
    await this.#check();
    if (this.#run.row.state === "counting") await this.#count();
    // Not before: knobs that do not fit the definition are for the books to tell.
    this.#copier ??= new Copier(this.#run, aggregateRunner(this.#run) ?? bodyRunner(this.#run.plan, this.#run.signal));
    await this.#copier.copy();
    await this.#verify(this.#copier);
  }

  /** Somebody who holds a lock for long is waited for; anything else comes out. */
  async #getOver(error: unknown, failures: number): Promise<void> {
    const { database, rng } = this.#run.context;
    this.#run.signal.throwIfAborted();
    const isPassing =
      !MigrateError.is(error) && !(error instanceof LeaseLost) && database.dialect.classify(error) === "retry";
    if (!isPassing) throw error;
    this.#run.trouble("retry", messageOf(error));
    await this.#run.rest(retryDelayMs(failures, rng.float()));
    await this.#run.reload();
  }

  /** What can be known to be wrong before the first row is touched. */
  async #check(): Promise<void> {
    await this.#run.plan.requireKey();
    if (this.#run.migration.body.type !== "set") return;
    // A wrong name in an expression is of the definition, not of the row that happens to be the first.
    const nowhere = { after: undefined, upTo: this.#run.plan.key.map(() => null) };
    const { dialect, connection } = this.#run.plan.database;
    await connection.execute(dialect.explain(dialect.toQuery(updateOf(this.#run.plan, nowhere))));
  }

  async #count(): Promise<void> {
    const { ledger, worker, probe } = this.#run.context;
    if (!this.#run.row.isBounded) {
      const last = await this.#run.plan.lastKey();
      const bound = last === undefined ? null : encodeKey(last);
      await ledger.update(this.#run.lease, worker, {
        bound,
        is_bounded: 1,
        ...(bound === null && { is_exhausted: 1 }),
      });
      await this.#run.reload();
      probe("bounded");
    }
    const { total, kind } = await this.#countRows();
    await this.#run.transition({ type: "counted" }, { total, total_kind: kind });
    probe("counted");
    if (this.#run.row.bound === undefined) this.#run.tell(0, 0);
  }

  /** A total is worth only so much time: it is for people, and the work does without. */
  async #countRows(): Promise<{ readonly total: number | null; readonly kind: TotalKind }> {
    if (this.#run.row.bound === undefined) return { total: 0, kind: "exact" };
    const { clock, database } = this.#run.context;
    const { tuning } = this.#run.migration;
    const endMs = clock.monotonic() + tuning.maxCountMs;
    let total = 0;
    let visited = 0;
    const rest = async () => {
      await this.#run.tidyUp();
      await this.#run.sleep(0);
    };
    for await (const range of slicesOf(this.#run.plan, this.#run.bound(), tuning, clock, rest)) {
      if (clock.monotonic() > endMs) {
        const estimate = await database.dialect.estimateRows(database.connection, this.#run.migration.table);
        // The guess is of all rows there are: of which it is about as many as of those that were looked at.
        const share = this.#run.plan.isOfAllRows ? 1 : total / visited;
        if (estimate === undefined || !(share > 0)) return { total: null, kind: "none" };
        return { total: Math.max(Math.round(estimate * share), total), kind: "estimate" };
      }
      // To count a range's keys again is as much work as to find its end.
      const isKnown = this.#run.plan.isOfAllRows && !range.isLast;
      total += isKnown ? range.rows : await this.#run.plan.countIn(range);
      visited += range.rows;
    }
    return { total, kind: "exact" };
  }

  async #verify(copier: Copier): Promise<void> {
    const { quarantine, probe } = this.#run.context;
    if (this.#run.row.state !== "verifying") await this.#run.transition({ type: "exhaust" }, this.#run.spentChanges());
    await copier.retryHeld();
    const setAside = await quarantine.list(this.#run.migration.name);
    const wrong = await this.#findWrong(new Set(setAside.map(({ key }) => key)));
    if (wrong !== undefined) throw new MigrateError("VERIFY_FAILED", `${wrong}; retry visits them again`);
    // Asked again: verification may take hours, and somebody may have looked at them meanwhile.
    const held = (await quarantine.list(this.#run.migration.name)).filter(({ state }) => state === "held");
    if (held.length > 0) {
      throw new MigrateError(
        "QUARANTINED",
        `${held.length} rows are in quarantine, the first with "${held[0]?.error}"; correct them and retry, or skip them`,
      );
    }
    probe("verified");
    probe("before-done");
    await this.#run.transition(
      { type: "verified" },
      { total: sql`rows_done + rows_quarantined`, total_kind: "exact", owner: null },
    );
  }

  async #findWrong(setAside: ReadonlySet<string>): Promise<string | undefined> {
    const verifier = verifierOf(this.#run.plan);
    if (verifier === undefined || this.#run.row.bound === undefined) return undefined;
    const { tuning } = this.#run.migration;
    const { isShared, database } = this.#run.context;
    // Nothing is locked. A server is shared with everybody else, and so may this thread be; a reader in a thread of its own
    // is in nobody's way.
    const isAlone = database.dialect.hasOneWriter && !isShared;
    const rest = async (tookMs: number) => {
      await this.#run.tidyUp();
      await this.#run.sleep(isAlone ? 0 : gapAfter(tookMs, tuning));
      await this.#run.waitForSignals();
    };
    const { plan, row } = this.#run;
    const stride = await Stride.of(plan, this.#run.bound(), row.rowsDone);
    const slices = slicesOf(plan, this.#run.bound(), tuning, this.#run.context.clock, rest, stride);
    return findWrong(verifier, (await suspectsOf(this.#run)) ?? slices, setAside, repairOf(this.#run));
  }

  async #end(error: unknown): Promise<RunOutcome> {
    const { ledger, emit } = this.#run.context;
    const { name } = this.#run.lease;
    const isLost = error instanceof LeaseLost || this.#lost.signal.aborted;
    const isStopped = !isLost && this.#stop.aborted;
    try {
      if (isLost) throw new LeaseLost("lost");
      if (isStopped) {
        await this.#settle({ type: "release" }, { owner: null, lease_expires_at: null, ...this.#run.spentChanges() });
        return "released";
      }
      const told = tellable(error, name);
      const changes = { ...failure(told, ledger.now), owner: null, ...this.#run.spentChanges() };
      await this.#settle({ type: "fail" }, changes, { code: told.code, error: told.message });
      return "failed";
    } catch (last) {
      if (!(last instanceof LeaseLost)) throw last;
      emit({ type: "lost", name });
      return "lost";
    }
  }

  /** How a run ended is worth several attempts: without it, it looks as if somebody still worked. */
  async #settle(event: RunEvent, changes: RunChanges, detail: object = {}): Promise<void> {
    for (const waitMs of [...terminalRetryMs, undefined]) {
      try {
        await this.#run.transition(event, changes, detail);
        return;
      } catch (error) {
        if (error instanceof LeaseLost || MigrateError.is(error) || waitMs === undefined) throw error;
        await this.#run.context.clock.sleep(waitMs);
      }
    }
  }
}

/** The body of a plan. */
export function bodyRunner(plan: Plan, signal: AbortSignal): BodyRunner {
  switch (plan.migration.body.type) {
    case "set":
      return isSplit(plan) ? splitBody(plan) : setBody(plan);
    case "map":
      return mapBody(plan, signal);
    case "run":
      return runBody(plan, signal);
    case "effect":
      return effectBody(plan, signal);
  }
}

function tellable(error: unknown, name: string): MigrateError {
  if (MigrateError.is(error)) return error;
  const isOfDatabase = error instanceof Error && ("code" in error || "errcode" in error);
  const code = isOfDatabase ? "SQL_FAILED" : "BODY_FAILED";
  const what = isOfDatabase ? "the database refused a statement of" : "the body failed of";
  return new MigrateError(code, `${what} "${name}": ${messageOf(error)}`, { cause: error });
}
