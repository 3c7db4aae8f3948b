import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { onTestFinished } from "vitest";
import type { TopicServer } from "../src/index.ts";
import type { RawClient } from "./support.ts";

/** A client that sends without an end, and reads only when it is told to. */
export class Deaf {
  readonly session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  #rest = Buffer.alloc(0);

  constructor(server: TopicServer, method: string) {
    // Node takes headers only while less than this is waiting to be sent, in MB.
    this.session = connect(`http://${server.host}:${server.port}`, { maxSessionMemory: 1000 });
    onTestFinished(() => this.session.destroy());
    this.#stream = this.session.request({
      ":method": "POST",
      ":path": `/Ydb.Topic.V1.TopicService/${method}`,
      "content-type": "application/grpc+proto",
      te: "trailers",
    });
    this.#stream.on("error", () => {});
  }

  send(...frames: readonly Uint8Array[]): void {
    this.#stream.write(Buffer.concat(frames));
  }

  /** Reads from now on, and forgets what it hears. */
  hear(): void {
    this.#stream.resume();
  }

  /** When so much has come that Node holds back the rest. */
  isFull(): Promise<void> {
    const stream = this.#stream;
    return new Promise((resolve) => {
      stream.on("readable", () => {
        if (stream.readableLength >= stream.readableHighWaterMark) resolve();
      });
    });
  }

  /** What the connection took until neither it nor anything else moves, while others are served. */
  async bytesTaken(others: RawClient, path: string): Promise<number> {
    let taken = -1;
    for (let same = 0; same < 30; same++) {
      await others.describe(path);
      const now = this.session.socket?.bytesWritten ?? 0;
      if (now !== taken) same = 0;
      taken = now;
    }
    return taken;
  }

  /** Reads one message after the other. */
  async *messages<D extends DescMessage>(schema: D) {
    for await (const chunk of this.#stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
        const end = 5 + this.#rest.readUInt32BE(1);
        yield fromBinary(schema, this.#rest.subarray(5, end));
        this.#rest = this.#rest.subarray(end);
      }
    }
  }
}

/** A request that is `padding` bytes longer by a field that nobody knows: the server takes it for as long as its window. */
export function frame<D extends DescMessage>(schema: D, init: MessageInitShape<D>, padding = 0): Buffer {
  const body = toBinary(schema, create(schema, init));
  // Field 1000, of a length below 2^14.
  const unknown = padding === 0 ? [] : [0xc2, 0x3e, (padding & 0x7f) | 0x80, padding >> 7];
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length + unknown.length + padding, 1);
  return Buffer.concat([prefix, body, Buffer.from(unknown), Buffer.alloc(padding)]);
}
