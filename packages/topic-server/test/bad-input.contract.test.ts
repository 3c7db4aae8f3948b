// Each kind of bad input by its name: it gets the status that YDB gives, its stream ends, and everybody else goes on.
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type SeededRng, seededRng } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, onTestFinished, test } from "vitest";
import type { TopicServer } from "../src/index.ts";
import {
  acceptPartition,
  commit,
  expectFailure,
  message,
  openRead,
  openTestServer,
  openWrite,
  type RawClient,
  rawClient,
  type ReadStream,
  readMessages,
  write,
  type WriteStream,
} from "./support.ts";

type ToWrite = Parameters<WriteStream["send"]>[0];
type ToRead = Parameters<ReadStream["send"]>[0];
type Case<Sent> = readonly [string, readonly Sent[], string];

const path = "/local/t";

/** A server with three messages in a topic of one partition, and a check that others still can do everything. */
async function openWorld() {
  const server = await openTestServer({ closeTimeoutMs: 200 });
  const client = rawClient(server);
  expect(await client.createTopic(path, { supportedCodecs: { codecs: [1, 2, 10_001] } })).toBe("SUCCESS");
  const { stream } = await openWrite(client, path, "before");
  await write(stream, [message(1), message(2), message(3)]);
  let rounds = 0;
  const lives = async () => {
    const name = `after ${rounds++}`;
    const { stream: writer } = await openWrite(client, path, name);
    await write(writer, [message(1, name)]);
    const { stream: reader } = await openRead(client, path, { consumer: "", partitionIds: [0] });
    const { partitionOffsets } = await acceptPartition(reader);
    expect((await readMessages(reader, Number(partitionOffsets?.end))).at(-1)?.text).toBe(name);
    reader.abort();
    writer.abort();
  };
  return { server, client, lives };
}

const writeInit = (more: object = {}): ToWrite => ({
  clientMessage: { case: "initRequest", value: { path, producerId: "p", ...more } },
});
const writeRequest = (value: object): ToWrite => ({
  clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(1)], ...value } },
});
const partitionId = (value: bigint) => ({ partitioning: { case: "partitionId", value } });

async function expectWrites(client: RawClient, cases: readonly Case<ToWrite>[]): Promise<void> {
  for (const [what, sent, status] of cases) {
    const stream = client.write();
    for (const each of sent) stream.send(each);
    expect(await expectFailure(stream), what).toBe(status);
  }
}

test("bad input: fields of a write that are too long, contradict each other or are out of their range", async () => {
  const { client, lives } = await openWorld();
  const item = (key: string, value = "") => ({ key, value: new TextEncoder().encode(value) });
  const many = Array.from({ length: 1001 }, (_, n) => item(`${n}`));
  const group = { partitioning: { case: "messageGroupId", value: "other" } };
  const chosen = { partitioning: { case: "partitionId", value: 0n } };
  await expectWrites(client, [
    ["a producer of more than 2048 bytes", [writeInit({ producerId: "é".repeat(1025) })], "BAD_REQUEST"],
    ["a message group that is not the producer", [writeInit(group)], "BAD_REQUEST"],
    ["a negative partition", [writeInit(partitionId(-1n))], "BAD_REQUEST"],
    ["a partition that is not there", [writeInit(partitionId(7n))], "SCHEME_ERROR"],
    ["a partition beyond all numbers", [writeInit(partitionId(2n ** 62n))], "SCHEME_ERROR"],
    ["a negative seq_no", [writeInit(), writeRequest({ messages: [message(-5)] })], "BAD_REQUEST"],
    [
      "1001 items of metadata",
      [writeInit(), writeRequest({ messages: [{ ...message(1), metadataItems: many }] })],
      "BAD_REQUEST",
    ],
    [
      "4097 bytes of metadata",
      [writeInit(), writeRequest({ messages: [{ ...message(1), metadataItems: [item("k", "v".repeat(4096))] }] })],
      "BAD_REQUEST",
    ],
    [
      "a message that chooses its partition",
      [writeInit(), writeRequest({ messages: [{ ...message(1), ...chosen }] })],
      "BAD_REQUEST",
    ],
    ["a codec that is nobody's", [writeInit(), writeRequest({ codec: 9999 })], "BAD_REQUEST"],
    ["a negative codec", [writeInit(), writeRequest({ codec: -1 })], "BAD_REQUEST"],
  ]);
  // What is just within the limits is taken.
  const stream = client.write();
  stream.send(writeInit({ producerId: "é".repeat(1024) }));
  await stream.next();
  const metadataItems = [item("k", "v".repeat(4095))];
  expect(await write(stream, [{ ...message(1), metadataItems } as never])).toEqual([3]);
  stream.send(writeRequest({ codec: 10_001, messages: [message(2n ** 63n - 1n)] }));
  expect((await stream.next()).status).toBe(StatusCode.SUCCESS);
  const again = await openWrite(client, path, "é".repeat(1024));
  expect(again.init.lastSeqNo).toBe(2n ** 63n - 1n);
  again.stream.abort();
  stream.abort();
  await lives();
});

