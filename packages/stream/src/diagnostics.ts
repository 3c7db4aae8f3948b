import type { Channel } from "node:diagnostics_channel";

type Publisher = Pick<Channel, "hasSubscribers" | "publish">;

// Not an import: this package also runs where there is no Node, for example in a page.
const diagnostics = globalThis.process?.getBuiltinModule?.("node:diagnostics_channel");

function channel(name: string): Publisher {
  return diagnostics?.channel(name) ?? { hasSubscribers: false, publish() {} };
}

/** Metrics, published for whoever subscribes. Durations and delays are in milliseconds. */
export const channels = {
  /** `{ protocol, connectionId, durationMs }`: a handshake is done. */
  connectionOpened: channel("tidemark:stream.connection.opened"),
  /** `{ protocol, connectionId, durationMs, messages, error }`: a stream that was live is over. */
  connectionClosed: channel("tidemark:stream.connection.closed"),
  /** `{ protocol, attempt, delayMs, retryClass, error }`: there will be another attempt. */
  reconnectScheduled: channel("tidemark:stream.reconnect.scheduled"),
  /** `{ groups, bytes, durationMs }`: a batch is committed. */
  batchCommitted: channel("tidemark:stream.batch.committed"),
  /** `{ attempt, error }`: a commit failed. */
  batchFailed: channel("tidemark:stream.batch.failed"),
} as const;
