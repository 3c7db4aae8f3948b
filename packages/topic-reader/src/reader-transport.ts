import type { StreamProtocol } from "@tidemark/stream";
import { TopicError } from "@tidemark/topic";
import { decodeReadResponse, StatusCode, statusError } from "@tidemark/topic/internal";
import { ReaderColumns } from "./columns.ts";
import { ReaderError } from "./reader-error.ts";
import type { ResolvedReader } from "./reader-options.ts";
import type { ReaderState } from "./reader-state.ts";
import { caseOf, decodeFrame, encodeInit, encodeToken, serverCase } from "./reader-wire.ts";

/** What the handshake of a stream found out. */
export interface ReaderSession {
  /** The server's name for the stream. */
  readonly sessionId: string;
}

/** What a stream's messages are told to. */
export interface ReaderSink {
  readonly state: ReaderState<ReaderColumns>;
  /** Does what the state wants done. */
  readonly run: () => void;
  readonly onUnknown: () => void;
}

/** How a reader speaks to the server. One object serves every stream of it. */
export function readerProtocol(
  options: ResolvedReader,
  sink: ReaderSink,
): StreamProtocol<Uint8Array, Uint8Array, ReaderSession> {
  const { client } = options;
  let refusals = 0;
  /**
   * Somebody else may have committed a part of what we were about to, and the server ends the stream for that. The next
   * one begins with what is committed by then, so the same is not said again. Three times in a row it is our own fault.
   */
  const isOvertaken = (error: unknown): boolean =>
    TopicError.is(error) && error.status === "BAD_REQUEST" && sink.state.isCommitting && ++refusals <= 3;
  return {
    name: "topic.read",
    openTransport: () => client.stream("read"),
    async handshake(stream) {
      stream.send(encodeInit(options));
      // Without it the refresh would send this one again, which an older server never answers.
      const token = await client.token(stream.signal);
      if (token !== undefined) stream.usedToken(token);
      for (;;) {
        const { serverMessage } = checked(await stream.receive());
        if (serverMessage.case === "initResponse") return { sessionId: serverMessage.value.sessionId };
        // P24: something newer than this version may come first.
        if (serverMessage.case !== undefined) {
          throw new ReaderError("PROTOCOL", `expected an InitResponse, got ${serverMessage.case}`, { retryable: true });
        }
      }
    },
    onMessage(frame) {
      const response = caseOf(frame) === serverCase.readResponse ? decodeReadResponse(frame) : undefined;
      if (response === undefined) {
        hear(frame, sink);
        if (caseOf(frame) === serverCase.commitOffsetResponse) refusals = 0;
      } else {
        const partitions = response.partitions.map((wire) => new ReaderColumns(wire, client.compression));
        sink.state.received(response.bytesSize, partitions);
      }
      sink.run();
    },
    isProgress: (frame) => {
      const kind = caseOf(frame);
      return kind === serverCase.readResponse || kind === serverCase.commitOffsetResponse;
    },
    classify(error) {
      const isPassing = (ReaderError.is(error) && error.retryable) || isOvertaken(error);
      return isPassing ? "fast" : client.classify(error);
    },
    tokenRefresh: {
      intervalMs: options.tokenRefreshIntervalMs,
      token: (signal) => client.token(signal),
      toMessage: encodeToken,
      isReply: (frame) => caseOf(frame) === serverCase.updateTokenResponse,
    },
  };
}

function hear(frame: Uint8Array, { state, onUnknown }: ReaderSink): void {
  const { serverMessage: message } = checked(frame);
  switch (message.case) {
    case "commitOffsetResponse":
      for (const { partitionSessionId, committedOffset } of message.value.partitionsCommittedOffsets) {
        state.commitAcknowledged(Number(partitionSessionId), Number(committedOffset));
      }
      return;
    case "startPartitionSessionRequest": {
      const { partitionSession: session, committedOffset, partitionOffsets } = message.value;
      if (session === undefined) throw protocolError("a StartPartitionSessionRequest without a session");
      state.startRequested(session.path, Number(session.partitionId), {
        id: Number(session.partitionSessionId),
        committed: Number(committedOffset),
        firstOffset: Number(partitionOffsets?.start ?? 0n),
        endOffset: Number(partitionOffsets?.end ?? 0n),
      });
      return;
    }
    case "stopPartitionSessionRequest": {
      const { partitionSessionId, graceful, committedOffset } = message.value;
      state.stopRequested(Number(partitionSessionId), graceful, Number(committedOffset));
      return;
    }
    case "endPartitionSession":
      state.endReached(Number(message.value.partitionSessionId), message.value.childPartitionIds.map(Number));
      return;
    case "initResponse":
      throw protocolError("a second InitResponse");
    case "readResponse":
    case "updateTokenResponse":
    case "partitionSessionStatusResponse":
    case "updatePartitionSession":
      // The last two are about where partitions live and what nobody asked for.
      return;
    default:
      onUnknown();
  }
}

/** @throws when the server says that it is over, which it does before it ends the stream. */
function checked(frame: Uint8Array): ReturnType<typeof decodeFrame> {
  const message = decodeFrame(frame);
  if (message.status !== StatusCode.SUCCESS) throw statusError("StreamRead", message.status, message.issues);
  return message;
}

function protocolError(what: string): ReaderError {
  return new ReaderError("PROTOCOL", `the server sent ${what}`, { retryable: true });
}
