import type { Clock } from "./clock.ts";
import { ClockError } from "./clock-error.ts";
import { type SeededRng, seededRng } from "./seeded-rng.ts";
import { type PendingTimer, SimulatedClock } from "./simulated-clock.ts";
import { type Trace, TraceLog } from "./trace.ts";

export interface SimulationOptions {
  /** Decides the order among events due together, and every draw of `rng`. Print it when a test fails. */
  readonly seed: number | bigint;
  /**
   * The wall clock at the start, in integer milliseconds since the Unix epoch.
   * @default 1767225600000, the start of 2026
   */
  readonly startMs?: number;
  /**
   * How much virtual time one `run` or `runUntil` may take, in milliseconds, before it fails with `LIMIT_REACHED`.
   * @default 2592000000, 30 days
   */
  readonly limitMs?: number;
  /**
   * How many events may run at one instant before the simulation fails with `LIMIT_REACHED`: a loop that waits for
   * nothing would stop time for ever.
   * @default 100000
   */
  readonly maxEventsPerInstant?: number;
  /**
   * Whether every timer remembers the stack that set it, for `pending()` and errors. Slower.
   * @default false
   */
  readonly keepOrigins?: boolean;
  /**
   * How many trace lines are kept, in lines. The digest covers all of them.
   * @default 10000
   */
  readonly keptTraceLines?: number;
}

export const simulationDefaults = {
  startMs: 1_767_225_600_000,
  limitMs: 30 * 24 * 3_600_000,
  maxEventsPerInstant: 100_000,
  keepOrigins: false,
  keptTraceLines: 10_000,
} as const satisfies Required<Omit<SimulationOptions, "seed">>;

/** A world of its own in virtual time: nothing in it waits for real time, and its seed decides everything in it. */
export interface Simulation {
  readonly seed: number | bigint;
  readonly clock: Clock;
  readonly rng: SeededRng;
  readonly trace: Trace;
  /**
   * Runs virtual time until what `main` returned settles, and settles the same way. Timers that are left then stay.
   *
   * @throws {ClockError} `DEADLOCK` when nothing is left to run and `main` is still pending, `LIMIT_REACHED` after too
   * much virtual time or too many events at one instant, `ALREADY_RUNNING` inside another call of these methods.
   */
  run<T>(main: () => Promise<T>): Promise<T>;
  /** Runs everything due within the next `delayMs`, then stands exactly there. Throws like `run`. */
  advance(delayMs: number): Promise<void>;
  /** Runs virtual time until the predicate holds, asked between events. Throws like `run`. */
  runUntil(predicate: () => boolean): Promise<void>;
  /** Runs everything that is due without time passing. Throws like `run`. */
  settle(): Promise<void>;
  /** Moves `clock.now()`, and not `clock.monotonic()`, as an operator or NTP does. */
  jumpWallClock(byMs: number): void;
  /**
   * Waits for work outside the simulation, such as a worker thread or a file: virtual time stands still until it
   * settles. Where two of them overlap, their order is real and the trace may differ from run to run.
   */
  external<T>(work: () => Promise<T>): Promise<T>;
  /** What is still to come, in order. */
  pending(): readonly PendingTimer[];
}

// Captured when the module loads: a test may replace the global later.
const realImmediate = globalThis.setImmediate;

/** One real turn: every promise reaction and `nextTick` that is due has run when it resolves. */
const turn = (): Promise<void> => new Promise((resolve) => realImmediate(resolve));

class Simulator implements Simulation {
  readonly seed: number | bigint;
  readonly clock: SimulatedClock;
  readonly rng: SeededRng;
  readonly trace: TraceLog;
  readonly #limitMs: number;
  readonly #maxEventsPerInstant: number;
  #external = 0;
  #isDriven = false;
  #eventsAtInstant = 0;

  constructor(options: SimulationOptions) {
    const resolved = resolveSimulation(options);
    const root = seededRng(resolved.seed);
    this.seed = resolved.seed;
    this.rng = root.fork("rng");
    this.clock = new SimulatedClock(root.fork("order"), resolved.startMs, resolved.keepOrigins);
    this.trace = new TraceLog(() => this.clock.monotonic(), resolved.keptTraceLines);
    this.#limitMs = resolved.limitMs;
    this.#maxEventsPerInstant = resolved.maxEventsPerInstant;
  }

