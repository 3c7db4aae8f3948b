export { type BackoffOptions, backoffBoundMs, backoffDefaults, backoffDelayMs, resolveBackoff } from "./backoff.ts";
export {
  type StreamCloseInfo,
  StreamConnection,
  type StreamConnectionObserver,
  type StreamConnectionOptions,
} from "./connection.ts";
export {
  Handoff,
  type HandoffBatch,
  type HandoffCloseOptions,
  type HandoffEvent,
  type HandoffOptions,
  type HandoffRetryOptions,
  type HandoffState,
  type HandoffStats,
} from "./handoff.ts";
export { createListBuffer, type HandoffBuffer, ListBuffer } from "./handoff-buffer.ts";
export { createKeyedBuffer, KeyedBuffer } from "./keyed-buffer.ts";
export { ReconnectLimiter, type ReconnectLimiterOptions } from "./limiter.ts";
export type { Handshake, RetryClass, StreamProtocol, StreamTransport, TokenRefresh } from "./protocol.ts";
export { AsyncQueue, type AsyncQueueOptions } from "./queue.ts";
export {
  type StreamCloseOptions,
  type StreamDisconnect,
  type StreamDone,
  type StreamEvent,
  StreamReconnector,
  type StreamReconnectorOptions,
  type StreamReconnectorState,
} from "./reconnector.ts";
export { StreamError, type StreamErrorCode } from "./stream-error.ts";
