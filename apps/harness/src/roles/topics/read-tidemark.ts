import { createTopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";
import type { ReadClient, ReadTarget } from "./read-client.ts";

/** Ours. */
export async function readByTidemark({ port, topic, bufferBytes }: ReadTarget): Promise<ReadClient> {
  const client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  const reader = await openReader({
    client,
    topics: topic,
    consumer: "bench",
    ...(bufferBytes !== undefined && { maxBufferBytes: bufferBytes }),
  });
  const batches = reader.read();
  return {
    read: async ({ ms, objects }) => {
      let messages = 0;
      let payloadBytes = 0;
      const startedMs = performance.now();
      const untilMs = startedMs + ms;
      do {
        const { value: batch, done } = await batches.next();
        if (done === true) throw new Error("the reader ended");
        messages += batch.length;
        if (objects) for (const message of batch) payloadBytes += message.data.length;
        else for (let index = 0; index < batch.length; index++) payloadBytes += batch.data(index).length;
      } while (performance.now() < untilMs);
      return { messages, payloadBytes, ms: performance.now() - startedMs };
    },
    close: async () => {
      reader.destroy();
      await client.close();
    },
  };
}
