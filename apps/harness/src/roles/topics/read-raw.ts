import { decodeFromServer } from "../../bench/topics/wire/read-response.ts";
import { grpcFrame, message } from "../../bench/topics/wire/proto-writer.ts";
import { openRawSession, openRawStream } from "./raw-stream.ts";
import type { ReadClient, ReadTarget } from "./read-client.ts";

/** The limit: bare `node:http2`, every message looked at and a view of its data taken, the credit given back at once. */
export async function readByRaw({ port, topic, bufferBytes = 4 << 20 }: ReadTarget): Promise<ReadClient> {
  const session = await openRawSession(port);
  let messages = 0;
  let payloadBytes = 0;
  let failure: unknown;
  let onProgress: (() => void) | undefined;
  const stream = openRawStream(session, "StreamRead", (body) => {
    try {
      const { kind, data, bytesSize, partitionSessionId } = decodeFromServer(body);
      if (kind === "start") stream.write(grpcFrame(message([6, message([1, partitionSessionId])])));
      else if (kind === "messages") {
        messages += data.length;
        for (const each of data) payloadBytes += each.length;
        stream.write(grpcFrame(message([2, message([1, bytesSize])])));
      }
    } catch (error) {
      failure ??= error;
    }
    onProgress?.();
  });
  stream.write(grpcFrame(message([1, message([1, message([1, topic])], [2, "bench"])])));
  stream.write(grpcFrame(message([2, message([1, bufferBytes])])));
  return {
    read: ({ ms }) =>
      new Promise((resolve, reject) => {
        const before = { messages, payloadBytes };
        const startedMs = performance.now();
        onProgress = () => {
          const tookMs = performance.now() - startedMs;
          if (failure === undefined && tookMs < ms) return;
          onProgress = undefined;
          if (failure !== undefined) reject(failure as Error);
          else
            resolve({
              messages: messages - before.messages,
              payloadBytes: payloadBytes - before.payloadBytes,
              ms: tookMs,
            });
        };
      }),
    close: async () => session.destroy(),
  };
}
