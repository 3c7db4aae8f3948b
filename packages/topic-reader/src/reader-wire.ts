import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { topicWire } from "@tidemark/topic/internal";
import type { ReaderEffect } from "./reader-effect.ts";
import type { ResolvedReader } from "./reader-options.ts";

const { StreamReadMessage_FromClientSchema, StreamReadMessage_FromServerSchema } = topicWire;

// Requests are rare: a quarter of the window, a turn's commits, or a partition each. So they go the ordinary way.

type Request = Extract<ReaderEffect, { type: "request" | "commit" | "answer-start" | "answer-stop" }>;

export function encodeInit(options: ResolvedReader): Uint8Array {
  const { topics, consumer, readerName, autoPartitioningSupport, partitionMaxInFlightBytes } = options;
  return toBinary(
    StreamReadMessage_FromClientSchema,
    create(StreamReadMessage_FromClientSchema, {
      clientMessage: {
        case: "initRequest",
        value: {
          consumer,
          readerName,
          autoPartitioningSupport,
          partitionMaxInFlightBytes: BigInt(partitionMaxInFlightBytes),
          topicsReadSettings: topics.map(({ path, partitions, maxLagMs, readFrom }) => ({
            path,
            partitionIds: partitions.map(({ id }) => BigInt(id)),
            ...(maxLagMs !== undefined && { maxLag: durationFromMs(maxLagMs) }),
            ...(readFrom !== undefined && { readFrom: timestampFromDate(readFrom) }),
          })),
        },
      },
    }),
  );
}

export function encodeToken(token: string): Uint8Array {
  return toBinary(
    StreamReadMessage_FromClientSchema,
    create(StreamReadMessage_FromClientSchema, { clientMessage: { case: "updateTokenRequest", value: { token } } }),
  );
}

export function encodeRequest(request: Request): Uint8Array {
  return toBinary(StreamReadMessage_FromClientSchema, create(StreamReadMessage_FromClientSchema, messageOf(request)));
}

function messageOf(request: Request): Parameters<typeof create<typeof StreamReadMessage_FromClientSchema>>[1] {
  switch (request.type) {
    case "request":
      return { clientMessage: { case: "readRequest", value: { bytesSize: BigInt(request.bytes) } } };
    case "commit": {
      const commitOffsets = request.commits.map(({ sessionId, ranges }) => ({
        partitionSessionId: BigInt(sessionId),
        offsets: ranges.map(({ start, end }) => ({ start: BigInt(start), end: BigInt(end) })),
      }));
      return { clientMessage: { case: "commitOffsetRequest", value: { commitOffsets } } };
    }
    case "answer-start": {
      const { sessionId, readOffset } = request;
      const value = {
        partitionSessionId: BigInt(sessionId),
        // Left out unless somebody asked for it: an explicit offset is checked against what is committed by then.
        ...(readOffset !== undefined && { readOffset: BigInt(readOffset) }),
      };
      return { clientMessage: { case: "startPartitionSessionResponse", value } };
    }
    case "answer-stop": {
      const value = { partitionSessionId: BigInt(request.sessionId) };
      return { clientMessage: { case: "stopPartitionSessionResponse", value } };
    }
  }
}

/** Numbers of the fields of `FromServer`. */
export const serverCase = {
  initResponse: 3,
  readResponse: 4,
  commitOffsetResponse: 5,
  updateTokenResponse: 7,
} as const;

/** Which kind of message a frame is, by the number of its field; 0 when it is none. Looks at its first bytes only. */
export function caseOf(frame: Uint8Array): number {
  let at = 0;
  while (at < frame.length) {
    const tag = frame[at] as number;
    const field = tag >>> 3;
    // All numbers here are below 16, so a tag is one byte.
    if (tag >= 0x80 || field === 0) return 0;
    if (field > 2) return field;
    at++;
    if ((tag & 7) === 0) {
      while (at < frame.length && (frame[at] as number) >= 0x80) at++;
      at++;
      continue;
    }
    if ((tag & 7) !== 2) return 0;
    let length = 0;
    for (let shift = 0; at < frame.length; shift += 7) {
      const byte = frame[at++] as number;
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at += length;
  }
  return 0;
}

/** Everything but a `ReadResponse` is decoded like this. @throws when it is no such message. */
export function decodeFrame(frame: Uint8Array) {
  return fromBinary(StreamReadMessage_FromServerSchema, frame);
}
