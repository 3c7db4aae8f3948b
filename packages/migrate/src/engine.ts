import type { Clock, Rng } from "@tidemark/clock";
import { getTableName } from "drizzle-orm";
import { messageOf } from "./body-rows.ts";
import type { SqlExecutor } from "./connection.ts";
import type { Migration } from "./definition.ts";
import type { Database } from "./dialect.ts";
import { type EngineOptions, resolveEngine } from "./engine-options.ts";
import { EventHub } from "./event-hub.ts";
import { Ledger, type RunLogEntry, type Sighting, type Worker } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { Adjustment, Migrations, RetryOptions } from "./migrations.ts";
import { type MigrationTuning, requireAbove, retuned, tunedBy, tuningDefaults } from "./options.ts";
import { decodeKey } from "./key-codec.ts";
import { definitionHash } from "./plan.ts";
import { requireDistinct } from "./require-distinct.ts";
import { Quarantine, type QuarantinedRow } from "./quarantine.ts";
import { type DryRun, rehearse, type RehearsalContext, type Sample, sample } from "./rehearsal.ts";
import type { RunChanges } from "./run-changes.ts";
import type { RunPoint } from "./run-handle.ts";
import type { RunRow } from "./run-row.ts";
import { isActive, type RunState } from "./run-state.ts";
import { bodyRunner, RunSession } from "./run-session.ts";
import { type OwnSignal, SignalBoard } from "./signals.ts";
import { requireLimit, type SignalLimits } from "./signals/signal-request.ts";
import { type MigrationStatus, toStatus } from "./status.ts";

/** What an engine works with. */
export interface EnginePorts {
  readonly database: Database;
  readonly definitions: readonly Migration[];
  readonly options: Required<EngineOptions>;
  readonly clock: Clock;
  readonly rng: Rng;
  /** Who this is, for people. */
  readonly owner: string;
  readonly signals: readonly OwnSignal[];
  /** What is bearable of those that have limits here. */
  readonly limits?: SignalLimits;
  /** Lets go of what signals are read with. */
  readonly closeSignals?: () => Promise<void>;
  readonly isShared: boolean;
  readonly probe?: (point: RunPoint) => void;
}

/** Runs definitions on a database, alone or beside engines in other processes. */
export class MigrationEngine implements Migrations {
  readonly #ports: EnginePorts;
  readonly #ledger: Ledger;
  readonly #quarantine: Quarantine;
  #options: Required<EngineOptions>;
  readonly #worker: Worker;
  /** Runs that are worked on here, and the tables they are about. */
  readonly #busy = new Map<string, string>();
  readonly #hub = new EventHub();
  /** Each lets more runs begin, where `maxRuns` allows it. */
  readonly #growers = new Set<() => void>();
  readonly #hashes: ReadonlyMap<string, string>;
  readonly #stop = new AbortController();
  /** When each run of somebody else was last seen to have another beat, by the monotonic clock. */
  readonly #sightings = new Map<string, Sighting & { readonly sinceMs: number }>();
  #background: Promise<void> | undefined;
  #working: Promise<void> = Promise.resolve();

