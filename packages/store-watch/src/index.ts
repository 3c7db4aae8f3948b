export { auditStream } from "./audit/audit.ts";
export type { AuditDifference, AuditOptions, AuditReport, AuditVerdict } from "./audit/audit-types.ts";
export type {
  BeginSnapshotFrame,
  ChangeFrame,
  CommitFrame,
  Cursor,
  DiscardFrame,
  Epoch,
  Frame,
  FrameSink,
  GapFrame,
  GapReason,
  PoisonFrame,
  ProgressFrame,
  ResetFrame,
  ResumePoint,
  SnapshotEndFrame,
  Source,
  SourceCapabilities,
  SourceStatus,
} from "./contract.ts";
export { parseSortableInteger, sortableInteger } from "./cursor.ts";
export { StoreWatchError, type StoreWatchErrorCode, type StoreWatchErrorOptions } from "./errors.ts";
export { FrameBuffer } from "./frame-buffer.ts";
export type { FrameBufferParts } from "./frame-layout.ts";
export { openHistory } from "./open-history.ts";
export type {
  ConflictGroup,
  ConflictKey,
  GraphApplied,
  GraphEdit,
  GraphHead,
  GraphIngested,
  GraphLink,
  GraphMessage,
  GraphOptions,
  GraphPruned,
  GraphPruneOptions,
  GraphRestored,
  GraphSnapshotPart,
  GraphState,
  GraphStatus,
  GraphTenure,
  GraphVersion,
  GraphWaiting,
  GraphWritten,
  HistoryGraph,
  StoreResult,
  StoreTransaction,
  StoreWrite,
  VersionId,
} from "./history/graph-types.ts";
export { historyDefaults, pageDefaults } from "./history/options.ts";
export type {
  AppendResult,
  AsOf,
  DiffRecord,
  FsckFinding,
  FsckReport,
  GapRecord,
  History,
  HistoryOptions,
  HistoryStream,
  KeyRange,
  OpenStreamOptions,
  Page,
  PageOptions,
  Position,
  PostgresHistoryOptions,
  QuarantineRecord,
  StreamRecord,
  VersionKind,
  VersionRecord,
  VersionVia,
} from "./history-types.ts";
export { openWatcher } from "./watcher.ts";
export {
  type Watcher,
  type WatcherCloseOptions,
  watcherDefaults,
  type WatcherEvent,
  type WatcherLag,
  type WatcherOptions,
  type WatcherState,
  type WatcherStatus,
} from "./watcher-types.ts";
