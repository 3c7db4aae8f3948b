import type { Clock, Rng } from "@tidemark/clock";
import { sql } from "drizzle-orm";
import { effectBody, mapBody, messageOf } from "./body-rows.ts";
import { runBody, setBody, updateOf } from "./body-sql.ts";
import {
  type BodyRunner,
  type ChunkContext,
  type ChunkPoint,
  type ChunkResult,
  performChunk,
  quarantineNext,
  retryQuarantined,
} from "./chunk.ts";
import type { Migration } from "./definition.ts";
import type { Database } from "./dialect.ts";
import { Heart } from "./heart.ts";
import { decodeKey, encodeKey } from "./key-codec.ts";
import { failure, type Ledger, type Lease, LeaseLost, type RunChanges, type Worker } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import type { MigrationEvent } from "./migration-event.ts";
import { gapAfter, retryDelayMs } from "./pace.ts";
import { type Key, Plan } from "./plan.ts";
import type { Quarantine } from "./quarantine.ts";
import type { RunRow, TotalKind } from "./run-row.ts";
import type { RunEvent } from "./run-state.ts";
import { initialServo, nextServo, type ServoEvent, type ServoState } from "./servo.ts";
import type { SignalBoard } from "./signals.ts";
import { countIn, describeWrong, verifierOf } from "./verifier.ts";

/** Where a test can throw or kill. */
export type RunPoint =
  | ChunkPoint
  | "claimed"
  | "bounded"
  | "counted"
  | "exhausted"
  | "verified"
  | "before-done"
  | "done";

export interface RunContext {
  readonly database: Database;
  readonly ledger: Ledger;
  readonly quarantine: Quarantine;
  readonly worker: Worker;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly board: SignalBoard;
  /** Whether the thread has others to serve: then all of a chunk's time counts, not only that of its locks. */
  readonly isShared: boolean;
  readonly emit: (event: MigrationEvent) => void;
  readonly probe: (point: RunPoint) => void;
}

/** How the work on a lease ended. `released`: because this process was told to stop. */
export type RunOutcome = "done" | "failed" | "released" | "lost";

/** Chunks of the smallest size that may be cut short in a row. */
const maxCuts = 5;
/** Waits between attempts to write how a run ended. */
const terminalRetryMs = [100, 500, 2000] as const;

/** The work on one run for as long as its lease is held. */
export class RunSession {
  readonly #context: RunContext;
  readonly #migration: Migration;
  readonly #lease: Lease;
  readonly #plan: Plan;
  readonly #body: BodyRunner;
  readonly #chunks: ChunkContext;
  /** Aborts when the lease is lost or the caller stops. */
  readonly #abort = new AbortController();
  readonly #stop: AbortSignal;
  #row: RunRow;
  #servo: ServoState;
  /** Rows that a search for a poisonous row allows; undefined while there is none. */
  #narrowed: number | undefined;
  #spentMs = 0;
  #yieldedMs = 0;