const readInit = (more: object = {}): ToRead => ({
  clientMessage: { case: "initRequest", value: { topicsReadSettings: [{ path }], consumer: "c", ...more } as never },
});
const said = (clientMessage: object): ToRead => ({ clientMessage }) as ToRead;

async function expectReads(client: RawClient, cases: readonly Case<ToRead>[]): Promise<void> {
  for (const [what, sent, status] of cases) {
    const stream = client.read();
    for (const each of sent) stream.send(each);
    expect(await expectFailure(stream), what).toBe(status);
  }
}

test("bad input: messages of a read in the wrong order, or with nothing in them", async () => {
  const { client, lives } = await openWorld();
  const credit = said({ case: "readRequest", value: { bytesSize: 100n } });
  await expectReads(client, [
    ["credit before init", [credit], "BAD_REQUEST"],
    ["a token before init", [said({ case: "updateTokenRequest", value: { token: "x" } })], "BAD_REQUEST"],
    ["a commit before init", [said({ case: "commitOffsetRequest", value: { commitOffsets: [] } })], "BAD_REQUEST"],
    ["a second init", [readInit(), readInit()], "BAD_REQUEST"],
    ["nothing in a message", [readInit(), {}], "BAD_REQUEST"],
    ["nothing in the first message", [{}], "BAD_REQUEST"],
    ["negative credit", [readInit(), said({ case: "readRequest", value: { bytesSize: -1n } })], "BAD_REQUEST"],
    ["an ack of direct reading", [readInit(), said({ case: "directReadAck", value: {} })], "BAD_REQUEST"],
    ["direct reading", [readInit({ directRead: true })], "BAD_REQUEST"],
  ]);
  const { stream } = await openRead(client, path);
  const { id } = await acceptPartition(stream);
  stream.send(said({ case: "startPartitionSessionResponse", value: { partitionSessionId: id } }));
  expect(await expectFailure(stream), "a partition that is started twice").toBe("BAD_REQUEST");
  const early = client.read();
  early.send(readInit());
  await early.next();
  await early.next();
  void commit(early, 1n, 0, 1);
  expect(await expectFailure(early), "a commit before the partition was started").toBe("BAD_REQUEST");
  await lives();
});

test("bad input: topics, partitions and consumers that are not there, or are not said", async () => {
  const { client, lives } = await openWorld();
  const topic = (more: object) => ({ topicsReadSettings: [more] });
  await expectReads(client, [
    ["no topics", [readInit({ topicsReadSettings: [] })], "BAD_REQUEST"],
    ["a topic without a path", [readInit(topic({ path: "" }))], "BAD_REQUEST"],
    ["an unknown topic", [readInit(topic({ path: "/local/none" }))], "SCHEME_ERROR"],
    ["one unknown topic of two", [readInit({ topicsReadSettings: [{ path }, { path: "none" }] })], "SCHEME_ERROR"],
    ["a path above the database", [readInit(topic({ path: "/local" }))], "SCHEME_ERROR"],
    ["an unknown partition", [readInit(topic({ path, partitionIds: [0n, 5n] }))], "SCHEME_ERROR"],
    ["a negative partition", [readInit(topic({ path, partitionIds: [-1n] }))], "SCHEME_ERROR"],
    ["an unknown consumer", [readInit({ consumer: "nobody" })], "SCHEME_ERROR"],
    ["neither a consumer nor partitions", [readInit({ consumer: "" })], "BAD_REQUEST"],
    ["a negative limit", [readInit({ partitionMaxInFlightBytes: -1n })], "BAD_REQUEST"],
  ]);
  await expectWrites(client, [
    ["a write to an unknown topic", [writeInit({ path: "/local/none" })], "SCHEME_ERROR"],
    ["a write to a directory", [writeInit({ path: "/local" })], "SCHEME_ERROR"],
    ["a write without a path", [writeInit({ path: "" })], "BAD_REQUEST"],
  ]);
  const { topics } = client;
  const none = { path: "/local/none" };
  const statuses = await Promise.all([
    topics.describeTopic(none),
    topics.alterTopic(none),
    topics.dropTopic(none),
    topics.describeConsumer({ ...none, consumer: "c" }),
    topics.describeConsumer({ path, consumer: "nobody" }),
    topics.commitOffset({ ...none, consumer: "c", offset: 1n }),
    topics.commitOffset({ path, consumer: "nobody", offset: 1n }),
    topics.commitOffset({ path, consumer: "c", partitionId: 9n, offset: 1n }),
  ]);
  for (const { operation } of statuses) expect(operation?.status).toBe(StatusCode.SCHEME_ERROR);
  await lives();
});

