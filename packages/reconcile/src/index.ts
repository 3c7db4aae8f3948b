export { type AppliedChange, changeDefaults, changePhase, type ChangePhaseOptions } from "./change-phase.ts";
export { type Cycle, defineCycle, type NextCycleOptions, openCycle } from "./cycle.ts";
export type {
  CycleDefinition,
  CycleEvent,
  CycleOptions,
  CycleReport,
  CycleStatus,
  FailedItem,
  Finalizer,
  FinalizeReport,
  SetAsideChange,
} from "./cycle-types.ts";
export { type Gate, type GateMemo, type GateReason, type GateView, gateReason, memoAfter } from "./gate.ts";
export { itemDefaults, itemPhase, type ItemPhaseOptions, type ItemRetryOptions } from "./item-phase.ts";
export {
  type ItemCounts,
  type Phase,
  phase,
  type PhaseContext,
  type PhaseOptions,
  type PhaseOutcome,
  type PhaseReport,
  type RunPhaseOptions,
} from "./phase.ts";
export { ReconcileError, type ReconcileErrorCode } from "./reconcile-error.ts";
export {
  type PostgresDatabase,
  type PostgresExecutor,
  postgresState,
  sqliteState,
  type SqliteTransaction,
  type StateStore,
} from "./state-store.ts";
export { postgresCycleAttempts, postgresTasks, sqliteCycleAttempts, sqliteTasks } from "./tables.ts";
export {
  type TaskContext,
  taskDefaults,
  type TaskEvent,
  type TaskHandler,
  type TaskRecord,
  type TasksOptions,
  type TaskState,
} from "./task-types.ts";
export { openTasks, type Tasks } from "./tasks.ts";
