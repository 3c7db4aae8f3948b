import { Code, createClient } from "@connectrpc/connect";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { once } from "node:events";
import { AuthService, authWire, StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import {
  acceptPartition,
  commit,
  expectFailure,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  unpack,
  type WriteStream,
  write,
} from "./support.ts";

type Sent = Parameters<WriteStream["send"]>[0];
const path = "/local/t";
const init: Sent = { clientMessage: { case: "initRequest", value: { path, producerId: "p" } } };
const request = (value: object): Sent => ({ clientMessage: { case: "writeRequest", value: { codec: 1, ...value } } });
const items = [{ key: "k", value: new Uint8Array(4096) }];

const badWrites: readonly (readonly [string, readonly Sent[], string])[] = [
  ["an empty path", [{ clientMessage: { case: "initRequest", value: { path: "" } } }], "BAD_REQUEST"],
  ["an unknown topic", [{ clientMessage: { case: "initRequest", value: { path: "/local/no" } } }], "SCHEME_ERROR"],
  ["a second init", [init, init], "BAD_REQUEST"],
  ["a write before init", [request({ messages: [message(1)] })], "BAD_REQUEST"],
  ["a token before init", [{ clientMessage: { case: "updateTokenRequest", value: { token: "x" } } }], "BAD_REQUEST"],
  ["nothing in a message", [{}], "BAD_REQUEST"],
  ["no messages", [init, request({ messages: [] })], "BAD_REQUEST"],
  ["seq_no 0", [init, request({ messages: [message(0)] })], "BAD_REQUEST"],
  ["seq_nos that do not increase", [init, request({ messages: [message(2), message(2)] })], "BAD_REQUEST"],
  ["no codec", [init, request({ messages: [message(1)], codec: 0 })], "BAD_REQUEST"],
  ["a codec that is not the topic's", [init, request({ messages: [message(1)], codec: 4 })], "BAD_REQUEST"],
  ["too much metadata", [init, request({ messages: [{ ...message(1), metadataItems: items }] })], "BAD_REQUEST"],
  ["an unknown transaction", [init, request({ messages: [message(1)], tx: { id: "x", session: "y" } })], "NOT_FOUND"],
];

test("bad input: a write that breaks the rules gets its status, its stream ends, and the server lives", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { supportedCodecs: { codecs: [1, 2] } });
  for (const [what, sent, status] of badWrites) {
    const stream = client.write();
    for (const each of sent) stream.send(each);
    expect(await expectFailure(stream), what).toBe(status);
  }
  const { stream } = await openWrite(client, path);
  expect(await write(stream, [message(1)])).toEqual([0]);
});

test("bad input: a read that breaks the rules gets its status, its stream ends, and the server lives", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1), message(2), message(3)]);
  const started = async () => {
    const { stream } = await openRead(client, path);
    const { id } = await acceptPartition(stream);
    await readMessages(stream, 3);
    return { stream, id };
  };
  const cases: [string, number, number][] = [
    ["an empty range", 1, 1],
    ["a commit beyond the end", 0, 9],
  ];
  for (const [what, from, to] of cases) {
    const { stream, id } = await started();
    void commit(stream, id, from, to);
    expect(await expectFailure(stream), what).toBe("BAD_REQUEST");
  }
  const twice = await started();
  void commit(twice.stream, twice.id, 1, 2);
  void commit(twice.stream, twice.id, 1, 3);
  expect(await expectFailure(twice.stream)).toBe("BAD_REQUEST");

  const unasked = await started();
  const value = { partitionSessionId: unasked.id };
  unasked.stream.send({ clientMessage: { case: "stopPartitionSessionResponse", value } });
  expect(await expectFailure(unasked.stream)).toBe("BAD_REQUEST");

  const { stream: credit } = await openRead(client, path, { credit: 0 });
  credit.send({ clientMessage: { case: "readRequest", value: { bytesSize: 0n } } });
  expect(await expectFailure(credit)).toBe("BAD_REQUEST");

  const nobody = client.read();
  const unknown = { topicsReadSettings: [{ path }], consumer: "nobody" };
  nobody.send({ clientMessage: { case: "initRequest", value: unknown } });
  expect(await expectFailure(nobody)).toBe("SCHEME_ERROR");
});

