export type { Channel, ChannelBatch, ChannelMessage, Publisher } from "./channel.ts";
export type { ConflictPolicy, Decision, ResolveConflict } from "./resolution.ts";
export { openSite, type Site, type SiteEdit } from "./site.ts";
export { siteDefaults, type SiteOptions } from "./site-options.ts";
export type { SiteCounters, SiteEvent, SiteStatus } from "./site-status.ts";
export { SyncError, type SyncErrorCode } from "./sync-error.ts";
export { topicChannel, topicChannelDefaults, type TopicChannelOptions } from "./topic-channel.ts";
