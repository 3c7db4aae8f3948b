export { FrameChannel, type FrameStreamOptions } from "./channel.ts";
export {
  type ChannelTls,
  type FrameChannelOptions,
  frameChannelDefaults,
  type TransportOptions,
} from "./channel-options.ts";
export { isConnectionError } from "./failure.ts";
export type { MessageSplitter } from "./frame-decoder.ts";
export {
  createFrameHandler,
  type FrameHandlerOptions,
  frameHandlerDefaults,
  type FrameRequestHandler,
} from "./frame-handler.ts";
export type { FrameReceiver, FrameSender } from "./frame-receiver.ts";
export {
  createFrameServer,
  type FrameServer,
  type FrameServerOptions,
  frameServerDefaults,
  type ListenOptions,
  type ServerAddress,
  type ServerTls,
} from "./frame-server.ts";
export type { FrameStream, StreamReceiver, StreamSender } from "./frame-stream.ts";
export type { CallReceiver, FrameCall, FrameHandler } from "./server-call.ts";
