import { Code, ConnectError } from "@connectrpc/connect";
import { systemClock } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { createTopicClient, TopicError, type TopicSettings } from "../src/index.ts";
import { StatusIds_StatusCode as Status } from "../src/gen/ydb/status_pb.ts";
import { DescribeConsumerResultSchema, DescribeTopicResultSchema } from "../src/gen/ydb/topic_admin_pb.ts";
import { done, refused, startNode } from "./support/database.ts";
import { Outgoing, roundTrip } from "./support/stream.ts";

const topicResult = { self: { name: "orders" }, partitions: [{ partitionId: 0n, active: true }] };
const describing = { topics: { describeTopic: () => done(DescribeTopicResultSchema, topicResult) } };
const open = (port: number, options: Parameters<typeof createTopicClient>[1] = {}) =>
  createTopicClient(`grpc://127.0.0.1:${port}/local`, options);
const bytes = (text: string) => new TextEncoder().encode(text);

const codeOf = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
  } catch (error) {
    return TopicError.is(error) ? `${error.code} ${error.status ?? ""}`.trim() : error;
  }
  return "no error";
};

test("does no I/O until it is used", async () => {
  await using node = await startNode();
  {
    await using client = open(node.port);
    client.stream("read");
    client.stream("write", { nodeId: 7 });
  }
  expect(node.calls).toEqual([]);
});

