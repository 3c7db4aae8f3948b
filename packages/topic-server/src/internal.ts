export { type StoredRecord } from "./storage/record.ts";
export { PartitionLog } from "./storage/partition-log.ts";
export type { PartitionLogOptions, RecordOwner, SyncPolicy } from "./storage/log-options.ts";
export { diskFiles, type LogFile, type LogFiles } from "./storage/log-files.ts";
export { memoryFiles } from "./storage/memory-files.ts";
export { TopicStore } from "./storage/topic-store.ts";
// The service without a network, for simulations.
export { Access } from "./service/access.ts";
export { ReadSession } from "./service/read-session.ts";
export { Service } from "./service/service.ts";
export { WriteSession } from "./service/write-session.ts";
export { topicDefaults } from "./storage/definition.ts";
