import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { StreamReadMessage_FromClientSchema } from "../../gen/ydb/topic_pb.ts";
import { TopicService } from "../../gen/ydb/topic_v1_pb.ts";
import type { ReadClient, ReadTarget } from "./read-client.ts";

type Request = MessageInitShape<typeof StreamReadMessage_FromClientSchema>;

/** Stock connect-node with protobuf-es and nothing in between. */
export async function readByConnect({ port, topic, bufferBytes = 4 << 20 }: ReadTarget): Promise<ReadClient> {
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, acceptCompression: [] });
  const client = createClient(TopicService, transport);
  const cut = new AbortController();
  let queue: Request[] = [];
  let next: (() => void) | undefined;
  const send = (clientMessage: NonNullable<Request["clientMessage"]>) => {
    queue.push({ clientMessage });
    next?.();
  };
  async function* requests() {
    for (;;) {
      const ready = queue;
      queue = [];
      for (const request of ready) yield create(StreamReadMessage_FromClientSchema, request);
      if (queue.length === 0) await new Promise<void>((resolve) => (next = resolve));
    }
  }
  const topicsReadSettings = [{ path: topic }];
  send({ case: "initRequest", value: { topicsReadSettings, consumer: "bench" } });
  send({ case: "readRequest", value: { bytesSize: BigInt(bufferBytes) } });
  const answers = client.streamRead(requests(), { signal: cut.signal })[Symbol.asyncIterator]();
  return {
    read: async ({ ms }) => {
      let messages = 0;
      let payloadBytes = 0;
      const startedMs = performance.now();
      const untilMs = startedMs + ms;
      do {
        const { value, done } = await answers.next();
        if (done === true) throw new Error("the server ended the stream");
        const { serverMessage } = value;
        if (serverMessage.case === "startPartitionSessionRequest") {
          const partitionSessionId = serverMessage.value.partitionSession?.partitionSessionId ?? 0n;
          send({ case: "startPartitionSessionResponse", value: { partitionSessionId } });
        } else if (serverMessage.case === "readResponse") {
          for (const { batches } of serverMessage.value.partitionData) {
            for (const { messageData } of batches) {
              messages += messageData.length;
              for (const { data } of messageData) payloadBytes += data.length;
            }
          }
          send({ case: "readRequest", value: { bytesSize: serverMessage.value.bytesSize } });
        }
      } while (performance.now() < untilMs);
      return { messages, payloadBytes, ms: performance.now() - startedMs };
    },
    close: async () => cut.abort(),
  };
}
