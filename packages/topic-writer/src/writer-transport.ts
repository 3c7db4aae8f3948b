import type { RetryClass, StreamProtocol, StreamTransport } from "@tidemark/stream";
import type { AckRun } from "./outbox.ts";
import { PartitionLocator } from "./partition-locator.ts";
import type { SeqNo } from "./seq-no.ts";
import {
  classifyError,
  decodeServerMessage,
  encodeInit,
  encodeTokenUpdate,
  isOverloaded,
  type ServerMessage,
  type WriterClient,
} from "./wire.ts";
import { WriterError } from "./writer-error.ts";

/** What a stream is, once the server has answered. */
export interface WriterSession {
  readonly sessionId: string;
  readonly partitionId: bigint;
  readonly lastSeqNo: SeqNo;
  /** The codecs of the topic; empty: any. */
  readonly codecs: readonly number[];
  /** Whether the partition was split or merged, so that this session serves only to learn `lastSeqNo`. */
  readonly isInactive: boolean;
}

export interface WriterProtocolSetup {
  readonly client: WriterClient;
  readonly topic: string;
  readonly producerId: string;
  readonly partitionId: bigint | undefined;
  readonly sessionMeta: Readonly<Record<string, string>>;
  readonly nodeId: number | undefined;
  readonly isDirect: boolean;
  /** Whether any failure is the end: a transaction is gone with its stream. */
  readonly isOnce: boolean;
  readonly tokenRefreshIntervalMs: number;
  /** Looks at what the server said, in the handshake. A throw ends it. */
  onSession(session: WriterSession): void;
  /** Returns what is wrong with the answers, if anything is. */
  onAcks(runs: readonly AckRun[]): string | undefined;
  /** The number that the next answer has to begin with. */
  expected(): SeqNo | undefined;
}

export type WriterProtocol = StreamProtocol<Uint8Array, Uint8Array, WriterSession>;

/** The StreamWrite call as a protocol of the stream core: topic.proto, StreamWriteMessage. */
export function createWriterProtocol(setup: WriterProtocolSetup): WriterProtocol {
  const { client, topic } = setup;
  const locator = setup.isDirect ? new PartitionLocator(setup) : undefined;
  /** The server refused to write; the partition may have been split. */
  let isSuspect = false;
  /** Decoded once, for `isReply`, `isProgress` and `onMessage` in turn. */
  let last: { readonly bytes: Uint8Array; readonly message: ServerMessage } | undefined;
  const decode = (bytes: Uint8Array): ServerMessage => {
    if (last?.bytes !== bytes) last = { bytes, message: decodeServerMessage(bytes) };
    return last.message;
  };

  return {
    name: `topic.write ${topic}`,
    openTransport(): StreamTransport<Uint8Array, Uint8Array> {
      return locator?.openTransport() ?? client.stream("write", setup.nodeId === undefined ? {} : { nodeId: setup.nodeId });
    },
    async handshake(stream) {
      const located = await locator?.located();
      stream.send(encodeInit({ ...setup, ...(located && { located }) }));
      const message = decodeServerMessage(await stream.receive());
      if (message.type === "error") throw message.error;
      if (message.type !== "init") throw unexpected(`an InitResponse, got ${message.type}`);
      const isInactive = isSuspect && (await isPartitionInactive(setup, message.partitionId, stream.signal));
      isSuspect = false;
      const session: WriterSession = { ...message, isInactive };
      setup.onSession(session);
      return session;
    },
    isProgress(bytes) {
      const message = decode(bytes);
      return message.type === "acks" && message.runs[0]?.seqNo === setup.expected();
    },
    onMessage(bytes) {
      const message = decode(bytes);
      last = undefined;
      switch (message.type) {
        case "acks": {
          const wrong = setup.onAcks(message.runs);
          if (wrong !== undefined) throw unexpected(wrong);
          return;
        }
        case "error":
          throw message.error;
        case "init":
          throw unexpected("no second InitResponse");
        default:
          // P24: what a newer server may say does not concern this stream.
          return;
      }
    },
    classify(error): RetryClass {
      if (isOverloaded(error)) isSuspect = true;
      if (setup.isOnce) return "fatal";
      if (WriterError.is(error)) return error.retryable ? "slow" : "fatal";
      return classifyError(error);
    },
    tokenRefresh: {
      intervalMs: setup.tokenRefreshIntervalMs,
      token: (signal) => client.token(signal),
      toMessage: encodeTokenUpdate,
      isReply: (bytes) => decode(bytes).type === "token",
    },
  };
}

function unexpected(what: string): WriterError {
  return new WriterError("PROTOCOL", `the server broke the protocol of StreamWrite: expected ${what}`, {
    retryable: true,
  });
}

async function isPartitionInactive(
  { client, topic }: WriterProtocolSetup,
  partitionId: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  const partitions = await client.partitions(topic, { signal });
  return partitions.some((partition) => partition.partitionId === partitionId && !partition.isActive);
}
