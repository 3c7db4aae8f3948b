import type { Clock, Rng } from "@tidemark/clock";
import { sql } from "drizzle-orm";
import type { ChunkPoint, Spent } from "./chunk.ts";
import type { Migration } from "./definition.ts";
import { tunedBy } from "./options.ts";
import type { Database } from "./dialect.ts";
import { decodeKey } from "./key-codec.ts";
import { type Ledger, type Lease, LeaseLost, type Worker } from "./ledger.ts";
import type { MigrationEvent } from "./migration-event.ts";
import { type Key, Plan } from "./plan.ts";
import type { Quarantine } from "./quarantine.ts";
import type { RunChanges } from "./run-changes.ts";
import type { RunRow } from "./run-row.ts";
import type { RunEvent } from "./run-state.ts";
import type { SignalBoard } from "./signals.ts";

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

/** A run whose lease is held: what the books say of it, and the ways to change that. */
export class RunHandle {
  readonly context: RunContext;
  readonly #defined: Migration;
  readonly lease: Lease;
  readonly plan: Plan;
  /** Aborts when the lease is lost or the caller stops. */
  readonly signal: AbortSignal;
  #row: RunRow;
  #tuned: Migration | undefined;
  #spentMs = 0;
  #yieldedMs = 0;

  constructor(context: RunContext, migration: Migration, claimed: RunRow, lease: Lease, signal: AbortSignal) {
    this.context = context;
    this.#defined = migration;
    this.lease = lease;
    this.signal = signal;
    this.plan = new Plan(migration, context.database, claimed.pass);
    this.#row = claimed;
  }

  /** The definition with its knobs as they are now. @throws {MigrateError} `OPTIONS_INVALID` where they do not fit it */
  get migration(): Migration {
    return (this.#tuned ??= { ...this.#defined, tuning: tunedBy(this.#defined.tuning, this.#row.tuning) });
  }

  /** The books as they were last read or written here. */
  get row(): RunRow {
    return this.#row;
  }

  bound(): Key {
    if (this.#row.bound === undefined) throw new Error("an empty run has no bound");
    return decodeKey(this.#row.bound);
  }

  /** The last key that is done; undefined: none. */
  cursor(): Key | undefined {
    return this.#row.cursor === undefined ? undefined : decodeKey(this.#row.cursor);
  }

  async transition(event: RunEvent, changes: RunChanges, detail: object = {}): Promise<void> {
    const from = this.#row.state;
    const row = await this.context.ledger.transition(this.lease, event, changes, detail);
    this.#accept(row);
    const { name, state: to, throttleReason, error } = row;
    const reason = error ?? throttleReason;
    this.context.emit({ type: "state", name, from, to, ...(reason !== undefined && { reason }) });
  }

  /** The books as they are now; whoever wrote there last may not be this worker. */
  async reload(): Promise<void> {
    this.#accept(await this.context.ledger.read(this.lease.name));
    if (this.#row.fence !== this.lease.fence) throw new LeaseLost("the lease is over");
  }

  /** What a chunk made of the books, in its transaction. */
  advanced(row: RunRow): void {
    this.#accept(row);
  }

  #accept(row: RunRow): void {
    if (row.tuning !== this.#row.tuning) this.#tuned = undefined;
    this.#row = row;
  }

  /** Comes back when no signal objects. Copying shows it as a state, verifying as a reason alone. */
  async waitForSignals(): Promise<void> {
    const { board, ledger, worker } = this.context;
    this.signal.throwIfAborted();
    let shown: string | undefined;
    for (let isWaiting = this.#row.state === "throttled"; ; ) {
      const { isThrottled, reason } = board.verdict(isWaiting);
      if (!isThrottled) break;
      if (this.#row.state === "running") {
        await this.transition({ type: "throttle" }, { throttle_reason: reason ?? null }, { reason });
      } else if (reason !== shown) await ledger.update(this.lease, worker, { throttle_reason: reason ?? null });
      shown = reason;
      isWaiting = true;
      await this.rest(board.intervalMs);
    }
    if (this.#row.state === "throttled") await this.transition({ type: "unthrottle" }, {});
    else if (shown !== undefined) await ledger.update(this.lease, worker, { throttle_reason: null });
  }

  /** Time that the books do not have yet. */
  get spent(): Spent {
    return { spentMs: this.#spentMs, yieldedMs: this.#yieldedMs };
  }

  /** The books have it now, and this has come since. */
  spentAnew(spentMs: number): void {
    this.#spentMs = spentMs;
    this.#yieldedMs = 0;
  }

  spentChanges(): RunChanges {
    return {
      spent_ms: sql`spent_ms + ${this.#spentMs}`,
      yielded_ms: sql`yielded_ms + ${this.#yieldedMs}`,
    };
  }

  tell(lockMs: number, nextRows: number): void {
    const { name, rowsDone, rowsChanged, rowsQuarantined, total } = this.#row;
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
    this.context.emit(progress);
  }

  trouble(kind: "retry" | "split" | "panic" | "quarantine" | "repair" | "fallback", message: string): void {
    this.context.emit({ type: "trouble", name: this.lease.name, kind, message });
  }

  /**
   * Does, while nothing of this run is under way, what others would have to do instead. Not only behind chunks: a read that
   * follows the other keeps those others from finishing it.
   */
  async tidyUp(): Promise<void> {
    const { database, ledger, worker } = this.context;
    await database.connection.tidyUp?.(() => ledger.beating(this.lease, worker));
  }

  async rest(ms: number): Promise<void> {
    const startMs = this.context.clock.monotonic();
    await this.sleep(ms);
    this.#yieldedMs += this.context.clock.monotonic() - startMs;
  }

  sleep(ms: number): Promise<void> {
    if (ms > 0) return this.context.clock.sleep(ms, { signal: this.signal });
    // A timer of nothing takes a millisecond; others of this thread get their turn all the same.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.context.clock.setImmediate(resolve);
    return promise.then(() => this.signal.throwIfAborted());
  }
}
