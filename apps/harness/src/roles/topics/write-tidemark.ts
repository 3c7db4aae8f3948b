import { createTopicClient } from "@tidemark/topic";
import { openWriter, type Writer } from "@tidemark/topic-writer";
import { payloadMask, payloadsOf } from "../../bench/topics/payloads.ts";
import { drivePromises } from "./drive-promises.ts";
import { limitOf, type WriteClient, type WriteJob, type WriteResult, type WriteTarget } from "./write-client.ts";

/** Ours. Of its options only the length of the queue is set, where one is asked for. */
export async function writeByTidemark({ port, topic, partitions, window }: WriteTarget): Promise<WriteClient> {
  const client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  const options = window === undefined ? {} : { maxBufferMessages: Math.max(1, Math.ceil(window / partitions)) };
  const writers = await Promise.all(
    Array.from({ length: partitions }, (_, id) =>
      openWriter({ client, topic, producerId: `bench-${id}`, ...(partitions > 1 && { partitionId: id }), ...options }),
    ),
  );
  const next = (index: number) => writers[index % partitions] as Writer;
  return {
    write: (job) =>
      job.mode === "plain" || job.mode === "all"
        ? writeUnasked(writers, job)
        : drivePromises((payload, index) => next(index).writeAcked(payload), job),
    close: async () => {
      for (const writer of writers) await writer.close();
      await client.close();
    },
  };
}

async function writeUnasked(writers: readonly Writer[], job: WriteJob): Promise<WriteResult> {
  const payloads = payloadsOf(job.payloadBytes);
  const isOver = limitOf(job);
  const waits = job.mode === "plain";
  const startedMs = performance.now();
  let sent = 0;
  while (!isOver(sent)) {
    const writer = writers[sent % writers.length] as Writer;
    const hasRoom = writer.write(payloads[sent & payloadMask] as Buffer);
    sent++;
    if (!hasRoom && waits) await writer.ready();
  }
  await Promise.all(writers.map((writer) => writer.flush()));
  return { messages: sent, ms: performance.now() - startedMs };
}