test("bad input: offsets that are empty, overlap, go back or are beyond the end", async () => {
  const { client, lives } = await openWorld();
  const commits: readonly (readonly [string, readonly (readonly [number, number])[]])[] = [
    ["an empty range", [[1, 1]]],
    ["a range that goes back", [[2, 1]]],
    ["a negative offset", [[-1, 1]]],
    ["beyond the end", [[0, 9]]],
    ["far beyond the end", [[0, Number.MAX_SAFE_INTEGER]]],
    [
      "a range twice",
      [
        [1, 2],
        [1, 2],
      ],
    ],
    [
      "ranges that overlap",
      [
        [1, 3],
        [2, 3],
      ],
    ],
  ];
  for (const [what, ranges] of commits) {
    const { stream } = await openRead(client, path);
    const { id } = await acceptPartition(stream);
    const offsets = ranges.map(([start, end]) => ({ start: BigInt(start), end: BigInt(end) }));
    const commitOffsets = [{ partitionSessionId: id, offsets }];
    stream.send({ clientMessage: { case: "commitOffsetRequest", value: { commitOffsets } } });
    expect(await expectFailure(stream), what).toBe("BAD_REQUEST");
  }
  const { operation } = await client.topics.commitOffset({ path, consumer: "c", partitionId: 0n, offset: 2n });
  expect(operation?.status).toBe(StatusCode.SUCCESS);
  const starts: readonly (readonly [string, { readOffset?: bigint; commitOffset?: bigint }])[] = [
    ["a read_offset below what is committed", { readOffset: 1n }],
    ["a negative read_offset", { readOffset: -1n }],
    ["a read_offset beyond the end", { readOffset: 4n }],
    ["a commit_offset below what is committed", { commitOffset: 1n }],
    ["a commit_offset beyond the end", { commitOffset: 2n ** 62n }],
  ];
  for (const [what, response] of starts) {
    const { stream } = await openRead(client, path);
    await acceptPartition(stream, response);
    expect(await expectFailure(stream), what).toBe("BAD_REQUEST");
  }
  for (const offset of [-1n, 4n, 2n ** 63n - 1n]) {
    const refused = await client.topics.commitOffset({ path, consumer: "c", partitionId: 0n, offset });
    expect(refused.operation?.status, `CommitOffset ${offset}`).toBe(StatusCode.BAD_REQUEST);
  }
  const { stream: reader } = await openRead(client, path);
  expect((await acceptPartition(reader)).committedOffset).toBe(2n);
  await lives();
});

test("bad input: definitions of topics that cannot be", async () => {
  const { client, lives } = await openWorld();
  const consumers = (count: number) => Array.from({ length: count }, (_, n) => ({ name: `c${n}` }));
  const cases: readonly (readonly [string, string, object, string])[] = [
    ["without a path", "", {}, "BAD_REQUEST"],
    ["over the database", "/local", {}, "SCHEME_ERROR"],
    ["outside of the database", "/elsewhere/t", {}, "SCHEME_ERROR"],
    ["again, and differently", path, { retentionStorageMb: 5n }, "ALREADY_EXISTS"],
    ["negative partitions", "x", { partitioningSettings: { minActivePartitions: -1n } }, "BAD_REQUEST"],
    ["too many partitions", "x", { partitioningSettings: { minActivePartitions: 10n ** 9n } }, "BAD_REQUEST"],
    [
      "less at most than at least",
      "x",
      { partitioningSettings: { minActivePartitions: 3n, maxActivePartitions: 2n } },
      "BAD_REQUEST",
    ],
    ["3001 consumers", "x", { consumers: consumers(3001) }, "BAD_REQUEST"],
    ["a consumer without a name", "x", { consumers: [{ name: "" }] }, "BAD_REQUEST"],
    ["a consumer twice", "x", { consumers: [{ name: "a" }, { name: "a" }] }, "BAD_REQUEST"],
    ["negative retention", "x", { retentionPeriod: durationFromMs(-1000) }, "BAD_REQUEST"],
    ["negative speed", "x", { partitionWriteSpeedBytesPerSecond: -1n }, "BAD_REQUEST"],
    [
      "an unknown strategy",
      "x",
      { partitioningSettings: { autoPartitioningSettings: { strategy: 99 } } },
      "BAD_REQUEST",
    ],
  ];
  for (const [what, at, settings, status] of cases) expect(await client.createTopic(at, settings), what).toBe(status);
  expect(await client.createTopic("folder/inner")).toBe("SUCCESS");
  expect(await client.createTopic("folder"), "over a directory").toBe("SCHEME_ERROR");
  const alter = async (change: object) => (await client.topics.alterTopic({ path, ...change })).operation?.status;
  expect(await alter({ addConsumers: [{ name: "c" }] }), "a consumer that is there").toBe(StatusCode.ALREADY_EXISTS);
  expect(await alter({ dropConsumers: ["nobody"] }), "a consumer that is not").toBe(StatusCode.NOT_FOUND);
  expect(await alter({ alterConsumers: [{ name: "nobody" }] })).toBe(StatusCode.NOT_FOUND);
  const fewer = { alterPartitioningSettings: { setMinActivePartitions: 0n } };
  expect(await alter(fewer), "fewer partitions").toBe(StatusCode.BAD_REQUEST);
  await lives();
});

