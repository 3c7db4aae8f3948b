import { type Clock, deadline, type Rng } from "@tidemark/clock";
import type { CycleBooks } from "./books.ts";
import type { Gate, GateReason } from "./gate.ts";
import { ReconcileError } from "./reconcile-error.ts";

/** What a phase is given. */
export interface PhaseContext {
  /** Aborts when the cycle is closed, or when the time of the phase or item is up. Pass it to everything that waits. */
  readonly signal: AbortSignal;
  /** Counts from 1 since the cycle was opened. */
  readonly cycleNo: number;
  /** The wall clock at the start of the cycle, in milliseconds since the Unix epoch. */
  readonly nowMs: number;
  /**
   * Has the finalizers look at these keys in this cycle. Durable when it resolves: call it before the effect, and a crash
   * in between costs one needless finalization instead of a lost one.
   */
  markDirty(...keys: string[]): Promise<void>;
}

export interface PhaseOptions {
  /** Unique within the cycle. Books are kept under this name. */
  readonly name: string;
  /** When there is anything to do. Without a gate the phase runs in every cycle. */
  readonly gate?: Gate;
  /**
   * Earlier phases that must have succeeded, in this cycle or, where their gate held them, before. Otherwise a failed
   * phase does not keep later ones from running (R2).
   */
  readonly requires?: readonly string[];
  /**
   * How long the phase may take, in milliseconds.
   * @default Infinity
   */
  readonly timeoutMs?: number;
}

/** How many items a phase had, by what became of them. */
export interface ItemCounts {
  /** What `select` returned. */
  readonly selected: number;
  readonly done: number;
  readonly failed: number;
  /** No longer wanted when their turn came, or while they ran (R8). */
  readonly skipped: number;
  /** Failed before and not due again yet. */
  readonly waiting: number;
  readonly quarantined: number;
  /** Beyond the limits of this cycle. */
  readonly deferred: number;
  /** Of an earlier cycle, out of time and not ended yet in spite of its signal. */
  readonly overdue: number;
}

export type PhaseOutcome =
  /** It ran and there is nothing left to do. */
  | "done"
  /** It ran, and some items or changes failed or are left. The others were done. */
  | "partial"
  | "failed"
  /** Its gate had no reason. */
  | "gated"
  /** A phase that it requires has not succeeded. */
  | "blocked"
  /** The cycle was closed before its turn, or during it. */
  | "cancelled";

export interface PhaseReport {
  readonly phase: string;
  readonly outcome: PhaseOutcome;
  /** Why it ran, where it has a gate. */
  readonly reason?: GateReason;
  readonly error?: string;
  /** The probe failed, which forces nothing; this is why. */
  readonly probeError?: string;
  readonly durationMs: number;
  readonly items?: ItemCounts;
}

/** @internal What the engine lends a phase. */
export interface PhaseHost<Tx> {
  readonly books: CycleBooks<Tx>;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly context: PhaseContext;
  /** What does not end in spite of its signal, by phase and key. It is never started a second time meanwhile. */
  readonly overdue: Overdue;
  /** Shows how far the phase has come. */
  progress(items: ItemCounts): void;
}

/** @internal */
export interface PhaseResult {
  readonly outcome: "done" | "partial";
  readonly error?: string;
  readonly items?: ItemCounts;
}

/** One step of a cycle. Made by `phase`, `itemPhase` and `changePhase`. */
export interface Phase<Tx = never> {
  readonly name: string;
  readonly gate: Gate | undefined;
  readonly requires: readonly string[];
  /** @internal */
  readonly execute: (host: PhaseHost<Tx>) => Promise<PhaseResult>;
}

export interface RunPhaseOptions extends PhaseOptions {
  /** Does the work and returns the keys that it affected, for the finalizers. */
  // biome-ignore lint/suspicious/noConfusingVoidType: a phase without keys returns nothing.
  readonly run: (context: PhaseContext) => Promise<Iterable<string> | void>;
}

/** A phase that does its work in one go, for example fetches a list. */
export function phase(options: RunPhaseOptions): Phase<unknown> {
  const { name, gate, requires = [], timeoutMs = Number.POSITIVE_INFINITY, run } = options;
  return {
    name,
    gate,
    requires,
    execute: async (host) => {
      const keys = await limited(host, "", timeoutMs, (signal) => run({ ...host.context, signal }));
      if (keys) await host.books.markDirty(keys);
      return { outcome: "done" };
    },
  };
}

/** What is still running although its time is up. */
export class Overdue {
  readonly #running = new Set<string>();

  get size(): number {
    return this.#running.size;
  }

  has(name: string): boolean {
    return this.#running.has(name);
  }

  add(name: string, work: Promise<unknown>): void {
    this.#running.add(name);
    const end = () => this.#running.delete(name);
    work.then(end, end);
  }
}

/**
 * Runs something for as long as it may take. What does not listen to its signal is left behind after that, so that the
 * cycle goes on, and is not started again until it ends.
 *
 * @param name unique within the phase; empty for the phase itself.
 */
export async function limited<T>(
  host: Pick<PhaseHost<never>, "clock" | "context" | "overdue">,
  name: string,
  timeoutMs: number,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (host.overdue.has(name)) {
    throw new ReconcileError("TIMEOUT", "Its last run is over time and has not ended yet: it ignores its signal");
  }
  using limit = deadline(host.clock, timeoutMs, host.context.signal);
  const { signal } = limit;
  signal.throwIfAborted();
  const work = run(signal);
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(endOf(signal, host.context.signal, timeoutMs));
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    if (!signal.aborted) throw error;
    host.overdue.add(name, work);
    throw endOf(signal, host.context.signal, timeoutMs);
  } finally {
    signal.removeEventListener("abort", onAbort);
    aborted.catch(() => {});
  }
}

function endOf(signal: AbortSignal, parent: AbortSignal, timeoutMs: number): unknown {
  if (parent.aborted) return parent.reason;
  return new ReconcileError("TIMEOUT", `Not done within ${timeoutMs} ms`, { cause: signal.reason, retryable: true });
}
