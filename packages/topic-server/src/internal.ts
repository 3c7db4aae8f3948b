export { type StoredRecord } from "./storage/record.ts";
export { PartitionLog, type PartitionLogOptions, type RecordOwner, type SyncPolicy } from "./storage/partition-log.ts";
export { diskFiles, type LogFile, type LogFiles } from "./storage/log-files.ts";
export { memoryFiles } from "./storage/memory-files.ts";
export { TopicStore } from "./storage/topic-store.ts";
