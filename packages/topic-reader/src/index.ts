export type { ReaderBatch, ReaderMessage } from "./batch.ts";
export type { ListenOptions, ReaderListener } from "./listener.ts";
export { openReader, type Reader, type ReadOptions } from "./reader.ts";
export type { ReaderEvent } from "./reader-driver.ts";
export { ReaderError, type ReaderErrorCode, type ReaderErrorOptions } from "./reader-error.ts";
export {
  type PartitionSelection,
  type ReaderBehaviour,
  readerDefaults,
  type ReaderIdentity,
  type ReaderOptions,
  type TopicSelection,
} from "./reader-options.ts";
export type {
  MessageMetadata,
  PartitionEnd,
  PartitionStart,
  PartitionStartAnswer,
  ReaderOwnEvent,
  TopicPartition,
  UncommittedRange,
} from "./reader-types.ts";
export type { PartitionStartHook } from "./start-hooks.ts";