  run<T>(main: () => Promise<T>): Promise<T> {
    return this.#drive(async () => {
      let isSettled = false;
      const result = main().finally(() => {
        isSettled = true;
      });
      // It is awaited below; until then a rejection is not unhandled.
      result.catch(() => {});
      await this.#runUntil(() => isSettled, "main is still pending");
      return await result;
    });
  }

  runUntil(predicate: () => boolean): Promise<void> {
    return this.#drive(() => this.#runUntil(predicate, "the predicate does not hold"));
  }

  advance(delayMs: number): Promise<void> {
    return this.#drive(async () => {
      const untilMs = this.clock.monotonic() + delayMs;
      await this.#runDue(untilMs);
      this.clock.moveTo(untilMs);
    });
  }

  settle(): Promise<void> {
    return this.#drive(() => this.#runDue(this.clock.monotonic()));
  }

  jumpWallClock(byMs: number): void {
    this.clock.jumpWall(byMs);
  }

  async external<T>(work: () => Promise<T>): Promise<T> {
    this.#external++;
    try {
      return await work();
    } finally {
      this.#external--;
    }
  }

  pending(): readonly PendingTimer[] {
    return this.clock.queue.pending();
  }

  async #drive<T>(body: () => Promise<T>): Promise<T> {
    if (this.#isDriven) {
      throw new ClockError(
        "ALREADY_RUNNING",
        "run, runUntil, advance and settle must not overlap; inside of them wait on the simulation's clock instead",
      );
    }
    this.#isDriven = true;
    try {
      return await body();
    } finally {
      this.#isDriven = false;
    }
  }

  async #runUntil(isDone: () => boolean, complaint: string): Promise<void> {
    const limitMs = this.clock.monotonic() + this.#limitMs;
    for (;;) {
      await this.#quiet();
      if (isDone()) return;
      const dueMs = this.clock.queue.peek()?.dueMs ?? Number.POSITIVE_INFINITY;
      if (dueMs === Number.POSITIVE_INFINITY) throw this.#stuck("DEADLOCK", `Nothing is left to run and ${complaint}`);
      if (dueMs > limitMs) throw this.#stuck("LIMIT_REACHED", `After ${this.#limitMs} ms ${complaint}`);
      this.#runNext();
    }
  }

  async #runDue(untilMs: number): Promise<void> {
    for (;;) {
      await this.#quiet();
      const dueMs = this.clock.queue.peek()?.dueMs ?? Number.POSITIVE_INFINITY;
      if (dueMs > untilMs || dueMs === Number.POSITIVE_INFINITY) return;
      this.#runNext();
    }
  }

  /** Resolves when nothing real is under way: reactions have run, and so has external work. */
  async #quiet(): Promise<void> {
    do await turn();
    while (this.#external > 0);
  }

  #runNext(): void {
    const timer = this.clock.queue.shift();
    if (timer === undefined) return;
    if (timer.dueMs > this.clock.monotonic()) this.#eventsAtInstant = 0;
    if (++this.#eventsAtInstant > this.#maxEventsPerInstant) {
      throw this.#stuck("LIMIT_REACHED", `More than ${this.#maxEventsPerInstant} events ran without time passing`);
    }
    this.clock.moveTo(timer.dueMs);
    this.trace.ran(timer.id, timer.dueMs);
    timer.isDone = true;
    timer.callback();
  }

  #stuck(code: "DEADLOCK" | "LIMIT_REACHED", what: string): ClockError {
    const pending = this.pending();
    const shown = pending.slice(0, 20).map(({ kind, dueMs, isRef, origin }) => {
      const due = dueMs === Number.POSITIVE_INFINITY ? "that never ends" : `due at ${dueMs} ms`;
      return `  ${kind} ${due}${isRef ? "" : " (unref)"}${origin === undefined ? "" : `\n${origin}`}`;
    });
    if (pending.length > shown.length) shown.push(`  and ${pending.length - shown.length} more`);
    const last = this.trace.lines().slice(-10);
    return new ClockError(
      code,
      [
        `${what}. Virtual time ${this.clock.monotonic()} ms, seed ${this.seed}.`,
        pending.length === 0 ? "No sleep or timer is pending." : "Pending:",
        ...shown,
        ...(last.length === 0 ? [] : ["Last in the trace:", ...last.map((line) => `  ${line}`)]),
      ].join("\n"),
    );
  }
}

function resolveSimulation(options: SimulationOptions): Required<SimulationOptions> {
  const resolved = {
    seed: options.seed,
    startMs: options.startMs ?? simulationDefaults.startMs,
    limitMs: options.limitMs ?? simulationDefaults.limitMs,
    maxEventsPerInstant: options.maxEventsPerInstant ?? simulationDefaults.maxEventsPerInstant,
    keepOrigins: options.keepOrigins ?? simulationDefaults.keepOrigins,
    keptTraceLines: options.keptTraceLines ?? simulationDefaults.keptTraceLines,
  };
  if (!Number.isSafeInteger(resolved.startMs)) {
    throw new ClockError("OPTIONS_INVALID", `startMs must be an integer, got ${resolved.startMs}`);
  }
  for (const name of ["limitMs", "maxEventsPerInstant", "keptTraceLines"] as const) {
    if (!(resolved[name] > 0))
      throw new ClockError("OPTIONS_INVALID", `${name} must be above 0, got ${resolved[name]}`);
  }
  return resolved;
}

/**
 * A simulated scheduler: runs hours of a program that takes its time from `clock` in milliseconds. Among events due at
 * the same virtual time the seed draws the order, and between any two events all promise reactions run.
 *
 * @throws {ClockError} `OPTIONS_INVALID`.
 */
export function createSimulation(options: SimulationOptions): Simulation {
  return new Simulator(options);
}
