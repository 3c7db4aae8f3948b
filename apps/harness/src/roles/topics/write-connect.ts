import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { payloadMask, payloadsOf } from "../../bench/topics/payloads.ts";
import { createdNow } from "../../bench/topics/wire/write-request.ts";
import { Codec, StreamWriteMessage_FromClientSchema } from "../../gen/ydb/topic_pb.ts";
import { TopicService } from "../../gen/ydb/topic_v1_pb.ts";
import { drivePromises } from "./drive-promises.ts";
import type { WriteClient, WriteJob, WriteResult, WriteTarget } from "./write-client.ts";

/** Stock connect-node with protobuf-es and nothing in between: what one gets without writing a client. */
export async function writeByConnect({ port, topic, partitions }: WriteTarget): Promise<WriteClient> {
  // It asks for compressed answers unless told not to, which would make it slower.
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, acceptCompression: [] });
  const client = createClient(TopicService, transport);
  const streams = Array.from({ length: partitions }, (_, id) => new ConnectWriter(client, topic, id));
  await Promise.all(streams.map((stream) => stream.isReady));
  return {
    write: (job) =>
      job.mode === "plain"
        ? writeBatches(streams, job)
        : drivePromises((data, index) => (streams[index % partitions] as ConnectWriter).writeOne(data), job),
    close: async () => {
      for (const stream of streams) stream.close();
    },
  };
}

async function writeBatches(streams: readonly ConnectWriter[], job: WriteJob): Promise<WriteResult> {
  const payloads = payloadsOf(job.payloadBytes);
  const batch = Array.from({ length: job.batch }, (_, index) => payloads[index & payloadMask] as Buffer);
  const startedMs = performance.now();
  const untilMs = startedMs + (job.ms ?? 0);
  const window = Math.max(job.batch, Math.floor(job.window / streams.length));
  let messages = 0;
  await Promise.all(
    streams.map(async (stream) => {
      while (performance.now() < untilMs) {
        messages += batch.length;
        stream.write(batch);
        await stream.room(window);
      }
      await stream.room(1);
    }),
  );
  return { messages, ms: performance.now() - startedMs };
}

type Request = MessageInitShape<typeof StreamWriteMessage_FromClientSchema>;

class ConnectWriter {
  readonly isReady: Promise<void>;
  readonly #cut = new AbortController();
  #queue: Request[];
  #next: (() => void) | undefined;
  #seqNo = 0;
  #acknowledged = 0;
  #room = 0;
  #wake: (() => void) | undefined;
  #failure: unknown;

  constructor(client: ReturnType<typeof createClient<typeof TopicService>>, path: string, id: number) {
    const producerId = `bench-${id}`;
    const partitioning = { case: "messageGroupId", value: producerId } as const;
    this.#queue = [{ clientMessage: { case: "initRequest", value: { path, producerId, partitioning } } }];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.isReady = promise;
    this.#run(client, resolve).catch((error) => {
      this.#failure = error;
      reject(error);
      this.#wake?.();
    });
  }

  write(batch: readonly Uint8Array[]): void {
    const { seconds, nanos } = createdNow();
    const createdAt = { seconds: BigInt(seconds), nanos };
    const messages = batch.map((data) => ({
      seqNo: BigInt(++this.#seqNo),
      createdAt,
      data,
      uncompressedSize: BigInt(data.length),
    }));
    this.#queue.push({ clientMessage: { case: "writeRequest", value: { codec: Codec.RAW, messages } } });
    this.#next?.();
  }

  async writeOne(data: Uint8Array): Promise<void> {
    this.write([data]);
    await this.room(1);
  }

  /** Resolves when fewer messages than this are under way. */
  async room(messages: number): Promise<void> {
    if (this.#failure === undefined && this.#seqNo - this.#acknowledged >= messages) {
      this.#room = messages;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  close(): void {
    this.#cut.abort();
  }

  async #run(client: ReturnType<typeof createClient<typeof TopicService>>, onReady: () => void): Promise<void> {
    for await (const { serverMessage } of client.streamWrite(this.#requests(), { signal: this.#cut.signal })) {
      if (serverMessage.case === "initResponse") onReady();
      else if (serverMessage.case === "writeResponse") this.#acknowledge(serverMessage.value.acks.length);
      else throw new Error(`the server answered with ${serverMessage.case ?? "nothing that is known"}`);
    }
  }

  #acknowledge(count: number): void {
    this.#acknowledged += count;
    if (this.#wake === undefined || this.#seqNo - this.#acknowledged >= this.#room) return;
    const wake = this.#wake;
    this.#wake = undefined;
    wake();
  }

  async *#requests(): AsyncGenerator<Request> {
    for (;;) {
      const queue = this.#queue;
      this.#queue = [];
      for (const request of queue) yield create(StreamWriteMessage_FromClientSchema, request);
      if (this.#queue.length === 0) await new Promise<void>((resolve) => (this.#next = resolve));
    }
  }
}
