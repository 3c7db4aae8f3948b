export { WriteAck } from "./acks.ts";
export { type MessageBody, type Writable, type WriterMessage } from "./message.ts";
export { createWriter, openWriter } from "./open-writer.ts";
export { type KeyPartitioning, writerDefaults, type WriterOptions, type WriterReconnectOptions } from "./options.ts";
export type { AckKind } from "./outbox.ts";
export type { UnacknowledgedMessage, Writer, WriterCloseOptions, WriterEvent } from "./writer.ts";
export { type Unacknowledged, WriterError, type WriterErrorCode } from "./writer-error.ts";
export type { WriterClient } from "./wire.ts";
