import type { Clock, Rng } from "@tidemark/clock";
import type { ItemCounts, Phase, PhaseReport } from "./phase.ts";
import type { StateStore } from "./state-store.ts";

export interface Finalizer {
  readonly name: string;
  /**
   * Called once in a cycle for each key that was affected or marked, after all phases (R3, R12). When it fails, the key
   * stays marked and all finalizers see it again in the next cycle.
   */
  readonly run: (key: string, signal: AbortSignal) => Promise<void>;
}

export interface CycleDefinition<Tx> {
  /** Unique in the state database. */
  readonly name: string;
  /**
   * From the start of one cycle to the start of the next, in milliseconds. The first starts at once; one that takes longer
   * is followed by the next without a pause.
   */
  readonly everyMs: number;
  /** Run in this order. */
  readonly phases: readonly Phase<Tx>[];
  /** Run in this order for each key. */
  readonly finalizers?: readonly Finalizer[];
  /**
   * How many keys are finalised at a time.
   * @default 1
   */
  readonly finalizeConcurrency?: number;
}

export interface CycleOptions<Tx> {
  /** Where the books are kept: `sqliteState(db)` or `postgresState(db)`. */
  readonly state: StateStore<Tx>;
  /** @default the system's clock */
  readonly clock?: Clock;
  /** @default the system's source of randomness */
  readonly rng?: Rng;
}

export interface FinalizeReport {
  readonly keys: number;
  readonly failed: number;
  /** Of the first key that failed. */
  readonly error?: string;
}

export interface CycleReport {
  readonly cycleNo: number;
  /** Wall clock, in milliseconds since the Unix epoch. */
  readonly startedMs: number;
  readonly durationMs: number;
  readonly isCancelled: boolean;
  readonly phases: readonly PhaseReport[];
  readonly finalized: FinalizeReport;
  /** The state database failed in between: the cycle ended early. */
  readonly error?: string;
}

export interface CycleStatus {
  readonly state: "idle" | "running" | "closed";
  /** Of the cycle that runs or ran last; 0 before the first. */
  readonly cycleNo: number;
  /** The phase that runs now. */
  readonly phase: string | undefined;
  /** Its items so far. */
  readonly items: ItemCounts | undefined;
  /** How long the cycle that runs has been running, in milliseconds. */
  readonly runningMs: number | undefined;
  /** The last cycle that ended. */
  readonly last: CycleReport | undefined;
  /** How many items and phases ignore the signal that ended them, and still run. */
  readonly overdue: number;
}

export type CycleEvent =
  | { readonly type: "started"; readonly cycleNo: number }
  | { readonly type: "phase"; readonly cycleNo: number; readonly report: PhaseReport }
  | { readonly type: "ended"; readonly report: CycleReport }
  /** Of this reader only: it was too slow for so many events. */
  | { readonly type: "skipped"; readonly count: number };

export interface FailedItem {
  readonly phase: string;
  readonly key: string;
  /** In a row. */
  readonly failures: number;
  /** It is not tried again by itself. */
  readonly isQuarantined: boolean;
  readonly error: string;
  readonly atMs: number;
}

export interface SetAsideChange {
  readonly phase: string;
  readonly position: bigint;
  /** The change as its phase prints it. */
  readonly payload: string;
  readonly error: string;
  readonly atMs: number;
}