test("gives every call and stream the database, the token and the build", async () => {
  await using node = await startNode(describing);
  await using client = open(node.port, { credentials: { token: "secret-1" }, applicationName: "shop" });
  await client.describeTopic("orders");
  expect(await roundTrip(client.stream("write"), bytes("hello"))).toEqual(Buffer.from("hello"));
  expect(node.calls.map(({ name }) => name)).toEqual(["listEndpoints", "describeTopic", "StreamWrite"]);
  for (const { headers, token } of node.calls) {
    expect(token).toBe("secret-1");
    expect(headers.get("x-ydb-database")).toBe("/local");
    expect(headers.get("x-ydb-application-name")).toBe("shop");
    expect(headers.get("x-ydb-sdk-build-info")).toMatch(/^tidemark-topic\//);
  }
});

test("sends no token header when it is anonymous", async () => {
  await using node = await startNode(describing);
  await using client = open(node.port);
  await client.describeTopic("orders");
  expect(node.calls.map(({ token }) => token)).toEqual([null, null]);
});

test("tries again what can be, until it succeeds", async () => {
  let calls = 0;
  const statuses = [Status.UNAVAILABLE, Status.SESSION_BUSY, Status.TIMEOUT];
  await using node = await startNode({
    topics: {
      describeTopic() {
        const status = statuses[calls++];
        return status === undefined ? done(DescribeTopicResultSchema, topicResult) : refused(status, "not now");
      },
    },
  });
  await using client = open(node.port);
  expect((await client.describeTopic("orders")).name).toBe("orders");
  expect(calls).toBe(4);
});

test("does not try again what cannot succeed, and says what the server said", async () => {
  await using node = await startNode({
    topics: { describeTopic: () => refused(Status.SCHEME_ERROR, "path does not exist") },
  });
  await using client = open(node.port);
  const failed = client.describeTopic("orders");
  await expect(failed).rejects.toThrow("DescribeTopic of orders: SCHEME_ERROR: path does not exist (500)");
  expect(await codeOf(failed)).toBe("STATUS SCHEME_ERROR");
  expect(node.count("describeTopic")).toBe(1);
});

test.for([
  ["a session that does not read the partition is told at once", "s-1", 1, "STATUS SESSION_EXPIRED"],
  ["without one the same status passes", undefined, 2, "no error"],
] as const)("commitOffset: %s", async ([, readSessionId, calls, code]) => {
  let asked = 0;
  await using node = await startNode({
    topics: {
      commitOffset: () =>
        ++asked === 1 ? refused(Status.SESSION_EXPIRED, "not yours") : done(DescribeTopicResultSchema, {}),
    },
  });
  await using client = open(node.port);
  const options = readSessionId === undefined ? {} : { readSessionId };
  expect(await codeOf(client.commitOffset("orders", 0, "mail", 1, options))).toBe(code);
  expect(node.count("commitOffset")).toBe(calls);
});

test("does not repeat what may have happened when that does harm", async () => {
  await using node = await startNode({ topics: { createTopic: () => refused(Status.TIMEOUT, "maybe") } });
  await using client = open(node.port);
  expect(await codeOf(client.createTopic("orders"))).toBe("STATUS TIMEOUT");
  expect(node.count("createTopic")).toBe(1);
});

/** Lets a call of 600 s try again on simulated time until `isTried`, and then lets its time be over. */
async function outlast(simulation: Simulation, isTried: () => boolean): Promise<void> {
  while (!isTried()) {
    await new Promise<void>((resolve) => systemClock.setImmediate(resolve));
    await simulation.advance(1);
  }
  await simulation.advance(600_000);
}

test("ends a call at its deadline with the last reason", async () => {
  await using node = await startNode({ topics: { describeTopic: () => refused(Status.UNAVAILABLE, "starting up") } });
  const simulation = createSimulation({ seed: 1 });
  await using client = open(node.port, { clock: simulation.clock });
  const failed = expect(client.describeTopic("orders", { timeoutMs: 600_000 })).rejects.toThrow(
    /DEADLINE_EXCEEDED.*600000 ms.*starting up/,
  );
  await outlast(simulation, () => node.calls.filter(({ name }) => name === "describeTopic").length > 1);
  await failed;
});

test("throws the reason of a caller's signal unchanged", async () => {
  await using node = await startNode({ topics: { describeTopic: () => refused(Status.OVERLOADED, "later") } });
  await using client = open(node.port);
  const controller = new AbortController();
  const failed = client.describeTopic("orders", { signal: controller.signal });
  const reason = new Error("enough");
  controller.abort(reason);
  await expect(failed).rejects.toBe(reason);
});

test("fails calls that are under way when it is destroyed, and all later ones", async () => {
  await using node = await startNode({ topics: { describeTopic: () => new Promise(() => {}) } });
  const client = open(node.port);
  const pending = codeOf(client.describeTopic("orders"));
  client.destroy();
  expect(await pending).toBe("CLOSED");
  expect(await codeOf(client.describeTopic("orders"))).toBe("CLOSED");
  await client.close();
});

test("passes over an endpoint that cannot be reached", async () => {
  await using dead = await startNode();
  await dead.close();
  await using node = await startNode({
    ...describing,
    endpoints: (self) => [{ address: "127.0.0.1", port: dead.port, nodeId: 2 }, self],
  });
  await using client = open(node.port);
  for (let n = 0; n < 30; n++) await client.describeTopic("orders");
  expect(node.count("describeTopic")).toBe(30);
});

test("takes an empty list of endpoints for a failure that passes", async () => {
  let lists = 0;
  await using node = await startNode({ ...describing, endpoints: (self) => (++lists < 3 ? [] : [self]) });
  await using client = open(node.port);
  await client.describeTopic("orders");
  expect(lists).toBe(3);
  await using other = await startNode({ endpoints: () => [] });
  const simulation = createSimulation({ seed: 1 });
  await using lost = open(other.port, { clock: simulation.clock });
  const failed = expect(lost.describeTopic("orders", { timeoutMs: 600_000 })).rejects.toThrow(/NO_ENDPOINT/);
  await outlast(simulation, () => other.calls.length > 1);
  await failed;
});

test("goes to the node that is asked for, and to its own zone when that is preferred", async () => {
  await using far = await startNode(describing);
  await using near = await startNode({
    ...describing,
    selfLocation: "a",
    endpoints: (self) => [
      { ...self, location: "a" },
      { address: "127.0.0.1", port: far.port, nodeId: 2, location: "b" },
    ],
  });
  await using client = open(near.port, { discovery: { prefer: "local" } });
  for (let n = 0; n < 10; n++) await client.describeTopic("orders");
  expect(far.count("describeTopic")).toBe(0);
  await roundTrip(client.stream("write", { nodeId: 2 }), bytes("x"));
  expect(far.count("StreamWrite")).toBe(1);
  const incoming = client.stream("write", { nodeId: 9 }).start(new Outgoing())[Symbol.asyncIterator]();
  const error: unknown = await incoming.next().catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "NO_ENDPOINT", retryable: true });
  expect(client.classify(error)).toBe("fast");
});

