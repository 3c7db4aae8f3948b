import type { Clock, Rng } from "@tidemark/clock";
import type { StateStore } from "./state-store.ts";

export type TaskState = "pending" | "running" | "done" | "failed" | "cancelled";

export interface TaskRecord {
  readonly id: string;
  readonly kind: string;
  readonly payload: unknown;
  readonly state: TaskState;
  /** How often it was begun. */
  readonly attempts: number;
  /** When it may be begun again, in milliseconds since the Unix epoch. */
  readonly dueMs: number;
  /** What its handler returned. */
  readonly result: unknown;
  /** Of its last failure. */
  readonly error: string | undefined;
  readonly createdMs: number;
  readonly endedMs: number | undefined;
}

export interface TaskContext {
  readonly id: string;
  /** From 1. Above 1 an earlier attempt failed, or its process died at any point of it. */
  readonly attempt: number;
  /** Aborts when the task is cancelled or the tasks are closed. */
  readonly signal: AbortSignal;
}

/**
 * Does the work of one kind of task. Runs outside of any transaction and at least once: a process that dies in the middle
 * leaves the task to be run again, so the work must be idempotent. What it returns is kept as JSON.
 */
export type TaskHandler = (payload: unknown, context: TaskContext) => Promise<unknown>;

export interface TasksOptions {
  readonly state: StateStore;
  /** Unique in the state database; one process at a time works on a queue. */
  readonly queue: string;
  readonly kinds: Readonly<Record<string, TaskHandler>>;
  /**
   * How many run at a time.
   * @default 1
   */
  readonly concurrency?: number;
  /**
   * How often a task is begun before it is failed.
   * @default 5
   */
  readonly maxAttempts?: number;
  /**
   * Bound of the wait after the first failure, in milliseconds. Doubles with each failure, with full jitter.
   * @default 1_000
   */
  readonly initialDelayMs?: number;
  /**
   * Highest bound of that wait, in milliseconds.
   * @default 300_000
   */
  readonly maxDelayMs?: number;
  /**
   * How many tasks that have ended are kept.
   * @default 1_000
   */
  readonly keepEnded?: number;
  /** Called with every task that has ended, after that is durable and `events()` told it. It must not throw. */
  readonly onEnded?: (task: TaskRecord) => void;
  /** @default the system's clock */
  readonly clock?: Clock;
  /** @default the system's source of randomness */
  readonly rng?: Rng;
}

export const taskDefaults = {
  concurrency: 1,
  maxAttempts: 5,
  initialDelayMs: 1_000,
  maxDelayMs: 300_000,
  keepEnded: 1_000,
} as const;

export type TaskEvent =
  | { readonly type: "started" | "ended" | "postponed"; readonly task: TaskRecord }
  /** The state database failed; the same step is tried again. */
  | { readonly type: "trouble"; readonly error: string }
  /** Of this reader only: it was too slow for so many events. */
  | { readonly type: "skipped"; readonly count: number };
