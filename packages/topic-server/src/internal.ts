export { type StoredRecord } from "./storage/record.ts";
export { PartitionLog } from "./storage/partition-log.ts";
export type { PartitionLogOptions, RecordOwner, SyncPolicy } from "./storage/log-options.ts";
export { diskFiles, type LogFile, type LogFiles } from "./storage/log-files.ts";
export { memoryFiles } from "./storage/memory-files.ts";
export { TopicStore } from "./storage/topic-store.ts";