test("goes nowhere else when discovery is off", async () => {
  await using node = await startNode(describing);
  await using client = open(node.port, { discovery: false });
  await client.describeTopic("orders");
  await roundTrip(client.stream("read", { nodeId: 12 }), bytes("x"));
  expect(node.calls.map(({ name }) => name)).toEqual(["describeTopic", "StreamRead"]);
});

test("fetches the endpoints anew when the list is old, without ending a stream to one that left", async () => {
  let listed = 2;
  await using second = await startNode(describing);
  await using first = await startNode({
    ...describing,
    endpoints: (self) => [self, { address: "127.0.0.1", port: second.port, nodeId: 2 }].slice(0, listed),
  });
  await using client = open(first.port, { discovery: { refreshMs: 0.001 } });
  const outgoing = new Outgoing();
  const stream = client.stream("write", { nodeId: 2 });
  const incoming = stream.start(outgoing)[Symbol.asyncIterator]();
  outgoing.push(bytes("a"));
  await incoming.next();
  listed = 1;
  while (first.count("listEndpoints") < 3) await client.describeTopic("orders");
  outgoing.push(bytes("b"));
  expect((await incoming.next()).value).toEqual(Buffer.from("b"));
  stream.cancel(undefined);
});

test("owns a stream that is canceled at any moment of its beginning (P2)", async () => {
  for (const turns of [0, 1, 2, 3, 5, 8, 20, 100]) {
    const token = Promise.withResolvers<string>();
    await using node = await startNode();
    await using client = open(node.port, { credentials: { provider: () => token.promise } });
    const stream = client.stream("write");
    const outgoing = new Outgoing();
    const next = stream.start(outgoing)[Symbol.asyncIterator]().next();
    const reason = new Error("changed my mind");
    for (let n = 0; n < turns; n++) await Promise.resolve();
    stream.cancel(reason);
    token.resolve("late");
    await expect(next).rejects.toBe(reason);
    await client.close();
    expect(node.count("StreamWrite")).toBe(0);
  }
});

test("answers a stream that breaks with an error that can be tried again", async () => {
  const node = await startNode({
    onStream: (call) => ({ frames: () => call.end(new ConnectError("gone", Code.Unavailable)) }),
  });
  await using client = open(node.port);
  const outgoing = new Outgoing();
  const incoming = client.stream("write").start(outgoing)[Symbol.asyncIterator]();
  outgoing.push(bytes("a"));
  const error: unknown = await incoming.next().catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "TRANSPORT" });
  expect(client.classify(error)).toBe("fast");
  await node.close();
});

test("measures the way to the server with pings", async ({ signal }) => {
  await using node = await startNode();
  await using client = open(node.port);
  const stream = client.stream("read");
  const incoming = stream.start(new Outgoing())[Symbol.asyncIterator]();
  const next = incoming.next();
  await stream.ping?.(signal);
  stream.cancel(new Error("done"));
  await expect(next).rejects.toThrow("done");
});