  constructor(context: RunContext, migration: Migration, claimed: RunRow, lease: Lease, stop: AbortSignal) {
    this.#context = context;
    this.#migration = migration;
    this.#lease = lease;
    this.#row = claimed;
    this.#stop = stop;
    this.#plan = new Plan(migration, context.database, claimed.pass);
    this.#servo = initialServo(migration.tuning);
    const signal = AbortSignal.any([stop, this.#abort.signal]);
    this.#body = bodyRunner(this.#plan, signal);
    const { ledger, quarantine, worker, probe, clock } = context;
    this.#chunks = {
      plan: this.#plan,
      ledger,
      quarantine,
      runNo: claimed.runNo,
      lease,
      worker,
      signal,
      probe,
      monotonic: () => clock.monotonic(),
    };
  }

  /** Works until the run is over or the lease is. Rejects only when not even a failure could be written. */
  async work(): Promise<RunOutcome> {
    const { ledger, worker, clock, probe } = this.#context;
    const heart = new Heart(clock, worker.heartbeatMs, async () => {
      try {
        await ledger.update(this.#lease, worker, {});
      } catch (error) {
        if (error instanceof LeaseLost) this.#abort.abort(error);
      }
    });
    try {
      probe("claimed");
      await this.#check();
      if (this.#row.state === "counting") await this.#count();
      await this.#copy();
      await this.#verify();
      probe("done");
      return "done";
    } catch (error) {
      return await this.#end(error);
    } finally {
      heart.stop();
    }
  }

  /** What can be known to be wrong before the first row is touched. */
  async #check(): Promise<void> {
    await this.#plan.requireKey();
    if (this.#migration.body.type !== "set") return;
    // A wrong name in an expression is of the definition, not of the row that happens to be the first.
    const nowhere = { after: undefined, upTo: this.#plan.key.map(() => null) };
    const { sql: text, params } = this.#plan.database.dialect.toQuery(updateOf(this.#plan, nowhere));
    await this.#plan.database.connection.execute({ sql: `explain ${text}`, params });
  }

  async #count(): Promise<void> {
    const { ledger, worker, probe, clock } = this.#context;
    if (!this.#row.isBounded) {
      const last = await this.#plan.lastKey();
      const bound = last === undefined ? null : encodeKey(last);
      await ledger.update(this.#lease, worker, { bound, is_bounded: 1, ...(bound === null && { is_exhausted: 1 }) });
      await this.#reload();
      probe("bounded");
    }
    const startMs = clock.monotonic();
    let total = 0;
    let kind: TotalKind = "exact";
    let after: Key | undefined;
    let servo = initialServo(this.#migration.tuning);
    for (let isOver = this.#row.bound === undefined; !isOver; ) {
      if (clock.monotonic() - startMs > this.#migration.tuning.maxCountMs) {
        const estimate = await this.#plan.database.dialect.estimateRows(
          this.#plan.database.connection,
          this.#plan.tableName,
        );
        kind = estimate === undefined ? "none" : "estimate";
        total = Math.max(total, estimate ?? 0);
        break;
      }
      const sliceMs = clock.monotonic();
      const range = await this.#plan.nextRange(after, this.#bound(), servo.rows);
      total += await countIn(this.#plan, range);
      after = range.upTo;
      isOver = range.isLast;
      [servo] = nextServo(
        servo,
        { type: "measured", rows: servo.rows, tookMs: clock.monotonic() - sliceMs },
        this.#migration.tuning,
      );
      await this.#sleep(0);
    }
    await this.#transition({ type: "counted" }, { total: kind === "none" ? null : total, total_kind: kind });
    probe("counted");
    if (this.#row.bound === undefined) this.#tell(0);
  }

  async #copy(): Promise<void> {
    if (!this.#row.isExhausted) await this.#retryHeld();
    for (let failures = 0; !this.#row.isExhausted; ) {
      await this.#waitForSignals();
      const limit = Math.min(this.#servo.rows, this.#narrowed ?? Number.POSITIVE_INFINITY);
      const spent = { spentMs: this.#spentMs, yieldedMs: this.#yieldedMs };
      let result: ChunkResult;
      try {
        const after = this.#row.cursor === undefined ? undefined : decodeKey(this.#row.cursor);
        result = await performChunk(this.#chunks, this.#body, after, this.#bound(), limit, spent);
      } catch (error) {
        this.#chunks.signal.throwIfAborted();
        failures++;
        await this.#recover(error, limit, failures);
        continue;
      }
      failures = 0;
      this.#spentMs = 0;
      this.#yieldedMs = 0;
      await this.#account(result, limit);
    }
    this.#context.probe("exhausted");
  }

  async #account(result: ChunkResult, limit: number): Promise<void> {
    const { tuning } = this.#migration;
    await this.#reload();
    this.#spentMs += result.tookMs;
    if (this.#narrowed !== undefined) {
      this.#narrowed = this.#narrowed * 2 >= this.#servo.rows ? undefined : this.#narrowed * 2;
    }
    // Work without locks has a budget of its own, scaled to that of the locks.
    const sampleMs = this.#context.isShared
      ? result.tookMs
      : Math.max(result.lockMs, result.tookMs * (tuning.targetMs / tuning.maxChunkMs));
    if (!result.isLast) this.#steer({ type: "measured", rows: limit, tookMs: sampleMs });
    if (result.poison.length > 0) {
      this.#trouble("quarantine", `${result.poison.length} rows; the first: ${result.poison[0]?.error}`);
    }
    if (result.done + result.poison.length > 0) this.#tell(result.lockMs);
    this.#requireFewQuarantined();
    // While a chunk is prepared the locks are free: that is a rest for others already.
    const restedMs = result.tookMs - result.lockMs;
    if (!this.#row.isExhausted) await this.#rest(gapAfter(Math.max(result.lockMs - restedMs, 0), tuning));
  }

  /** Finds out what an error of a chunk asks for; throws it when nothing can be done. */
  async #recover(error: unknown, limit: number, failures: number): Promise<void> {
    if (error instanceof LeaseLost) throw error;
    const { rng, database } = this.#context;
    const failure = MigrateError.is(error) ? "fatal" : database.dialect.classify(error);
    switch (failure) {
      case "fatal":
        throw error;
      case "retry":
        this.#trouble("retry", messageOf(error));
        await this.#rest(retryDelayMs(failures, rng.float()));
        break;
      case "split":
        if (limit <= this.#migration.tuning.minRows && failures >= maxCuts) throw error;
        this.#steer({ type: "cut" });
        break;
      case "poison":
        if (limit > 1) {
          this.#narrowed = Math.floor(limit / 2);
          this.#trouble("split", `a row of ${limit} is refused: ${messageOf(error)}`);
        } else await this.#setAside(error);
        break;
    }
    // Whether the chunk was committed is for the database to say.
    await this.#reload();
  }

  async #setAside(error: unknown): Promise<void> {
    const after = this.#row.cursor === undefined ? undefined : decodeKey(this.#row.cursor);
    const { upTo } = await this.#plan.nextRange(after, this.#bound(), 1);
    const row = { key: upTo, error: messageOf(error) };
    await quarantineNext(this.#chunks, row, { spentMs: this.#spentMs, yieldedMs: this.#yieldedMs });
    this.#spentMs = 0;
    this.#yieldedMs = 0;
    this.#trouble("quarantine", `${encodeKey(upTo)}: ${row.error}`);
    await this.#reload();
    this.#tell(0);
    this.#requireFewQuarantined();
  }

  async #verify(): Promise<void> {
    const { quarantine, probe } = this.#context;
    if (this.#row.state !== "verifying") await this.#transition({ type: "exhaust" }, this.#spentChanges());
    await this.#retryHeld();
    const setAside = await quarantine.list(this.#migration.name);
    const wrong = await this.#findWrong(new Set(setAside.map(({ key }) => key)));
    if (wrong !== undefined) throw new MigrateError("VERIFY_FAILED", `${wrong}; retry visits them again`);
    const held = setAside.filter(({ state }) => state === "held");
    if (held.length > 0) {
      throw new MigrateError(
        "QUARANTINED",
        `${held.length} rows are in quarantine, the first with "${held[0]?.error}"; correct them and retry, or skip them`,
      );
    }
    probe("verified");
    probe("before-done");
    await this.#transition(
      { type: "verified" },
      { total: sql`rows_done + rows_quarantined`, total_kind: "exact", owner: null, throttle_reason: null },
    );
  }

  /** Rows that an earlier run set aside get another chance before anything is judged. */
  async #retryHeld(): Promise<void> {
    const { quarantine, ledger, worker, database } = this.#context;
    const held = (await quarantine.list(this.#migration.name)).filter(
      ({ state, runNo }) => state === "held" && runNo < this.#row.runNo,
    );
    for (const { key } of held) {
      try {
        await retryQuarantined(this.#chunks, this.#body, decodeKey(key));
      } catch (error) {
        this.#chunks.signal.throwIfAborted();
        if (error instanceof LeaseLost || database.dialect.classify(error) !== "poison") throw error;
        await database.transaction("write", async (executor) => {
          await ledger.hold(this.#lease, executor);
          await quarantine.hold(this.#migration.name, this.#row.runNo, key, messageOf(error), ledger.now, executor);
          await ledger.update(this.#lease, worker, {}, executor);
        });
      }
      await this.#rest(this.#migration.tuning.minGapMs);
    }
    await this.#reload();
  }

  async #findWrong(setAside: ReadonlySet<string>): Promise<string | undefined> {
    const { clock } = this.#context;
    const verifier = verifierOf(this.#plan);
    if (verifier === undefined || this.#row.bound === undefined) return undefined;
    const wrong: string[] = [];
    let after: Key | undefined;
    let servo = initialServo(this.#migration.tuning);
    for (let isOver = false; !isOver; ) {
      const startMs = clock.monotonic();
      const range = await this.#plan.nextRange(after, this.#bound(), servo.rows);
      wrong.push(...(await verifier.wrongIn(range)).filter((key) => !setAside.has(key)));
      if (wrong.length >= 100) return describeWrong(wrong, false);
      after = range.upTo;
      isOver = range.isLast;
      const tookMs = clock.monotonic() - startMs;
      [servo] = nextServo(servo, { type: "measured", rows: servo.rows, tookMs }, this.#migration.tuning);
      // Nothing is locked, but the disk and the processor are shared.
      await this.#sleep(gapAfter(tookMs, this.#migration.tuning));
    }
    return wrong.length === 0 ? undefined : describeWrong(wrong, true);
  }

  async #waitForSignals(): Promise<void> {
    const { board } = this.#context;
    this.#chunks.signal.throwIfAborted();
    let { isThrottled, reason } = board.verdict(this.#row.state === "throttled");
    if (isThrottled && this.#row.state === "running") {
      await this.#transition({ type: "throttle" }, { throttle_reason: reason ?? null }, { reason });
    }
    while (isThrottled) {
      await this.#rest(board.intervalMs);
      const next = board.verdict(true);
      if (next.isThrottled && next.reason !== reason) {
        const changes = { throttle_reason: next.reason ?? null };
        await this.#context.ledger.update(this.#lease, this.#context.worker, changes);
      }
      ({ isThrottled, reason } = next);
    }
    if (this.#row.state === "throttled") await this.#transition({ type: "unthrottle" }, { throttle_reason: null });
  }

  async #end(error: unknown): Promise<RunOutcome> {
    const { ledger, emit } = this.#context;
    const { name } = this.#migration;
    const isLost = error instanceof LeaseLost || this.#abort.signal.aborted;
    const isStopped = !isLost && this.#stop.aborted;
    try {
      if (isLost) throw new LeaseLost("lost");
      if (isStopped) {
        await this.#settle({ type: "release" }, { owner: null, lease_expires_at: null, ...this.#spentChanges() });
        return "released";
      }
      const told = tellable(error, name);
      const changes = { ...failure(told, ledger.now), owner: null, ...this.#spentChanges() };
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
        await this.#transition(event, changes, detail);
        return;
      } catch (error) {
        if (error instanceof LeaseLost || MigrateError.is(error) || waitMs === undefined) throw error;
        await this.#context.clock.sleep(waitMs);
      }
    }
  }

  async #transition(event: RunEvent, changes: RunChanges, detail: object = {}): Promise<void> {
    const from = this.#row.state;
    this.#row = await this.#context.ledger.transition(this.#lease, event, changes, detail);
    const { name, state: to, throttleReason, error } = this.#row;
    const reason = error ?? throttleReason;
    this.#context.emit({ type: "state", name, from, to, ...(reason !== undefined && { reason }) });
  }

  /** The books as they are now; whoever wrote there last may not be this worker. */
  async #reload(): Promise<void> {
    this.#row = await this.#context.ledger.read(this.#migration.name);
    if (this.#row.fence !== this.#lease.fence) throw new LeaseLost("the lease is over");
  }

  #steer(event: ServoEvent): void {
    const [next, note] = nextServo(this.#servo, event, this.#migration.tuning);
    this.#servo = next;
    if (note !== undefined) this.#trouble(note, `${next.rows} rows from now on`);
  }

  #requireFewQuarantined(): void {
    const { maxQuarantined } = this.#migration.tuning;
    if (this.#row.rowsQuarantined <= maxQuarantined) return;
    throw new MigrateError(
      "QUARANTINE_FULL",
      `${this.#row.rowsQuarantined} rows are in quarantine, and maxQuarantined is ${maxQuarantined}; ` +
        "correct the definition or the rows and retry",
    );
  }

  #bound(): Key {
    if (this.#row.bound === undefined) throw new Error("an empty run has no bound");
    return decodeKey(this.#row.bound);
  }

  #spentChanges(): RunChanges {
    return {
      spent_ms: sql`spent_ms + ${this.#spentMs}`,
      yielded_ms: sql`yielded_ms + ${this.#yieldedMs}`,
    };
  }

  #tell(lockMs: number): void {
    const { name, rowsDone, rowsChanged, rowsQuarantined, total } = this.#row;
    const nextRows = this.#servo.rows;
    const progress = {
      type: "progress",
      name,
      rowsDone,
      rowsChanged,
      rowsQuarantined,
      total,
      lockMs,
      nextRows,
    } as const;
    this.#context.emit(progress);
  }

  #trouble(kind: "retry" | "split" | "panic" | "quarantine", message: string): void {
    this.#context.emit({ type: "trouble", name: this.#migration.name, kind, message });
  }

  async #rest(ms: number): Promise<void> {
    const startMs = this.#context.clock.monotonic();
    await this.#sleep(ms);
    this.#yieldedMs += this.#context.clock.monotonic() - startMs;
  }

  #sleep(ms: number): Promise<void> {
    return this.#context.clock.sleep(ms, { signal: this.#chunks.signal });
  }
}

function bodyRunner(plan: Plan, signal: AbortSignal): BodyRunner {
  switch (plan.migration.body.type) {
    case "set":
      return setBody(plan);
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
