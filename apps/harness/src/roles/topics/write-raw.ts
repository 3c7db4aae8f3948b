import type { ClientHttp2Stream } from "node:http2";
import { payloadMask, payloadsOf } from "../../bench/topics/payloads.ts";
import { grpcFrame, message } from "../../bench/topics/wire/proto-writer.ts";
import { createdNow, encodeWriteFrame } from "../../bench/topics/wire/write-request.ts";
import { acksIn } from "../../bench/topics/wire/write-response.ts";
import { drivePromises } from "./drive-promises.ts";
import { openRawSession, openRawStream } from "./raw-stream.ts";
import type { WriteClient, WriteJob, WriteResult, WriteTarget } from "./write-client.ts";

/**
 * The limit: bare `node:http2`, messages that are already in batches, a codec that knows only this message. No queue, no
 * reconnect, no token, no producer. What it may not leave out is what every client has to do: to encode, and to look at
 * each acknowledgment.
 */
export async function writeByRaw({ port, topic, partitions }: WriteTarget): Promise<WriteClient> {
  const session = await openRawSession(port);
  const streams = await Promise.all(Array.from({ length: partitions }, (_, id) => RawWriter.open(session, topic, id)));
  const next = (index: number) => streams[index % partitions] as RawWriter;
  return {
    write: (job) =>
      job.mode === "plain"
        ? writeBatches(streams, job)
        : drivePromises((payload, index) => next(index).writeOne(payload), job),
    close: async () => session.destroy(),
  };
}

async function writeBatches(streams: readonly RawWriter[], job: WriteJob): Promise<WriteResult> {
  const payloads = payloadsOf(job.payloadBytes);
  const batch = Array.from({ length: job.batch }, (_, index) => payloads[index & payloadMask] as Buffer);
  const startedMs = performance.now();
  const untilMs = startedMs + (job.ms ?? 0);
  const framesUnderWay = Math.max(2, Math.floor(job.window / job.batch / streams.length));
  let frames = 0;
  // Each stream sends what its window allows and then gives way to the next.
  await Promise.all(
    streams.map(async (stream) => {
      while (performance.now() < untilMs) {
        frames++;
        stream.write(batch);
        await stream.room(framesUnderWay * job.batch);
      }
      await stream.room(1);
    }),
  );
  return { messages: frames * job.batch, ms: performance.now() - startedMs };
}

class RawWriter {
  readonly #stream: ClientHttp2Stream;
  #seqNo = 0;
  #acknowledged = 0;
  #room = 0;
  #wake: (() => void) | undefined;
  #failure: unknown;

  private constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    stream.on("error", (error) => this.#fail(error));
  }

  static async open(session: Parameters<typeof openRawStream>[0], path: string, id: number): Promise<RawWriter> {
    const { promise: isReady, resolve } = Promise.withResolvers<void>();
    let writer: RawWriter | undefined;
    let isFirst = true;
    const stream = openRawStream(session, "StreamWrite", (body) => {
      if (isFirst) {
        isFirst = false;
        resolve();
      } else writer?.take(body);
    });
    writer = new RawWriter(stream);
    const producer = `bench-${id}`;
    stream.write(grpcFrame(message([1, message([1, path], [2, producer], [4, producer])])));
    await isReady;
    return writer;
  }

  take(body: Buffer): void {
    try {
      this.#acknowledged += acksIn(body);
      this.#look();
    } catch (error) {
      this.#fail(error);
    }
  }

  write(batch: readonly Uint8Array[]): void {
    this.#stream.write(encodeWriteFrame(batch, this.#seqNo + 1, createdNow()));
    this.#seqNo += batch.length;
  }

  async writeOne(payload: Uint8Array): Promise<void> {
    this.write([payload]);
    await this.room(1);
  }

  /** Resolves when fewer messages than this are under way. That alone bounds what is queued: waiting for `drain`, too, is slower. */
  room(messages: number): Promise<void> {
    if (this.#failure === undefined && this.#hasRoom(messages)) return done;
    return new Promise((resolve, reject) => {
      this.#room = messages;
      this.#wake = () => {
        if (this.#failure !== undefined) reject(this.#failure);
        else resolve();
      };
      if (this.#failure !== undefined) this.#wake();
    });
  }

  #hasRoom(messages: number): boolean {
    return this.#seqNo - this.#acknowledged < messages;
  }

  #look(): void {
    const wake = this.#wake;
    if (wake === undefined || !this.#hasRoom(this.#room)) return;
    this.#wake = undefined;
    wake();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}

const done = Promise.resolve();
