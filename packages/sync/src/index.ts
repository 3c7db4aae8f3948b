export type { Channel, ChannelBatch, ChannelMessage, ChannelSigns, Publisher } from "./channel.ts";
export { directChannels } from "./direct-channels.ts";
export type { Peer } from "./peer.ts";
export type { ConflictPolicy, Decision, ResolveConflict } from "./resolution.ts";
export { ownStoreSink, type TransactionalStore } from "./own-store-sink.ts";
export { dryRunSink, type Sink, type SinkResult } from "./sink.ts";
export { openSite } from "./site.ts";
export type { Site, SiteEdit } from "./site-types.ts";
export {
  siteDefaults,
  type SiteOptions,
  type SiteRetention,
  siteRetentionDefaults,
  type SiteStore,
} from "./site-options.ts";
export type { SiteCounters, SiteEvent, SiteStatus } from "./site-status.ts";
export { SyncError, type SyncErrorCode } from "./sync-error.ts";
export { topicChannel, topicChannelDefaults, type TopicChannelOptions } from "./topic-channel.ts";
