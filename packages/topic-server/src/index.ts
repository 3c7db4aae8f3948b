export {
  openTopicServer,
  type TopicServer,
  topicServerDefaults,
  type TopicServerOptions,
} from "./open-topic-server.ts";
export type { Right, TopicRights, TopicServerAuth, TopicUser } from "./service/access.ts";
export type { ConsumerReport, PartitionReport, TopicReport } from "./service/report.ts";
export type { SyncPolicy } from "./storage/log-options.ts";
export { topicStoreDefaults, type TopicStoreOptions } from "./storage/store-options.ts";
export type { ServedPartition, ServedTopic, ServedTopics } from "./served-topics.ts";
export { TopicServerError, type TopicServerErrorCode } from "./topic-server-error.ts";