test("a commit for an unknown partition session is ignored", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1)]);
  const { stream } = await openRead(client, path);
  void commit(stream, 99n, 0, 1);
  await acceptPartition(stream);
  expect(await readMessages(stream, 1)).toHaveLength(1);
});

test("bad input: garbage on the port and connections that say nothing cost nobody else anything", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const sockets = await Promise.all(
    Array.from({ length: 1000 }, async (_, index) => {
      const socket = connectTcp(server.port, server.host);
      socket.on("error", () => {});
      await once(socket, "connect");
      if (index % 10 === 0) socket.write(Buffer.alloc(500, index));
      return socket;
    }),
  );
  const { stream } = await openWrite(client, path);
  expect(await write(stream, [message(1)])).toEqual([0]);
  for (const socket of sockets) socket.destroy();
});

test("X18: a message above 64,000,000 bytes ends its stream with RESOURCE_EXHAUSTED", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const session = connectHttp2(`http://${server.host}:${server.port}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/Ydb.Topic.V1.TopicService/StreamWrite",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(64_000_001, 1);
  stream.write(prefix);
  stream.resume();
  const [trailers] = (await once(stream, "trailers")) as [Record<string, string>];
  expect(trailers["grpc-status"]).toBe("8");
  expect(decodeURIComponent(trailers["grpc-message"] ?? "")).toContain("Received message larger than max (64000001 vs");
  session.destroy();
  const { stream: again } = await openWrite(client, path);
  expect(await write(again, [message(1)])).toEqual([0]);
});

test("bad input: a reader that never reads holds nothing up", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { consumers: [{ name: "c" }, { name: "d" }] });
  const { stream: writer } = await openWrite(client, path);
  const { stream: deaf } = await openRead(client, path, { credit: 1_000_000_000 });
  await acceptPartition(deaf);
  const big = new Uint8Array(1_000_000);
  for (let n = 1; n <= 20; n++) await write(writer, [message(n, big)]);
  const { stream: reader } = await openRead(client, path, { consumer: "d", credit: 1_000_000_000 });
  await acceptPartition(reader);
  expect(await readMessages(reader, 20)).toHaveLength(20);
});

test("without a right a client is told UNAUTHORIZED, without a token that is good gRPC's UNAUTHENTICATED", async () => {
  const users = [
    { name: "w", tokens: ["wt"], rights: [{ topic: "/local/t", can: ["write"] as const }] },
    { name: "admin", password: "secret", rights: "all" as const },
  ];
  const server = await openTestServer({ auth: { users } });
  const auth = createClient(AuthService, rawClient(server).transport);
  const { operation } = await auth.login({ user: "admin", password: "secret" });
  const wrong = await auth.login({ user: "admin", password: "guess" });
  expect(wrong.operation?.status).toBe(StatusCode.UNAUTHORIZED);
  const { token } = unpack(authWire.LoginResultSchema, operation);
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { exp: number };
  expect(Number.isInteger(claims.exp)).toBe(true);
  const admin = rawClient(server, { "x-ydb-auth-ticket": token });
  expect(await admin.createTopic(path)).toBe("SUCCESS");
  const unauthenticated = { code: Code.Unauthenticated };
  await expect(rawClient(server).createTopic(path)).rejects.toMatchObject(unauthenticated);
  const expired = rawClient(server, { "x-ydb-auth-ticket": "expired" });
  await expect(expired.describe(path)).rejects.toMatchObject(unauthenticated);
  await expect(expired.write().next()).rejects.toMatchObject(unauthenticated);
  await expect(expired.read().next()).rejects.toMatchObject(unauthenticated);
  const writer = rawClient(server, { "x-ydb-auth-ticket": "wt" });
  const { stream } = await openWrite(writer, path);
  expect(await write(stream, [message(1)])).toEqual([0]);
  const reader = writer.read();
  reader.send({ clientMessage: { case: "initRequest", value: { topicsReadSettings: [{ path }], consumer: "c" } } });
  expect(await expectFailure(reader)).toBe("UNAUTHORIZED");
});
