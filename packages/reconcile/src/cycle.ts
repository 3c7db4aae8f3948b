import { channel } from "node:diagnostics_channel";
import { type Clock, type Rng, systemClock, systemRng, type Timer } from "@tidemark/clock";
import { EventHub } from "@tidemark/stream/internal";
import { CycleBooks } from "./books.ts";
import { CycleRun } from "./cycle-run.ts";
import { initialSchedule, nextSchedule, type ScheduleEvent, type ScheduleState } from "./cycle-schedule.ts";
import type {
  CycleDefinition,
  CycleEvent,
  CycleOptions,
  CycleReport,
  CycleStatus,
  FailedItem,
  SetAsideChange,
} from "./cycle-types.ts";
import { requireAtLeast, requireName } from "./options.ts";
import type { ItemCounts, Overdue } from "./phase.ts";
import { ReconcileError } from "./reconcile-error.ts";

const ended = channel("tidemark:reconcile.cycle.ended");

/**
 * Checks a definition and returns it.
 *
 * @throws {ReconcileError} `OPTIONS_INVALID`: names that are empty or used twice, or a phase that requires one which does
 * not come before it.
 */
export function defineCycle<Tx>(definition: CycleDefinition<Tx>): CycleDefinition<Tx> {
  requireName("A cycle", definition.name);
  requireAtLeast(`${definition.name}: everyMs`, definition.everyMs, 1);
  requireAtLeast(`${definition.name}: finalizeConcurrency`, definition.finalizeConcurrency ?? 1, 1);
  const before = new Set<string>();
  for (const each of definition.phases) {
    requireName(`A phase of ${definition.name}`, each.name);
    if (before.has(each.name)) {
      throw new ReconcileError("OPTIONS_INVALID", `${definition.name} has two phases with the name ${each.name}`);
    }
    const missing = each.requires.find((name) => !before.has(name));
    if (missing !== undefined) {
      const text = `${definition.name}: ${each.name} requires ${missing}, which is not a phase before it`;
      throw new ReconcileError("OPTIONS_INVALID", text);
    }
    before.add(each.name);
  }
  return definition;
}

/**
 * Starts a cycle: the first run begins at once. Creates its tables where they are missing.
 *
 * @throws {ReconcileError} `STATE_FAILED` when the state database cannot be used, `OPTIONS_INVALID`.
 */
export async function openCycle<Tx>(definition: CycleDefinition<Tx>, options: CycleOptions<Tx>): Promise<Cycle> {
  const books = new CycleBooks(options.state, defineCycle(definition).name);
  await books.create();
  const engine = new CycleEngine(definition, books, options.clock ?? systemClock, options.rng ?? systemRng);
  engine.start();
  return engine;
}

/** A cycle that runs until it is closed. */
export interface Cycle extends AsyncDisposable {
  readonly name: string;
  status(): CycleStatus;
  /** What happens from now on. Leaving the loop lets go of it. */
  events(): AsyncIterable<CycleEvent>;
  /** Wants a cycle now. While one runs it is followed by one more, however often this is called. */
  trigger(): void;
  /**
   * Has the finalizers look at keys, at the latest in the next cycle, also after a crash. A key that is marked while it is
   * being finalised is finalised again in the next one.
   */
  markDirty(...keys: string[]): Promise<void>;
  /** Resolves with the report of the first cycle that begins after this call. */
  next(options?: NextCycleOptions): Promise<CycleReport>;
  /** Items that failed when they ran last, those that are quarantined among them. */
  failures(): Promise<FailedItem[]>;
  /** Changes that a change phase went on without. They stay until `discard`. */
  setAside(): Promise<SetAsideChange[]>;
  /** Makes an item new again, quarantined or waiting, from the next cycle on. False: the books do not have it. */
  retry(phase: string, key: string): Promise<boolean>;
  /** Takes a change off the list of those set aside, once somebody has dealt with it. */
  discard(phase: string, position: bigint): Promise<void>;
  /** Ends the cycle that runs, through its signal, and starts no other. */
  close(): Promise<void>;
}

export interface NextCycleOptions {
  readonly signal?: AbortSignal;
  /**
   * Whether the end of the cycle that runs counts, too.
   * @default false
   */
  readonly includeCurrent?: boolean;
}

interface Waiter {
  readonly afterNo: number;
  readonly resolve: (report: CycleReport) => void;
  readonly reject: (error: Error) => void;
}

class CycleEngine<Tx> implements Cycle {
  readonly name: string;
  readonly #definition: CycleDefinition<Tx>;
  readonly #books: CycleBooks<Tx>;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #hub = new EventHub<Exclude<CycleEvent, { readonly type: "skipped" }>>();
  readonly #overdue = new Map<string, Overdue>();
  readonly #abort = new AbortController();
  readonly #finished = Promise.withResolvers<void>();
  #schedule: ScheduleState = initialSchedule;
  #timer: Timer | undefined;
  #cycleNo = 0;
  #startedAt = 0;
  #phase: string | undefined;
  #items: ItemCounts | undefined;
  #last: CycleReport | undefined;
  #waiters: Waiter[] = [];

