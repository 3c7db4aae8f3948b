export {
  createReferenceStore,
  keyId,
  ReferenceStore,
  type ReferenceStoreOptions,
  type StoreChange,
  type StoreOperation,
  type StoreTransaction,
} from "./testing/reference-store.ts";
export {
  createSimulatedSource,
  type SimulatedLoss,
  SimulatedSource,
  type SimulatedSourceOptions,
  type SimulatedSourceStats,
  type SourceFaults,
  simulatedCursor,
} from "./testing/simulated-source.ts";
export type { ConformanceDriver, ConformanceOptions } from "./testing/conformance-world.ts";
export { type ConformanceCheck, sourceConformance } from "./testing/source-conformance.ts";
export { ConformanceError, type ProbedGroup, SourceProbe } from "./testing/source-probe.ts";
export {
  FaultyHistory,
  type FaultyHistoryOptions,
  faultyHistory,
  type HistoryFaultCounts,
  type HistoryFaults,
  type ObservedCommit,
} from "./testing/faulty-history.ts";
export { type GraphGuards, guardedGraph } from "./testing/guarded-graph.ts";
export { createMemoryGraph, type MemoryGraph } from "./testing/memory-graph.ts";
export {
  auditReplica,
  CommitLog,
  isPoison,
  OracleError,
  poisonByte,
  type ReplicaAudit,
} from "./testing/replica-oracle.ts";
export { openThreadlessHistory } from "./testing/threadless-history.ts";
