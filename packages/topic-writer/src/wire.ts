// The boundary to `@tidemark/topic`: what the writer needs of a client, and the messages that are not hot.

import type { RetryClass, StreamTransport } from "@tidemark/stream";
import type { AckRun } from "./outbox.ts";
import type { SeqNo } from "./seq-no.ts";

export interface WriterPartition {
  readonly partitionId: bigint;
  readonly isActive: boolean;
  readonly parents: readonly bigint[];
  readonly children: readonly bigint[];
  /** Undefined: the topic has no ranges. Within: undefined for open. */
  readonly keyRange: { readonly from: Uint8Array | undefined; readonly to: Uint8Array | undefined } | undefined;
  readonly location?: { readonly nodeId: number; readonly generation: bigint } | undefined;
}

export interface WriterClient {
  stream(kind: "write", options: { readonly nodeId?: number }): StreamTransport<Uint8Array, Uint8Array>;
  token(signal: AbortSignal): Promise<string | undefined> | string | undefined;
  partitions(
    topic: string,
    options: { readonly signal?: AbortSignal; readonly hasLocation?: boolean },
  ): Promise<readonly WriterPartition[]>;
}

export interface WriterTransaction {
  readonly id: string;
  readonly session: string;
  readonly nodeId: number;
}

export interface WriterCodec {
  readonly id: number;
  compress(bodies: readonly Uint8Array[]): Promise<readonly Uint8Array[]>;
}

export type ServerMessage =
  | {
      readonly type: "init";
      readonly lastSeqNo: SeqNo;
      readonly sessionId: string;
      readonly partitionId: bigint;
      readonly codecs: readonly number[];
    }
  | { readonly type: "acks"; readonly runs: readonly AckRun[] }
  | { readonly type: "token" }
  | { readonly type: "error"; readonly error: Error }
  | { readonly type: "unknown" };

import {
  create,
  fromBinary,
  StatusIds_StatusCode,
  StreamWriteMessage_FromClientSchema,
  StreamWriteMessage_FromServerSchema,
  toBinary,
  TransactionIdentitySchema,
} from "./tmp-gen.ts";
import { toSeqNo } from "./seq-no.ts";

export class StatusError extends Error {
  readonly status: StatusIds_StatusCode;
  constructor(status: StatusIds_StatusCode, message: string) {
    super(message);
    this.status = status;
  }
}

export interface InitFields {
  readonly topic: string;
  readonly producerId: string;
  readonly partitionId: bigint | undefined;
  readonly sessionMeta: Readonly<Record<string, string>>;
  readonly located?: { readonly partitionId: bigint; readonly generation: bigint };
}

/** The opening of a stream. A producer without a partition is its own message group: older servers want that said. */
export function encodeInit({ topic, producerId, partitionId, sessionMeta, located }: InitFields): Uint8Array {
  const partitioning =
    located !== undefined
      ? ({ case: "partitionWithGeneration", value: { partitionId: located.partitionId, generation: located.generation } } as const)
      : partitionId !== undefined
        ? ({ case: "partitionId", value: partitionId } as const)
        : producerId === ""
          ? ({ case: undefined } as const)
          : ({ case: "messageGroupId", value: producerId } as const);
  return toBinary(
    StreamWriteMessage_FromClientSchema,
    create(StreamWriteMessage_FromClientSchema, {
      clientMessage: {
        case: "initRequest",
        value: { path: topic, producerId, writeSessionMeta: sessionMeta, partitioning, getLastSeqNo: producerId !== "" } as never,
      },
    }),
  );
}

export function encodeTokenUpdate(token: string): Uint8Array {
  return toBinary(
    StreamWriteMessage_FromClientSchema,
    create(StreamWriteMessage_FromClientSchema, { clientMessage: { case: "updateTokenRequest", value: { token } as never } }),
  );
}

export function encodeTransaction({ id, session }: WriterTransaction): Uint8Array {
  return toBinary(TransactionIdentitySchema, create(TransactionIdentitySchema, { id, session }));
}

export function decodeServerMessage(bytes: Uint8Array): ServerMessage {
  const message = fromBinary(StreamWriteMessage_FromServerSchema, bytes);
  if (message.status !== StatusIds_StatusCode.SUCCESS) {
    const text = message.issues.map((issue) => issue.message).join("; ");
    return { type: "error", error: new StatusError(message.status, `${StatusIds_StatusCode[message.status]}: ${text}`) };
  }
  const { serverMessage } = message;
  switch (serverMessage.case) {
    case "initResponse": {
      const { lastSeqNo, sessionId, partitionId, supportedCodecs } = serverMessage.value;
      return { type: "init", lastSeqNo: toSeqNo(lastSeqNo), sessionId, partitionId, codecs: supportedCodecs?.codecs ?? [] };
    }
    case "writeResponse":
      return {
        type: "acks",
        runs: serverMessage.value.acks.map((ack) => {
          const kind =
            ack.messageWriteStatus.case === "written"
              ? "written"
              : ack.messageWriteStatus.case === "writtenInTx"
                ? "written-in-tx"
                : "skipped";
          const offset = ack.messageWriteStatus.case === "written" ? toSeqNo(ack.messageWriteStatus.value.offset) : undefined;
          return { kind, seqNo: toSeqNo(ack.seqNo), count: 1, offset };
        }),
      };
    case "updateTokenResponse":
      return { type: "token" };
    default:
      return { type: "unknown" };
  }
}

export function isOverloaded(error: unknown): boolean {
  return error instanceof StatusError && error.status === StatusIds_StatusCode.OVERLOADED;
}

export function classifyError(error: unknown): RetryClass {
  if (error instanceof StatusError) {
    switch (error.status) {
      case StatusIds_StatusCode.OVERLOADED:
      case StatusIds_StatusCode.ABORTED:
        return "slow";
      case StatusIds_StatusCode.UNAVAILABLE:
      case StatusIds_StatusCode.SESSION_EXPIRED:
      case StatusIds_StatusCode.CANCELLED:
      case StatusIds_StatusCode.BAD_SESSION:
        return "fast";
      default:
        return "fatal";
    }
  }
  return "fast";
}
