// The messages of StreamWrite that are not hot, and what is read of the answers.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type TopicClient, TopicError } from "@tidemark/topic";
import { ackKind, decodeWriteAcks, StatusCode, statusError, topicWire, type WriteAcks } from "@tidemark/topic/internal";
import { type SeqNo, toSeqNo } from "./seq-no.ts";

/** What a writer needs of a `TopicClient`. */
export type WriterClient = Pick<TopicClient, "stream" | "token" | "classify" | "describeTopic">;

/** What the server says on a stream. */
export type ServerMessage =
  | {
      readonly type: "init";
      readonly lastSeqNo: SeqNo;
      readonly sessionId: string;
      readonly partitionId: bigint;
      readonly codecs: readonly number[];
    }
  | { readonly type: "acks"; readonly acks: WriteAcks }
  | { readonly type: "token" }
  | { readonly type: "error"; readonly error: TopicError }
  | { readonly type: "unknown" };

export interface InitFields {
  readonly topic: string;
  readonly producerId: string;
  readonly partitionId: bigint | undefined;
  readonly sessionMeta: Readonly<Record<string, string>>;
  /** For direct writing. */
  readonly located?: { readonly partitionId: bigint; readonly generation: bigint };
}

/** The opening of a stream. */
export function encodeInit(fields: InitFields): Uint8Array {
  const { topic, producerId, sessionMeta } = fields;
  const message = create(topicWire.StreamWriteMessage_FromClientSchema, {
    clientMessage: {
      case: "initRequest",
      value: create(topicWire.StreamWriteMessage_InitRequestSchema, {
        path: topic,
        producerId,
        writeSessionMeta: { ...sessionMeta },
        partitioning: partitioningOf(fields),
        getLastSeqNo: producerId !== "",
      }),
    },
  });
  return toBinary(topicWire.StreamWriteMessage_FromClientSchema, message);
}

type Partitioning = topicWire.StreamWriteMessage_InitRequest["partitioning"];

function partitioningOf({ producerId, partitionId, located }: InitFields): Partitioning {
  if (located !== undefined) {
    return { case: "partitionWithGeneration", value: create(topicWire.PartitionWithGenerationSchema, located) };
  }
  if (partitionId !== undefined) return { case: "partitionId", value: partitionId };
  // Older servers want to be told that the producer is its own message group.
  return producerId === "" ? { case: undefined } : { case: "messageGroupId", value: producerId };
}

export function encodeTokenUpdate(token: string): Uint8Array {
  const value = create(topicWire.UpdateTokenRequestSchema, { token });
  const message = create(topicWire.StreamWriteMessage_FromClientSchema, {
    clientMessage: { case: "updateTokenRequest", value },
  });
  return toBinary(topicWire.StreamWriteMessage_FromClientSchema, message);
}

/** @throws {TopicError} `FRAME_INVALID`. */
export function decodeServerMessage(bytes: Uint8Array, topic: string): ServerMessage {
  const acks = decodeWriteAcks(bytes);
  if (acks !== undefined) return { type: "acks", acks };
  const { status, issues, serverMessage } = decodeRest(bytes);
  if (status !== StatusCode.SUCCESS)
    return { type: "error", error: statusError(`writing to ${topic}`, status, issues) };
  switch (serverMessage.case) {
    case "initResponse": {
      const { lastSeqNo, sessionId, partitionId, supportedCodecs } = serverMessage.value;
      const codecs = supportedCodecs?.codecs ?? [];
      return { type: "init", lastSeqNo: toSeqNo(lastSeqNo), sessionId, partitionId, codecs };
    }
    case "updateTokenResponse":
      return { type: "token" };
    default:
      return { type: "unknown" };
  }
}

function decodeRest(bytes: Uint8Array): topicWire.StreamWriteMessage_FromServer {
  try {
    return fromBinary(topicWire.StreamWriteMessage_FromServerSchema, bytes);
  } catch (cause) {
    throw new TopicError("FRAME_INVALID", "the server sent what is no StreamWriteMessage", {
      cause,
      retryClass: "slow",
    });
  }
}

export const ackKinds = {
  [ackKind.written]: "written",
  [ackKind.skipped]: "skipped",
  [ackKind.writtenInTx]: "written-in-tx",
  [ackKind.unknown]: undefined,
} as const;

export function isOverloaded(error: unknown): boolean {
  return TopicError.is(error) && error.status === "OVERLOADED";
}

/** The service has one status for "busy" and for "split"; it says which in words. */
export function isInactive(error: unknown): boolean {
  return TopicError.is(error) && error.status === "OVERLOADED" && /inactive/i.test(error.message);
}
