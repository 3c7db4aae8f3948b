// The same service by @grpc/grpc-js, in encoded messages: no generated code on its side.

import type { EventEmitter } from "node:events";
import * as grpc from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import { decode, encode } from "./frame-service.ts";
import type { Seen } from "./service.ts";

const identity = (bytes: Buffer): Buffer => bytes;
const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

export const message = (word: string): Buffer => toBuffer(encode(word));

function method(name: string, requestStream: boolean, responseStream: boolean) {
  const codec = { requestSerialize: identity, requestDeserialize: identity };
  const path = `/test.Test/${name}`;
  return { path, requestStream, responseStream, ...codec, responseSerialize: identity, responseDeserialize: identity };
}

/** With everything that an error can have, in grpc-js's words. */
function refusal(): grpc.StatusObject {
  const metadata = new grpc.Metadata();
  metadata.set("x-hint", "ask first");
  return { code: grpc.status.PERMISSION_DENIED, details: "nicht für dich, 100%", metadata };
}

function enter(call: grpc.ServerUnaryCall<Buffer, Buffer> | grpc.ServerDuplexStream<Buffer, Buffer>, seen: Seen) {
  seen.headers.push(new Headers(Object.entries(call.metadata.getMap()).map(([name, value]) => [name, String(value)])));
  const deadline = call.getDeadline();
  seen.timeouts.push(deadline === Number.POSITIVE_INFINITY ? undefined : Number(deadline));
  call.on("cancelled", () => {
    seen.aborts.push("cancelled");
    seen.note();
  });
  const headers = new grpc.Metadata();
  headers.set("x-header", "above");
  call.sendMetadata(headers);
  seen.note();
}

function trailer(): grpc.Metadata {
  const metadata = new grpc.Metadata();
  metadata.set("x-trailer", "below");
  return metadata;
}

export async function startGrpcJsServer(seen: Seen, options: grpc.ServerOptions = {}) {
  const server = new grpc.Server(options);
  server.addService(
    { once: method("Once", false, false), both: method("Both", true, true) },
    {
      once(call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) {
        enter(call, seen);
        const word = decode(call.request);
        if (word === "fail") callback(refusal());
        else if (word !== "hang") callback(null, call.request, trailer());
      },
      both(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
        enter(call, seen);
        call.on("error", () => {});
        call.on("data", (bytes: Buffer) => {
          const word = decode(bytes);
          if (word === "fail") call.emit("error", refusal());
          else if (word === "enough") call.end(trailer());
          else if (word !== "hang") call.write(bytes);
        });
        call.on("end", () => call.end(trailer()));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  onTestFinished(() => server.forceShutdown());
  return { server, url: `http://127.0.0.1:${port}` };
}

export interface Answer {
  readonly messages: Buffer[];
  readonly header: grpc.Metadata;
  readonly status: grpc.StatusObject;
}

export function openGrpcJsClient(url: string, options: grpc.ClientOptions = {}) {
  const client = new grpc.Client(new URL(url).host, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    ...options,
  });
  onTestFinished(() => client.close());
  const answerOf = (call: EventEmitter, messages: Buffer[]) =>
    new Promise<Answer>((resolve) => {
      let header = new grpc.Metadata();
      call.on("metadata", (metadata: grpc.Metadata) => (header = metadata));
      call.on("error", () => {});
      call.on("status", (status: grpc.StatusObject) => resolve({ messages, header, status }));
    });
  return {
    once(word: string, metadata = new grpc.Metadata(), callOptions: grpc.CallOptions = {}) {
      const messages: Buffer[] = [];
      const call = client.makeUnaryRequest(
        "/test.Test/Once",
        identity,
        identity,
        message(word),
        metadata,
        callOptions,
        (_, value) => value !== undefined && messages.push(value),
      );
      return Object.assign(call, { answer: answerOf(call, messages) });
    },
    both(metadata = new grpc.Metadata(), callOptions: grpc.CallOptions = {}) {
      const call = client.makeBidiStreamRequest<Buffer, Buffer>(
        "/test.Test/Both",
        identity,
        identity,
        metadata,
        callOptions,
      );
      const messages: Buffer[] = [];
      call.on("data", (bytes: Buffer) => messages.push(bytes));
      return Object.assign(call, { answer: answerOf(call, messages), messages });
    },
  };
}
