import { channel } from "node:diagnostics_channel";

/** Metrics, published for whoever subscribes. Durations and delays are in milliseconds. */
export const channels = {
  /** `{ protocol, connectionId, durationMs }`: a handshake is done. */
  connectionOpened: channel("tidemark:stream.connection.opened"),
  /** `{ protocol, connectionId, durationMs, messages, error }`: a live stream is over. */
  connectionClosed: channel("tidemark:stream.connection.closed"),
  /** `{ protocol, attempt, delayMs, retryClass, error }`: there will be another attempt. */
  reconnectScheduled: channel("tidemark:stream.reconnect.scheduled"),
  /** `{ groups, bytes, durationMs, attempt }`: a batch is committed. */
  batchCommitted: channel("tidemark:stream.batch.committed"),
  /** `{ attempt, error }`: a commit failed. */
  batchFailed: channel("tidemark:stream.batch.failed"),
} as const;
