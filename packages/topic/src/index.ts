export { TopicError, type TopicErrorCode, type TopicErrorOptions } from "./topic-error.ts";
export type {
  AutoPartitioningSettings,
  AutoPartitioningStrategy,
  CallOptions,
  CommitOffsetOptions,
  ConsumerDescription,
  ConsumerPartition,
  ConsumerReport,
  ConsumerSettings,
  ControlPlane,
  DescribeOptions,
  MeteringMode,
  PartitionDescription,
  PartitionStatistics,
  TopicChanges,
  TopicDescription,
  TopicSettings,
} from "./client/control-types.ts";
export { createTopicClient } from "./client/client.ts";
export {
  type ConnectionOptions,
  type DiscoveryOptions,
  type TopicClientOptions,
  topicClientDefaults,
} from "./client/client-options.ts";
export type { Credentials, TokenRequest } from "./client/credentials.ts";
export type { TopicClient, TopicStreamOptions } from "./client/topic-client.ts";
export type {
  OffsetRange,
  TopicTransaction,
  TransactionOffsets,
  TransactionOptions,
  TransactionOutcome,
} from "./client/transaction-types.ts";
export type { CodecName } from "./compression/codec-name.ts";
export {
  Compression,
  type CompressionOptions,
  compressionDefaults,
  type CustomCodec,
} from "./compression/compression.ts";