/** An HTTP/2 connection of no gRPC client. */
function rawSession(server: TopicServer): ClientHttp2Session {
  const session = connectHttp2(`http://${server.host}:${server.port}`);
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

function call(session: ClientHttp2Session, method: string, headers: Record<string, string> = {}) {
  const stream = session.request({
    ":method": "POST",
    ":path": `/Ydb.Topic.V1.TopicService/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => {});
  return stream;
}

const garbage = (rng: SeededRng, length: number) => Buffer.from(Array.from({ length }, () => rng.int(0, 255)));

test("bad input: garbage in frames, frames without an end, and lengths that lie", async () => {
  const { server, lives } = await openWorld();
  const session = rawSession(server);
  const rng = seededRng(5);
  for (let round = 0; round < 60; round++) {
    const stream = call(session, round % 2 === 0 ? "StreamWrite" : "StreamRead");
    const body = garbage(rng, rng.int(1, 300));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(round % 3 === 0 ? body.length + 1000 : body.length, 1);
    // Whole, cut off, or without a frame around it.
    stream.end(round % 3 === 2 ? body : Buffer.concat([prefix, body]));
    stream.resume();
    await once(stream, "close");
  }
  const compressed = call(session, "StreamWrite", { "grpc-encoding": "gzip" });
  compressed.end(Buffer.from([1, 0, 0, 0, 1, 0]));
  compressed.resume();
  const [trailers] = (await once(compressed, "trailers")) as [Record<string, string>];
  expect(trailers["grpc-status"]).toBe("12");
  await lives();
});

test("bad input: garbage on the port, before, within and instead of HTTP/2", async () => {
  const { server, lives } = await openWorld();
  const rng = seededRng(6);
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  for (let round = 0; round < 100; round++) {
    const socket = connectTcp(server.port, server.host);
    socket.on("error", () => {});
    await once(socket, "connect");
    const noise = garbage(rng, rng.int(1, 2000));
    const kinds = [noise, Buffer.concat([preface, noise]), Buffer.concat([preface, settings, noise])];
    socket.end(kinds[round % 3] ?? "GET / HTTP/1.1\r\n\r\n");
    socket.resume();
    if (!socket.closed) await once(socket, "close");
  }
  await lives();
});

test("bad input: 1,000 idle connections, all of them greeted, cost nobody else anything", {
  timeout: 60_000,
}, async () => {
  const { server, lives } = await openWorld();
  const before = server.connections;
  const sessions = await Promise.all(
    Array.from({ length: 1000 }, async () => {
      const session = rawSession(server);
      await once(session, "remoteSettings");
      return session;
    }),
  );
  expect(server.connections).toBe(before + 1000);
  await lives();
  await Promise.all(
    sessions.map(async (session) => {
      session.destroy();
      await once(session, "close");
    }),
  );
  await lives();
});

test("bad input: a path that nobody serves, and a frame above 64,000,000 bytes, end their own call", async () => {
  const { server, lives } = await openWorld();
  const session = rawSession(server);
  const unknown = call(session, "StreamNothing");
  unknown.end();
  unknown.resume();
  const [headers] = (await once(unknown, "response")) as [Record<string, string>];
  const status =
    headers["grpc-status"] ?? ((await once(unknown, "trailers")) as [Record<string, string>])[0]["grpc-status"];
  expect(status).toBe("12");
  for (const method of ["StreamWrite", "StreamRead"]) {
    const stream = call(session, method);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(0xffff_ffff, 1);
    stream.write(prefix);
    stream.resume();
    const [trailers] = (await once(stream, "trailers")) as [Record<string, string>];
    expect(trailers["grpc-status"]).toBe("8");
    expect(decodeURIComponent(trailers["grpc-message"] ?? "")).toMatch(/larger than max/);
  }
  await lives();
});