  private constructor(ports: EnginePorts) {
    this.#ports = ports;
    this.#ledger = new Ledger(ports.database, ports.clock);
    this.#quarantine = new Quarantine(ports.database);
    this.#options = ports.options;
    const options = () => this.#options;
    // They may change. The books keep whole milliseconds.
    this.#worker = {
      owner: ports.owner,
      get leaseMs() {
        return Math.ceil(options().leaseMs);
      },
      get heartbeatMs() {
        return Math.ceil(options().heartbeatMs);
      },
    };
    ports.database.connection.widen?.(ports.options.maxRuns);
    this.#hashes = new Map(ports.definitions.map((each) => [each.name, definitionHash(each, ports.database)]));
  }

  /**
   * Prepares the books and registers the definitions; no table of the user's is looked at.
   *
   * @throws {MigrateError} `DEFINITIONS_INVALID`
   */
  static async open(ports: EnginePorts): Promise<MigrationEngine> {
    requireDistinct(ports.definitions);
    await ports.database.dialect.prepare(ports.database.connection);
    const engine = new MigrationEngine(ports);
    await engine.#ledger.register(
      ports.definitions.map((definition) => ({
        name: definition.name,
        definitionHash: engine.#hashes.get(definition.name) ?? "",
        body: definition.body.type,
        tableName: getTableName(definition.table),
      })),
    );
    return engine;
  }

  events(): AsyncIterableIterator<MigrationEvent, undefined> {
    return this.#hub.subscribe();
  }

  list(): Promise<MigrationStatus[]> {
    return this.#asked(async () => {
      const rows = await this.#ledger.list();
      const nowMs = await this.#ledger.nowMs();
      return rows.map((row) => toStatus(row, nowMs, this.#hashes.get(row.name), this.#waitsFor(row.name, rows)));
    });
  }

  async get(name: string): Promise<MigrationStatus> {
    const found = (await this.list()).find((status) => status.name === name);
    if (found === undefined) throw new MigrateError("NOT_FOUND", `no migration is named "${name}"`);
    return found;
  }

  async pause(name: string): Promise<void> {
    await this.#command(name, "pause");
  }

  async resume(name: string): Promise<void> {
    await this.#command(name, "resume");
  }

  async cancel(name: string): Promise<void> {
    await this.#command(name, "cancel");
  }

  retry(name: string, { from = "cursor" }: RetryOptions = {}): Promise<void> {
    return this.#asked(() => this.#retry(name, from));
  }

  async #retry(name: string, from: "cursor" | "start"): Promise<void> {
    const hash = this.#hashes.get(name);
    const changesFor = (row: RunRow): RunChanges => ({
      run_no: row.runNo + 1,
      error: null,
      error_code: null,
      ended_at: null,
      ...(hash !== undefined && { definition_hash: hash }),
      ...restartOf(row, from),
    });
    const before = await this.#ledger.read(name);
    const { rowsDone, rowsChanged } = before;
    // From the start, what was set aside is visited again like all others.
    const forget = (executor: SqlExecutor) => this.#quarantine.clear(name, executor);
    const detail = { by: "retry", from, rowsDone, rowsChanged };
    const also = from === "start" ? forget : undefined;
    const row = await this.#ledger.command(name, { type: "retry" }, changesFor, detail, also);
    this.#told(before, row);
  }

  async tune(name: string, changes: MigrationTuning): Promise<void> {
    const { tuning } = this.#ports.definitions.find((each) => each.name === name) ?? { tuning: tuningDefaults };
    await this.#asked(() => this.#ledger.tune(name, (json) => retuned(tuning, json, changes)));
  }

  async adjust({ limits = {}, lockTimeoutMs, statementTimeoutMs, idleTimeoutMs, ...changes }: Adjustment) {
    const known = this.#ports.limits ?? new Map<string, number>();
    const given = Object.entries(limits);
    for (const [name, limit] of given) {
      if (!known.has(name)) throw new MigrateError("OPTIONS_INVALID", `signal "${name}" is not read here`);
      requireLimit(name, limit);
    }
    const timeouts = definedOf({ lockTimeoutMs, statementTimeoutMs, idleTimeoutMs });
    for (const [name, value] of Object.entries(timeouts)) requireAbove(name, value, 0);
    const { connection } = this.#ports.database;
    if (Object.keys(timeouts).length > 0 && connection.limit === undefined) {
      throw new MigrateError("OPTIONS_INVALID", "SQLite has no timeouts of a server");
    }
    this.#options = resolveEngine({ ...this.#options, ...definedOf(changes) });
    for (const [name, limit] of given) known.set(name, limit);
    if (changes.maxWalBytes !== undefined && known.has("wal")) known.set("wal", changes.maxWalBytes);
    connection.limit?.(timeouts);
    connection.widen?.(this.#options.maxRuns);
    for (const grow of this.#growers) grow();
  }

  dryRun(name: string, { rows }: { readonly rows?: number } = {}): Promise<DryRun> {
    return this.#asked(async () => {
      const { context, migration, after } = await this.#rehearsal(name);
      const { initialRows } = migration.tuning;
      if (rows !== undefined && !(Number.isSafeInteger(rows) && rows > 0)) {
        throw new MigrateError("OPTIONS_INVALID", `rows must be a whole number above 0, got ${rows}`);
      }
      return rehearse(context, migration, after, rows ?? initialRows);
    });
  }

  sample(name: string, { forMs = 1000 }: { readonly forMs?: number } = {}): Promise<Sample> {
    return this.#asked(async () => {
      requireAbove("forMs", forMs, 0);
      const { context, migration, after, finished } = await this.#rehearsal(name);
      return sample(context, migration, after, finished, forMs);
    });
  }

  async #rehearsal(name: string) {
    const { database, clock, definitions } = this.#ports;
    const definition = definitions.find((each) => each.name === name);
    if (definition === undefined) throw new MigrateError("NOT_FOUND", `no migration is defined as "${name}"`);
    const row = await this.#ledger.read(name);
    const context: RehearsalContext = { database, clock, signal: this.#stop.signal, bodyOf: bodyRunner };
    const migration = { ...definition, tuning: tunedBy(definition.tuning, row.tuning) };
    if (row.cursor === undefined) return { context, migration, after: undefined, finished: 0 };
    return { context, migration, after: decodeKey(row.cursor), finished: row.rowsDone + row.rowsQuarantined };
  }

  async write<T>(work: () => T | Promise<T>): Promise<T> {
    const { connection } = this.#ports.database;
    return connection.alone === undefined ? work() : connection.alone(work);
  }

  quarantined(name: string): Promise<QuarantinedRow[]> {
    return this.#asked(() => this.#quarantine.list(name));
  }

  skipQuarantined(name: string, key: string): Promise<void> {
    return this.#asked(() => this.#skip(name, key));
  }

  async #skip(name: string, key: string): Promise<void> {
    const row = await this.#ledger.read(name);
    const isFound = await this.#ports.database.transaction("write", async (executor) => {
      if (!(await this.#quarantine.skip(name, key, executor))) return false;
      await this.#ledger.record(row, "skipped", { key }, executor);
      return true;
    });
    if (!isFound) throw new MigrateError("NOT_FOUND", `no row ${key} of "${name}" is in quarantine`);
  }

  history(name: string): Promise<RunLogEntry[]> {
    return this.#asked(() => this.#ledger.history(name));
  }

  async requireDone(...names: readonly string[]): Promise<void> {
    const statuses = await this.list();
    for (const name of names) {
      const status = statuses.find((each) => each.name === name);
      if (status === undefined) throw new MigrateError("NOT_FOUND", `no migration is named "${name}"`);
      if (status.state === "done") continue;
      const { state, rowsDone, total, error } = status;
      const because = error === undefined ? "" : `: ${error.message}`;
      const far = `${rowsDone} of ${total ?? "an unknown number of"} rows`;
      throw new MigrateError("NOT_DONE", `"${name}" must be done and is ${state} (${far})${because}`);
    }
  }

  start(): void {
    // Behind a `run()` that is under way: two loops of one process would only compete.
    this.#background ??= this.#working.catch(() => undefined).then(() => this.#lanes(true, this.#stop.signal));
  }

  async run({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<MigrationStatus[]> {
    const stop = signal === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, signal]);
    if (this.#background === undefined) await this.#work(stop);
    else await this.#waitUntilIdle(stop);
    stop.throwIfAborted();
    return (await this.list()).filter(({ name }) => this.#hashes.has(name));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    this.#stop.abort(new MigrateError("CLOSED", "the engine is closed"));
    await this.#background;
    await this.#working.catch(() => undefined);
    this.#hub.close();
    await this.#ports.closeSignals?.();
    await this.#ports.database.connection.close();
  }

  #work(stop: AbortSignal): Promise<void> {
    const turn = this.#working.catch(() => undefined).then(() => this.#lanes(false, stop));
    this.#working = turn;
    return turn;
  }

  /** As many loops beside each other as there may be runs. A run that may come later is looked for by all of them. */
  async #lanes(isForever: boolean, stop: AbortSignal): Promise<void> {
    const lanes: Promise<void>[] = [];
    const grow = () => {
      while (lanes.length < this.#options.maxRuns) {
        const lane = lanes.length;
        lanes.push(this.#loop(isForever, stop, () => lane < this.#options.maxRuns));
      }
    };
    this.#growers.add(grow);
    grow();
    // Whatever one of them throws, the others have given back their leases when this ends.
    let outcomes = await Promise.allSettled(lanes);
    while (outcomes.length < lanes.length) outcomes = await Promise.allSettled(lanes);
    this.#growers.delete(grow);
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  async #loop(isForever: boolean, stop: AbortSignal, isNeeded: () => boolean): Promise<void> {
    const { clock } = this.#ports;
    for (;;) {
      if (stop.aborted) return;
      if (!isNeeded() && !isForever) return;
      let next: "worked" | "others" | "nothing";
      try {
        next = isNeeded() ? await this.#step(stop) : "nothing";
      } catch (error) {
        if (stop.aborted) return;
        // Alone in front of a database that does not answer: whoever waits for a result should know, the background
        // goes on trying.
        this.#orLater(error, isForever);
        next = "others";
      }
      if (next === "worked") continue;
      if (next === "nothing" && !isForever) return;
      await clock.sleep(this.#options.pollMs, { signal: stop, isRef: !isForever }).catch(() => undefined);
    }
  }

  /** Tells what is asked again later, and throws what is not. */
  #orLater(error: unknown, isForever = false): undefined {
    const told = this.#toldError(error);
    if (!isForever && !told.retryable) throw told;
    this.#hub.emit({ type: "error", error: told });
  }

  async #waitUntilIdle(stop: AbortSignal): Promise<void> {
    const { clock, definitions } = this.#ports;
    for (;;) {
      stop.throwIfAborted();
      const rows = await this.#ledger.list().catch((error: unknown) => this.#orLater(error));
      const isIdle = definitions.every(({ name }) => {
        if (rows === undefined) return false;
        const row = rows.find((each) => each.name === name);
        if (row === undefined || this.#waitsFor(name, rows).length > 0) return true;
        return row.state !== "registered" && !isActive(row.state);
      });
      if (isIdle) return;
      await clock.sleep(Math.min(this.#options.pollMs, 100), { signal: stop });
    }
  }

  /** Works on one run. `others`: there are runs that somebody else works on. */
  async #step(stop: AbortSignal): Promise<"worked" | "others" | "nothing"> {
    const { definitions, clock } = this.#ports;
    const rows = await this.#ledger.list();
    const nowMs = await this.#ledger.nowMs();
    let hasOthers = false;
    for (const definition of definitions) {
      const row = rows.find(({ name }) => name === definition.name);
      if (row === undefined || this.#waitsFor(row.name, rows).length > 0) continue;
      if (row.state !== "registered" && !isActive(row.state)) continue;
      const dead = this.#watch(row, clock.monotonic());
      const isFree = row.state === "registered" || (row.leaseExpiresAt ?? 0) <= nowMs || dead !== undefined;
      const table = getTableName(definition.table);
      const isBusy = this.#busy.has(row.name) || [...this.#busy.values()].includes(table);
      if (!isFree || isBusy) {
        hasOthers = true;
        continue;
      }
      this.#busy.set(row.name, table);
      try {
        if (await this.#workOn(definition, row.state, dead, stop)) return "worked";
      } finally {
        this.#busy.delete(row.name);
      }
      hasOthers = true;
    }
    return hasOthers ? "others" : "nothing";
  }

  /** `from`: the state it was found in, which is not `registered` where a dead worker left it. */
  async #workOn(
    definition: Migration,
    from: RunState,
    dead: Sighting | undefined,
    stop: AbortSignal,
  ): Promise<boolean> {
    const { name } = definition;
    const { database, clock, rng, signals, isShared, probe } = this.#ports;
    const hash = this.#hashes.get(name) ?? "";
    const claimed = await this.#ledger.claim(name, hash, this.#worker, dead).catch((error: unknown) => {
      if (MigrateError.is(error) && error.code === "DEFINITION_DRIFTED") return error;
      throw error;
    });
    if (claimed === undefined) return false;
    if (MigrateError.is(claimed)) {
      this.#hub.emit({ type: "state", name, from, to: "failed", reason: claimed.message });
      return true;
    }
    const { row, lease } = claimed;
    this.#hub.emit({ type: "state", name, from, to: row.state });
    let session: RunSession | undefined;
    const run = { table: definition.table, rowsChanged: () => session?.rowsChanged ?? row.rowsChanged };
    const board = new SignalBoard(signals, run, clock, () => {
      return { ...this.#options, intervalMs: this.#options.signalIntervalMs };
    });
    try {
      await board.start(stop);
      const context = {
        database,
        ledger: this.#ledger,
        quarantine: this.#quarantine,
        worker: this.#worker,
        clock,
        rng,
        board,
        isShared,
        emit: this.#hub.emit,
        probe: probe ?? (() => {}),
      };
      session = new RunSession(context, definition, row, lease, stop);
      await session.work();
    } finally {
      board.close();
    }
    return true;
  }

  /** A run that has not shown a new beat for a whole lease, by this process's own clock; its worker may have a longer one. */
  #watch({ name, fence, beat, state, heartbeatMs }: RunRow, nowMs: number): Sighting | undefined {
    const seen = this.#sightings.get(name);
    if (!isActive(state) || seen === undefined || seen.fence !== fence || seen.beat !== beat) {
      this.#sightings.set(name, { fence, beat, sinceMs: nowMs });
      return undefined;
    }
    return nowMs - seen.sinceMs >= Math.max(this.#worker.leaseMs, 3 * heartbeatMs) ? { fence, beat } : undefined;
  }

  #waitsFor(name: string, rows: readonly RunRow[]): string[] {
    const { dependsOn = [] } = this.#ports.definitions.find((each) => each.name === name) ?? {};
    return dependsOn.filter((needed) => rows.find((row) => row.name === needed)?.state !== "done");
  }

  async #command(name: string, type: "pause" | "resume" | "cancel"): Promise<void> {
    await this.#asked(async () => {
      const before = await this.#ledger.read(name);
      this.#told(before, await this.#ledger.command(name, { type }));
    });
  }

  /** What of a caller's call may fail in the database, as an error of this package. */
  async #asked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#toldError(error);
    }
  }

  #toldError(error: unknown): MigrateError {
    if (MigrateError.is(error)) return error;
    const retryable = this.#ports.database.dialect.classify(error) === "retry";
    return new MigrateError("SQL_FAILED", `the database refused a statement: ${messageOf(error)}`, {
      cause: error,
      retryable,
    });
  }

  #told(before: RunRow, after: RunRow): void {
    if (before.state === after.state) return;
    this.#hub.emit({ type: "state", name: after.name, from: before.state, to: after.state });
  }
}

function definedOf<T extends object>(values: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

/** What a new run starts with. */
function restartOf(row: RunRow, from: "cursor" | "start"): RunChanges {
  if (from === "start") {
    return {
      cursor: null,
      bound: null,
      is_bounded: 0,
      is_exhausted: 0,
      pass: "copy",
      total: null,
      total_kind: "pending",
      rows_done: 0,
      rows_changed: 0,
      rows_quarantined: 0,
    };
  }
  // Everything was visited and something is still wrong: visit what is wrong.
  if (row.errorCode === "VERIFY_FAILED") return { cursor: null, is_exhausted: 0, pass: "repair" };
  return {};
}
