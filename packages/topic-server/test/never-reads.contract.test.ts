import { once } from "node:events";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { topicWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { Deaf, frame } from "./deaf.ts";
import { message, openTestServer, openWrite, rawClient, write } from "./support.ts";

const path = "/local/t";
const isLong = process.env["TIDEMARK_LONG"] === "1";
const { StreamWriteMessage_FromClientSchema: ToWrite, StreamWriteMessage_FromServerSchema: FromWrite } = topicWire;
const { StreamReadMessage_FromClientSchema: ToRead, StreamReadMessage_FromServerSchema: FromRead } = topicWire;

const toWrite = (init: MessageInitShape<typeof ToWrite>, padding = 0) => frame(ToWrite, init, padding);
const toRead = (init: MessageInitShape<typeof ToRead>, padding = 0) => frame(ToRead, init, padding);

/** What is on its way to a server that does not read: HTTP/2's window. */
const windowBytes = 16 * 1024 * 1024;

/** Offers requests by the hundred, without waiting for anything. @returns the bytes. */
function offer(deaf: Deaf, count: number, request: (index: number) => Buffer): number {
  let bytes = 0;
  for (let from = 0; from < count; from += 100) {
    const frames = Array.from({ length: Math.min(100, count - from) }, (_, index) => request(from + index));
    for (const each of frames) bytes += each.length;
    deaf.send(...frames);
  }
  return bytes;
}

test("a writer that does not read its acks is not read either, and loses nothing when it does", {
  timeout: 120_000,
}, async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const deaf = new Deaf(server, "StreamWrite");
  await once(deaf.session, "connect");
  deaf.send(toWrite({ clientMessage: { case: "initRequest", value: { path, producerId: "deaf" } } }));
  const requests = 40_000;
  const perRequest = 6;
  const count = requests * perRequest;
  const data = new Uint8Array(1);
  const offered = offer(deaf, requests, (index) => {
    const messages = Array.from({ length: perRequest }, (_, n) => message(index * perRequest + n + 1, data));
    return toWrite({ clientMessage: { case: "writeRequest", value: { messages, codec: 1 } } }, 1500);
  });
  expect(await deaf.bytesTaken(client, path)).toBeLessThan(offered - windowBytes / 2);
  const end = async () => Number((await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets?.end);
  expect(await end()).toBeLessThan(count);
  // Nobody else is held up.
  const { stream } = await openWrite(client, path, "other");
  await write(stream, [message(1)]);
  let acked = 0;
  for await (const { serverMessage } of deaf.messages(FromWrite)) {
    if (serverMessage.case !== "writeResponse") continue;
    for (const { seqNo } of serverMessage.value.acks) expect(Number(seqNo)).toBe(++acked);
    if (acked >= 1000) break;
  }
  deaf.hear();
  while ((await end()) < count + 1);
});

if (isLong) {
  test("a writer that asks for new tokens and does not read the answers is not read either", {
    timeout: 120_000,
  }, async () => {
    const server = await openTestServer();
    const client = rawClient(server);
    await client.createTopic(path);
    const deaf = new Deaf(server, "StreamWrite");
    await once(deaf.session, "connect");
    deaf.send(toWrite({ clientMessage: { case: "initRequest", value: { path, producerId: "deaf" } } }));
    const request = toWrite({ clientMessage: { case: "updateTokenRequest", value: { token: "t" } } }, 300);
    const offered = offer(deaf, 200_000, () => request);
    expect(await deaf.bytesTaken(client, path)).toBeLessThan(offered - windowBytes / 2);
  });
}

test("a reader that asks and does not read the answers is not read either, and gets all of them when it does", {
  timeout: 120_000,
}, async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1)]);
  const deaf = new Deaf(server, "StreamRead");
  await once(deaf.session, "connect");
  const init = { topicsReadSettings: [{ path }], consumer: "c" };
  deaf.send(toRead({ clientMessage: { case: "initRequest", value: init } }));
  deaf.send(toRead({ clientMessage: { case: "startPartitionSessionResponse", value: { partitionSessionId: 1n } } }));
  const count = 80_000;
  const status = { case: "partitionSessionStatusRequest", value: { partitionSessionId: 1n } } as const;
  const request = toRead({ clientMessage: status }, 1000);
  const offered = offer(deaf, count, () => request);
  expect(await deaf.bytesTaken(client, path)).toBeLessThan(offered - windowBytes / 2);
  let answers = 0;
  for await (const { serverMessage } of deaf.messages(FromRead)) {
    if (serverMessage.case === "partitionSessionStatusResponse" && ++answers === count) break;
  }
  expect(answers).toBe(count);
});
