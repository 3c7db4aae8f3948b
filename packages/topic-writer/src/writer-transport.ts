import type { RetryClass, StreamProtocol, StreamTransport } from "@tidemark/stream";
import type { PartitionDescription } from "@tidemark/topic";
import type { WriteAcks } from "@tidemark/topic/internal";
import { PartitionLocator } from "./partition-locator.ts";
import { activeSuccessors } from "./partition-map.ts";
import type { SeqNo } from "./seq-no.ts";
import {
  decodeServerMessage,
  encodeInit,
  encodeTokenUpdate,
  isInactive,
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
  /**
   * The partitions of the topic where this one was split or merged, so that this session serves only to learn
   * `lastSeqNo`; undefined: it is open for writing.
   */
  readonly successors: readonly PartitionDescription[] | undefined;
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
  onAcks(acks: WriteAcks): string | undefined;
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
  /** Asked in the place of a partition that opens no session any more. */
  let heir: bigint | undefined;
  /** Decoded once, for `isReply`, `isProgress` and `onMessage` in turn. */
  let last: { readonly bytes: Uint8Array; readonly message: ServerMessage } | undefined;
  const decode = (bytes: Uint8Array): ServerMessage => {
    if (last?.bytes !== bytes) last = { bytes, message: decodeServerMessage(bytes, topic) };
    return last.message;
  };

  const findSuccessors = async (signal: AbortSignal) => {
    const { partitions } = await client.describeTopic(topic, { signal });
    const id = setup.partitionId as bigint;
    const isSplit = activeSuccessors(id, partitions).some(({ partitionId }) => partitionId !== id);
    return isSplit ? partitions : undefined;
  };

  return {
    name: `topic.write ${topic}`,
    openTransport(): StreamTransport<Uint8Array, Uint8Array> {
      if (locator !== undefined && heir === undefined) return locator.openTransport();
      return client.stream("write", setup.nodeId === undefined ? {} : { nodeId: setup.nodeId });
    },
    async handshake(stream) {
      const asked = heir;
      const located = asked === undefined ? await locator?.located() : undefined;
      stream.send(encodeInit({ ...setup, ...(asked && { partitionId: asked }), ...(located && { located }) }));
      const message = decodeServerMessage(await stream.receive(), topic);
      if (message.type !== "init" && message.type !== "error") throw unexpected(`an InitResponse, got ${message.type}`);
      // Only a writer with a partition of its own has to care: else the server moves the producer to a successor.
      const successors = isSuspect && setup.partitionId !== undefined ? await findSuccessors(stream.signal) : undefined;
      if (message.type === "error") {
        // Some servers open no session on a partition that was split; what it had of the producer its successors know.
        // Others do, and know it only there, so a server that is merely busy must not lead to a successor.
        const isRefused = successors !== undefined && isInactive(message.error);
        heir = isRefused ? activeSuccessors(setup.partitionId as bigint, successors)[0]?.partitionId : undefined;
        throw message.error;
      }
      isSuspect = false;
      heir = undefined;
      const session: WriterSession = { ...message, partitionId: setup.partitionId ?? message.partitionId, successors };
      setup.onSession(session);
      return session;
    },
    isProgress(bytes) {
      const message = decode(bytes);
      return message.type === "acks" && message.acks.length > 0 && message.acks.firstSeqNo(0) === setup.expected();
    },
    onMessage(bytes) {
      const message = decode(bytes);
      last = undefined;
      switch (message.type) {
        case "acks": {
          const wrong = setup.onAcks(message.acks);
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
      const wasSuspect = isSuspect;
      if (isOverloaded(error)) isSuspect = true;
      if (setup.isOnce) return "fatal";
      if (WriterError.is(error)) return error.retryable ? "slow" : "fatal";
      const retryClass = client.classify(error);
      // It may be that the partition was split; whether it was is looked up at once, and once.
      const isNews = isSuspect && (!wasSuspect || heir !== undefined);
      return isNews && retryClass === "slow" ? "fast" : retryClass;
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
