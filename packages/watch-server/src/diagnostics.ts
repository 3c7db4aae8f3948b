import { channel } from "node:diagnostics_channel";

/** Metrics, published for whoever subscribes. Durations are in milliseconds. */
export const channels = {
  /** `{ writes, bytes, durationMs }`: a group of writes is on disk. */
  groupCommitted: channel("tidemark:watch-server.group.committed"),
  /** `{ writes, bytes, error }`: a group of writes failed, and every writer heard of it. */
  groupFailed: channel("tidemark:watch-server.group.failed"),
} as const;
