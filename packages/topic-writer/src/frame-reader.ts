// Reads back the writer's own frames, for the rare cases in which one cannot be sent again as it is.

import { fromBinary } from "@bufbuild/protobuf";
import { int64Length, scanWriteRequest, topicWire, type WriteColumns, writeInt64 } from "@tidemark/topic/internal";
import type { SeqNo } from "./seq-no.ts";

/** One message within a frame. */
export interface EncodedMessage {
  readonly seqNo: SeqNo;
  /** The encoded fields after the sequence number: a view into the frame. */
  readonly rest: Uint8Array;
}

/** The messages of a frame from number `skip` on. */
export function messagesOf(frame: Uint8Array, skip = 0): EncodedMessage[] {
  const columns = scanWriteRequest(frame) as WriteColumns;
  const messages: EncodedMessage[] = [];
  for (let n = skip; n < columns.length; n++) {
    const seqNo = columns.seqNo(n);
    const start = columns.bodyStart(n) + 1 + int64Length(seqNo);
    messages.push({ seqNo, rest: frame.subarray(start, columns.bodyEnd(n)) });
  }
  return messages;
}

/** The same frame without its first messages. */
export function withoutFirst(frame: Uint8Array, count: number): Uint8Array {
  const columns = scanWriteRequest(frame) as WriteColumns;
  // A message follows the one before it without a gap.
  const rest = frame.subarray(columns.bodyEnd(count - 1));
  const header = 1 + int64Length(rest.length);
  const shorter = new Uint8Array(header + rest.length);
  shorter[0] = frame[0] as number;
  writeInt64(shorter, 1, rest.length);
  shorter.set(rest, header);
  return shorter;
}

/** A message as its fields, where somebody wants it back. */
export interface DecodedMessage {
  readonly createdAt: Date;
  readonly data: Uint8Array;
  readonly metadata: Readonly<Record<string, Uint8Array>>;
}

/** `rest`: encoded fields of `MessageData`, in any number. */
export function decodeMessage(rest: Uint8Array): DecodedMessage {
  const message = fromBinary(topicWire.StreamWriteMessage_WriteRequest_MessageDataSchema, rest);
  const { seconds, nanos } = message.createdAt ?? { seconds: 0n, nanos: 0 };
  return {
    createdAt: new Date(Number(seconds) * 1000 + nanos / 1_000_000),
    data: message.data,
    metadata: Object.fromEntries(message.metadataItems.map(({ key, value }) => [key, value])),
  };
}
