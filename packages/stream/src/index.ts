export { type BackoffOptions, backoffBoundMs, backoffDefaults, backoffDelayMs, resolveBackoff } from "./backoff.ts";
export {
  type StreamCloseInfo,
  StreamConnection,
  type StreamConnectionObserver,
  type StreamConnectionOwner,
} from "./connection.ts";
export { connectionDefaults, type StreamConnectionOptions } from "./connection-options.ts";
export { Handoff } from "./handoff.ts";
export { createListBuffer, type HandoffBuffer, ListBuffer } from "./handoff-buffer.ts";
export {
  type HandoffBatch,
  type HandoffCloseOptions,
  type HandoffEvent,
  type HandoffOptions,
  type HandoffRetryOptions,
  type HandoffState,
  type HandoffStats,
  handoffDefaults,
} from "./handoff-options.ts";
export { createKeyedBuffer, KeyedBuffer } from "./keyed-buffer.ts";
export { limiterDefaults, ReconnectLimiter, type ReconnectLimiterOptions } from "./limiter.ts";
export type { Handshake, RetryClass, StreamProtocol, StreamTransport, TokenRefresh } from "./protocol.ts";
export { AsyncQueue, type AsyncQueueOptions } from "./queue.ts";
export { StreamReconnector } from "./reconnector.ts";
export {
  reconnectorDefaults,
  type StreamCloseOptions,
  type StreamDisconnect,
  type StreamDone,
  type StreamEvent,
  type StreamReconnectorOptions,
  type StreamReconnectorState,
} from "./reconnector-options.ts";
export { StreamError, type StreamErrorCode } from "./stream-error.ts";