  constructor(definition: CycleDefinition<Tx>, books: CycleBooks<Tx>, clock: Clock, rng: Rng) {
    this.name = definition.name;
    this.#definition = definition;
    this.#books = books;
    this.#clock = clock;
    this.#rng = rng;
  }

  start(): void {
    this.#apply({ type: "tick" });
  }

  status(): CycleStatus {
    const { type } = this.#schedule;
    const isRunning = type === "running" || type === "closing";
    let overdue = 0;
    for (const each of this.#overdue.values()) overdue += each.size;
    return {
      state: isRunning ? "running" : type,
      cycleNo: this.#cycleNo,
      phase: this.#phase,
      items: this.#items,
      runningMs: isRunning ? this.#clock.monotonic() - this.#startedAt : undefined,
      last: this.#last,
      overdue,
    };
  }

  events(): AsyncIterable<CycleEvent> {
    return this.#hub.subscribe();
  }

  trigger(): void {
    this.#requireOpen();
    this.#apply({ type: "trigger" });
  }

  async markDirty(...keys: string[]): Promise<void> {
    this.#requireOpen();
    await this.#books.markDirty(keys);
  }

  async next({ signal, includeCurrent = false }: NextCycleOptions = {}): Promise<CycleReport> {
    this.#requireOpen();
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<CycleReport>();
    const waiter = { afterNo: includeCurrent ? 0 : this.#cycleNo, resolve, reject };
    const onAbort = () => reject(signal?.reason);
    this.#waiters.push(waiter);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#waiters = this.#waiters.filter((each) => each !== waiter);
    }
  }

  async failures(): Promise<FailedItem[]> {
    const found: FailedItem[] = [];
    for (const { name } of this.#definition.phases) {
      for (const { item: key, failures, isQuarantined, error, updatedMs: atMs } of await this.#books.attempts(name)) {
        found.push({ phase: name, key, failures, isQuarantined, error, atMs });
      }
    }
    return found;
  }

  async setAside(): Promise<SetAsideChange[]> {
    const found: SetAsideChange[] = [];
    for (const { name } of this.#definition.phases) {
      for (const row of await this.#books.setAside(name)) found.push({ phase: name, ...row });
    }
    return found;
  }

  async retry(phase: string, key: string): Promise<boolean> {
    this.#requirePhase(phase);
    return (await this.#books.forgetAttempts(phase, [key])) > 0;
  }

  async discard(phase: string, position: bigint): Promise<void> {
    this.#requirePhase(phase);
    await this.#books.store.commit([this.#books.takeBackStatement(phase, position)]);
  }

  close(): Promise<void> {
    this.#apply({ type: "close" });
    return this.#finished.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #apply(event: ScheduleEvent): void {
    const [state, ...effects] = nextSchedule(this.#schedule, event);
    this.#schedule = state;
    for (const effect of effects) {
      if (effect.type === "start") void this.#runCycle();
      else if (effect.type === "cancel") this.#cancel();
      else this.#finish();
    }
  }

  async #runCycle(): Promise<void> {
    const cycleNo = ++this.#cycleNo;
    this.#startedAt = this.#clock.monotonic();
    this.#timer?.cancel();
    // Keeps the process alive: following what changes is its work until it is closed.
    this.#timer = this.#clock.setTimer(this.#definition.everyMs, () => this.#apply({ type: "tick" }));
    this.#hub.emit({ type: "started", cycleNo });
    const report = await new CycleRun({
      definition: this.#definition,
      books: this.#books,
      clock: this.#clock,
      rng: this.#rng,
      context: {
        signal: this.#abort.signal,
        cycleNo,
        nowMs: this.#clock.now(),
        markDirty: async (...keys) => {
          await this.#books.markDirty(keys);
        },
      },
      overdue: this.#overdue,
      progress: (items) => {
        this.#items = items;
      },
      onPhase: (name) => {
        this.#phase = name;
        this.#items = undefined;
      },
      onReport: (each) => this.#hub.emit({ type: "phase", cycleNo, report: each }),
    }).run();
    this.#last = report;
    this.#hub.emit({ type: "ended", report });
    if (ended.hasSubscribers) ended.publish({ cycle: this.name, ...report });
    for (const waiter of this.#waiters) if (waiter.afterNo < cycleNo) waiter.resolve(report);
    this.#apply({ type: "ended" });
  }

  #cancel(): void {
    this.#timer?.cancel();
    this.#abort.abort(new ReconcileError("CLOSED", `${this.name} was closed`));
  }

  #finish(): void {
    this.#cancel();
    const closed = new ReconcileError("CLOSED", `${this.name} was closed before another cycle`);
    for (const waiter of this.#waiters) waiter.reject(closed);
    this.#hub.close();
    this.#finished.resolve();
  }

  #requireOpen(): void {
    if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
  }

  #requirePhase(name: string): void {
    if (this.#definition.phases.some((each) => each.name === name)) return;
    const names = this.#definition.phases.map((each) => each.name).join(", ");
    throw new ReconcileError("NOT_FOUND", `${this.name} has no phase ${name}, only ${names}`);
  }
}
