// The three ways to move messages that are compared. The codec is protobuf-es in all of them.

import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { createFrameServer, FrameChannel } from "@tidemark/connect-transport";
import {
  type Batch,
  BatchSchema,
  Bench,
  countMessage,
  messageOf,
  type Order,
  orderMessage,
  orderOf,
  path,
} from "./service.ts";

export type Stack = "stock" | "ours" | "frames" | "raw";

const window = 16 * 1024 * 1024;
const now = () => performance.now();

/** Returns the port. */
export async function serve(stack: Stack): Promise<number> {
  if (stack === "ours" || stack === "frames") return serveFrames();
  const server = stack === "raw" ? rawServer() : stockServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Messages a second, or the round trips in microseconds. */
export function opener(stack: Stack, url: string): (order: Order) => Promise<number | number[]> {
  if (stack === "raw") {
    const session = http2.connect(url, { settings: { initialWindowSize: window }, maxSessionMemory: 1024 });
    session.once("connect", () => session.setLocalWindowSize(2 * window));
    return (order) => rawClient(session, order);
  }
  if (stack === "frames") {
    const channel = new FrameChannel({ baseUrl: url });
    return (order) => framesClient(channel, order);
  }
  const transport =
    stack === "ours"
      ? new FrameChannel({ baseUrl: url }).transport
      : createGrpcTransport({ baseUrl: url, acceptCompression: [] });
  return (order) => connectClient(transport, order);
}

// stock: connect's own pipeline on both sides

function stockServer(): http2.Http2Server {
  return http2.createServer(
    connectNodeAdapter({
      acceptCompression: [],
      routes: (router) =>
        router.service(Bench, {
          async *move(requests) {
            let order: Order | undefined;
            let count = 0;
            for await (const batch of requests) {
              if (order === undefined) {
                order = orderOf(batch);
                if (order.mode === "down") {
                  const message = messageOf(order);
                  const end = now() + order.milliseconds;
                  for (let n = 0; n % 64 !== 0 || now() < end; n++) yield message;
                }
              } else if (order.mode === "echo") yield batch;
              else count++;
            }
            if (order?.mode === "up") yield countMessage(count);
          },
        }),
    }),
  );
}

async function connectClient(transport: Transport, order: Order): Promise<number | number[]> {
  const client = createClient(Bench, transport);
  const message = messageOf(order);
  const begin = now();
  if (order.mode === "echo") {
    const trips: number[] = [];
    let answered = () => {};
    const requests = async function* () {
      yield orderMessage(order);
      const end = now() + order.milliseconds;
      for (let at = now(); at < end; at = now()) {
        const answer = new Promise<void>((resolve) => (answered = resolve));
        yield message;
        await answer;
        trips.push((now() - at) * 1000);
      }
    };
    for await (const _ of client.move(requests())) answered();
    return trips;
  }
  const requests = async function* () {
    yield orderMessage(order);
    if (order.mode === "down") return;
    const end = now() + order.milliseconds;
    for (let n = 0; n % 64 !== 0 || now() < end; n++) yield message;
  };
  let count = 0;
  for await (const batch of client.move(requests())) {
    if (order.mode === "down") count++;
    else count = Number(Buffer.from(batch.items[0] as Uint8Array).toString());
  }
  return count / ((now() - begin) / 1000);
}

// ours: a handler of frames, reached through connect's client or through frames

async function serveFrames(): Promise<number> {
  const server = createFrameServer({
    frames: {
      [path]: (call) => {
        let order: Order | undefined;
        let count = 0;
        const pour = async (request: Order) => {
          const message = messageOf(request);
          const end = now() + request.milliseconds;
          while (now() < end) {
            let hasRoom = true;
            for (let n = 0; n < 64; n++) hasRoom = call.send(toBinary(BatchSchema, message));
            if (!hasRoom) await call.drained();
          }
          call.end();
        };
        return {
          frames(frames) {
            for (const frame of frames) {
              const batch = fromBinary(BatchSchema, frame);
              if (order === undefined) {
                order = orderOf(batch);
                if (order.mode === "down") void pour(order);
              } else if (order.mode === "echo") call.send(toBinary(BatchSchema, batch));
              else count++;
            }
          },
          end() {
            if (order?.mode === "down") return;
            if (order?.mode === "up") call.send(toBinary(BatchSchema, countMessage(count)));
            call.end();
          },
        };
      },
    },
  });
  return (await server.listen()).port;
}

function framesClient(channel: FrameChannel, order: Order): Promise<number | number[]> {
  return new Promise((resolve, reject) => {
    const message = messageOf(order);
    const begin = now();
    const end = begin + order.milliseconds;
    const trips: number[] = [];
    let at = 0;
    let count = 0;
    const stream = channel.stream(path).open({
      frames(frames) {
        for (const frame of frames) {
          const batch = fromBinary(BatchSchema, frame);
          if (order.mode === "down") count++;
          else if (order.mode === "up") count = Number(Buffer.from(batch.items[0] as Uint8Array).toString());
          else {
            trips.push((now() - at) * 1000);
            ask();
          }
        }
      },
      end(error) {
        if (error === undefined) resolve(order.mode === "echo" ? trips : count / ((now() - begin) / 1000));
        else reject(error as Error);
      },
    });
    const ask = () => {
      at = now();
      if (at < end) stream.send(toBinary(BatchSchema, message));
      else stream.end();
    };
    const pour = async () => {
      while (now() < end) {
        let hasRoom = true;
        for (let n = 0; n < 64; n++) hasRoom = stream.send(toBinary(BatchSchema, message));
        if (!hasRoom) await stream.drained();
      }
      stream.end();
    };
    stream.send(toBinary(BatchSchema, orderMessage(order)));
    if (order.mode === "echo") ask();
    else if (order.mode === "down") stream.end();
    else void pour();
  });
}

// raw: frames put together by hand, as many of them into one write as fit

const chunkBytes = 64 * 1024;

function framed(batches: readonly Batch[]): Buffer {
  const encoded = batches.map((batch) => toBinary(BatchSchema, batch));
  const bytes = Buffer.allocUnsafeSlow(encoded.reduce((sum, message) => sum + message.length + 5, 0));
  let at = 0;
  for (const message of encoded) {
    bytes[at] = 0;
    bytes.writeUInt32BE(message.length, at + 1);
    bytes.set(message, at + 5);
    at += message.length + 5;
  }
  return bytes;
}

function onFrames(stream: http2.Http2Stream, take: (batch: Batch) => void): void {
  let rest: Buffer[] = [];
  let have = 0;
  let need = 5;
  stream.on("data", (data: Buffer) => {
    have += data.length;
    if (have < need) {
      rest.push(data);
      return;
    }
    const chunk = rest.length === 0 ? data : Buffer.concat([...rest, data]);
    let at = 0;
    need = 5;
    while (chunk.length - at >= 5) {
      const size = chunk.readUInt32BE(at + 1);
      if (chunk.length - at - 5 < size) {
        need = size + 5;
        break;
      }
      take(fromBinary(BatchSchema, chunk.subarray(at + 5, at + 5 + size)));
      at += 5 + size;
    }
    rest = at === chunk.length ? [] : [chunk.subarray(at)];
    have = chunk.length - at;
  });
}

/** Writes the same message again and again, until the time is over. */
function pourRaw(stream: http2.Http2Stream, order: Order, onEnd: () => void): void {
  const message = messageOf(order);
  const perChunk = Math.max(1, Math.floor(chunkBytes / (order.bytes * order.items)));
  const batches = Array.from({ length: perChunk }, () => message);
  const end = now() + order.milliseconds;
  const more = () => {
    while (now() < end) if (!stream.write(framed(batches))) return;
    stream.off("drain", more);
    onEnd();
  };
  stream.on("drain", more);
  more();
}

function rawServer(): http2.Http2Server {
  const server = http2.createServer({ settings: { initialWindowSize: window }, maxSessionMemory: 1024 });
  server.on("session", (session) => session.setLocalWindowSize(2 * window));
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    let order: Order | undefined;
    let count = 0;
    onFrames(stream, (batch) => {
      if (order === undefined) {
        order = orderOf(batch);
        if (order.mode === "down") pourRaw(stream, order, () => stream.end());
      } else if (order.mode === "echo") stream.write(framed([batch]));
      else count++;
    });
    stream.on("end", () => {
      if (order?.mode === "down") return;
      stream.end(order?.mode === "up" ? framed([countMessage(count)]) : undefined);
    });
  });
  return server;
}

function rawClient(session: http2.ClientHttp2Session, order: Order): Promise<number | number[]> {
  return new Promise((resolve, reject) => {
    const message = messageOf(order);
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc+proto" });
    const begin = now();
    const end = begin + order.milliseconds;
    const trips: number[] = [];
    let at = 0;
    let count = 0;
    onFrames(stream, (batch) => {
      if (order.mode === "down") count++;
      else if (order.mode === "up") count = Number(Buffer.from(batch.items[0] as Uint8Array).toString());
      else {
        trips.push((now() - at) * 1000);
        ask();
      }
    });
    stream.once("error", reject);
    stream.once("end", () => resolve(order.mode === "echo" ? trips : count / ((now() - begin) / 1000)));
    stream.write(framed([orderMessage(order)]));
    const ask = () => {
      at = now();
      if (at < end) stream.write(framed([create(BatchSchema, message)]));
      else stream.end();
    };
    if (order.mode === "echo") ask();
    else if (order.mode === "down") stream.end();
    else pourRaw(stream, order, () => stream.end());
  });
}