test("says in words what topics and consumers are", async () => {
  const requests: Record<string, unknown> = {};
  const keep = (name: string) => (request: unknown) => {
    requests[name] = request;
    return done();
  };
  await using node = await startNode({
    topics: {
      createTopic: keep("create"),
      alterTopic: keep("alter"),
      dropTopic: keep("drop"),
      commitOffset: keep("commit"),
      describeConsumer: () =>
        done(DescribeConsumerResultSchema, {
          consumer: { name: "mail", important: true },
          partitions: [
            { partitionId: 3n, active: true, partitionConsumerStats: { committedOffset: 12n, readerName: "r" } },
          ],
        }),
      describeTopic: () =>
        done(DescribeTopicResultSchema, {
          self: { name: "orders", owner: "root" },
          partitioningSettings: { minActivePartitions: 2n, autoPartitioningSettings: { strategy: 3 } },
          retentionPeriod: { seconds: 3600n },
          retentionStorageMb: 2n,
          supportedCodecs: { codecs: [1, 4, 10_000] },
          partitions: [
            {
              partitionId: 1n,
              active: false,
              childPartitionIds: [2n, 3n],
              keyRange: { toBound: Uint8Array.of(9) },
              partitionLocation: { nodeId: 5, generation: 6n },
              partitionStats: { partitionOffsets: { start: 10n, end: 20n }, lastWriteTime: { seconds: 1n } },
            },
          ],
          // YDB says 1970 where nobody set a time.
          consumers: [
            { name: "mail", readFrom: { seconds: 5n } },
            { name: "audit", readFrom: { seconds: 0n } },
          ],
        }),
    },
  });
  await using client = open(node.port);
  await client.createTopic("orders", {
    partitions: 2,
    retentionMs: 3_600_000,
    retentionBytes: 1_500_000,
    codecs: ["raw", "zstd", 10_001],
    autoPartitioning: { strategy: "scale-up", stabilizationMs: 1500 },
    consumers: ["mail", { name: "audit", important: true, readFrom: new Date(1000) }],
  });
  expect(requests["create"]).toMatchObject({
    path: "orders",
    partitioningSettings: {
      minActivePartitions: 2n,
      autoPartitioningSettings: {
        strategy: 2,
        partitionWriteSpeed: { stabilizationWindow: { seconds: 1n, nanos: 500_000_000 } },
      },
    },
    retentionPeriod: { seconds: 3600n },
    retentionStorageMb: 2n,
    supportedCodecs: { codecs: [1, 4, 10_001] },
    consumers: [{ name: "mail" }, { name: "audit", important: true, readFrom: { seconds: 1n } }],
  });
  await client.alterTopic("orders", {
    partitions: 4,
    dropConsumers: ["mail"],
    alterConsumers: [{ name: "audit", important: false }],
  });
  expect(requests["alter"]).toMatchObject({
    alterPartitioningSettings: { setMinActivePartitions: 4n },
    dropConsumers: ["mail"],
    alterConsumers: [{ name: "audit", setImportant: false }],
  });
  expect(requests["alter"]).not.toHaveProperty("setRetentionPeriod");
  await client.commitOffset("orders", 3, "mail", 2n ** 60n, { readSessionId: "s-1" });
  expect(requests["commit"]).toMatchObject({
    partitionId: 3n,
    consumer: "mail",
    offset: 2n ** 60n,
    readSessionId: "s-1",
  });
  await client.dropTopic("orders");
  expect(requests["drop"]).toMatchObject({ path: "orders" });
  const described = await client.describeTopic("orders", { stats: true, location: true });
  expect(described).toMatchObject({
    name: "orders",
    minPartitions: 2,
    autoPartitioning: { strategy: "scale-up-and-down" },
    retentionMs: 3_600_000,
    retentionBytes: 2 * 2 ** 20,
    codecs: ["raw", "zstd", 10_000],
    partitions: [
      {
        partitionId: 1n,
        isActive: false,
        children: [2n, 3n],
        keyRange: { from: undefined, to: Uint8Array.of(9) },
        location: { nodeId: 5, generation: 6n },
        stats: { startOffset: 10n, endOffset: 20n, lastWriteAt: new Date(1000) },
      },
    ],
    consumers: [{ name: "mail", readFrom: new Date(5000) }, { name: "audit" }],
  });
  expect(described.consumers[1]).not.toHaveProperty("readFrom");
  expect(await client.describeConsumer("orders", "mail", { stats: true })).toMatchObject({
    consumer: { name: "mail", important: true },
    partitions: [{ partitionId: 3n, progress: { committedOffset: 12n, readerName: "r" } }],
  });
  expect(await client.whoAmI()).toEqual({ user: "root", groups: ["all"] });
});

test.for<[string, TopicSettings]>([
  ["maxPartitions", { maxPartitions: 0 }],
  ["partitions", { partitions: 1.5 }],
  ["retentionMs", { retentionMs: -1 }],
  ["codec", { codecs: [9999] }],
])("refuses %s that cannot be before it asks the server", async ([name, settings]) => {
  await using client = createTopicClient("grpc://127.0.0.1:1/local", { clock: systemClock });
  await expect(client.createTopic("orders", settings)).rejects.toThrow(new RegExp(`OPTIONS_INVALID.*${name}`));
});
