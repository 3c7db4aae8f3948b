// What official clients of other languages send or expect, on the wire: each test says whose it is.
import { createClient } from "@connectrpc/connect";
import {
  SchemeService,
  schemeWire,
  StatusCode,
  TableService,
  tableWire,
  topicAdminWire,
} from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import {
  acceptPartition,
  message,
  openRead,
  openTestServer,
  openWrite,
  type RawClient,
  rawClient,
  readMessages,
  unpack,
  write,
} from "./support.ts";

const path = "/local/t";
const { DISABLED, SCALE_UP } = topicAdminWire.AutoPartitioningStrategy;

const bounds = async (client: RawClient, topic = path) =>
  (await client.describe(topic)).partitions.map(({ keyRange }) => keyRange !== undefined);

test("Go: partitions have key ranges only where they are split, or its Kafka partitioner refuses them", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 2n } });
  expect(await bounds(client)).toEqual([false, false]);
  const settings = { minActivePartitions: 2n, autoPartitioningSettings: { strategy: SCALE_UP } };
  await client.createTopic("/local/auto", { partitioningSettings: settings } as never);
  expect(await bounds(client, "/local/auto")).toEqual([true, true]);
  const become = (setStrategy: number) => {
    const alterPartitioningSettings = { alterAutoPartitioningSettings: { setStrategy } };
    return client.topics.alterTopic({ path, alterPartitioningSettings } as never);
  };
  await become(SCALE_UP);
  expect(await bounds(client)).toEqual([true, true]);
  // Who chose a partition by a range goes on in a child by its range, whatever the topic does from now on.
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  await server.store.splitPartition(topic, 0);
  await become(DISABLED);
  expect(await bounds(client)).toEqual([true, true, true, true]);
});

test("Go: the metrics level is described as it was set, altered and reset", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { metricsLevel: 3 });
  expect((await client.describe(path)).metricsLevel).toBe(3);
  await client.topics.alterTopic({ path, metricsLevel: { case: "setMetricsLevel", value: 5 } });
  expect((await client.describe(path)).metricsLevel).toBe(5);
  await client.topics.alterTopic({ path, metricsLevel: { case: "resetMetricsLevel", value: {} } });
  expect((await client.describe(path)).metricsLevel).toBeUndefined();
});

test("Rust: a partition session names its topic within the database, and offsets are committed by that name", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic("/local/dir/t");
  const { stream: writer } = await openWrite(client, "/local/dir/t");
  await write(writer, [message(1)]);
  const { stream } = await openRead(client, "/local/dir/t");
  const { partitionSession } = await acceptPartition(stream);
  expect(partitionSession?.path).toBe("dir/t");
  await readMessages(stream, 1);
  const { sessionId } = await client.query.createSession({});
  const { txMeta } = await client.query.beginTransaction({ sessionId });
  const partitions = [{ partitionId: 0n, partitionOffsets: [{ start: 0n, end: 1n }] }];
  const { operation } = await client.topics.updateOffsetsInTransaction({
    tx: { id: txMeta?.id ?? "", session: sessionId },
    topics: [{ path: partitionSession?.path ?? "", partitions }],
    consumer: "c",
  });
  expect(operation?.status).toBe(StatusCode.SUCCESS);
});

test("Go: SELECT 1 AS name answers with a column of that name, and opens no transaction that only reads", async () => {
  const { query } = rawClient(await openTestServer());
  const { sessionId } = await query.createSession({});
  const serializable = { case: "serializableReadWrite", value: {} } as const;
  const stale = { case: "staleReadOnly", value: {} } as const;
  const execute = async (text: string, txMode: typeof serializable | typeof stale, commitTx: boolean) => {
    const txControl = { txSelector: { case: "beginTx", value: { txMode } } as const, commitTx };
    const content = { case: "queryContent", value: { syntax: 1, text } } as const;
    for await (const part of query.executeQuery({ sessionId, query: content, txControl })) return part;
    throw new Error("no answer");
  };
  expect((await execute("SELECT 1 AS col1;", serializable, false)).resultSet?.columns[0]?.name).toBe("col1");
  expect((await execute("select 1 as `a`", serializable, true)).resultSet?.columns[0]?.name).toBe("a");
  expect((await execute("SELECT 1", stale, true)).resultSet?.columns[0]?.name).toBe("column0");
  expect((await execute("SELECT 1", stale, false)).status).toBe(StatusCode.BAD_REQUEST);
  expect((await query.beginTransaction({ sessionId, txSettings: { txMode: stale } })).status).toBe(
    StatusCode.BAD_REQUEST,
  );
});

test("Python, Rust: directories are listed and described, and made without being asked twice", async () => {
  const client = rawClient(await openTestServer());
  const scheme = createClient(SchemeService, client.transport);
  await client.createTopic("/local/a/one");
  await client.createTopic("/local/a/two");
  await client.createTopic("/local/b");
  const list = async (at: string) => {
    const { operation } = await scheme.listDirectory({ path: at });
    const { self, children } = unpack(schemeWire.ListDirectoryResultSchema, operation);
    return { type: self?.type, children: children.map(({ name, type }) => [name, type]) };
  };
  const { DATABASE, DIRECTORY, TOPIC } = schemeWire.Entry_Type;
  expect(await list("/local")).toEqual({
    type: DATABASE,
    children: [
      ["a", DIRECTORY],
      ["b", TOPIC],
    ],
  });
  expect(await list("a")).toEqual({
    type: DIRECTORY,
    children: [
      ["one", TOPIC],
      ["two", TOPIC],
    ],
  });
  const described = unpack(schemeWire.DescribePathResultSchema, (await scheme.describePath({ path: "b" })).operation);
  expect([described.self?.name, described.self?.type]).toEqual(["b", TOPIC]);
  const missing = await scheme.describePath({ path: "/local/none" });
  expect(missing.operation?.status).toBe(StatusCode.SCHEME_ERROR);
  for (const call of [scheme.makeDirectory, scheme.makeDirectory, scheme.removeDirectory]) {
    expect((await call({ path: "/local/made" })).operation?.status).toBe(StatusCode.SUCCESS);
  }
});

test("Python, npm: a driver opens, keeps and deletes a session of tables that are not there", async () => {
  const client = rawClient(await openTestServer());
  const table = createClient(TableService, client.transport);
  const { operation } = await table.createSession({});
  const { sessionId } = unpack(tableWire.CreateSessionResultSchema, operation);
  expect(sessionId).toMatch(/node_id=1/);
  const kept = unpack(tableWire.KeepAliveResultSchema, (await table.keepAlive({ sessionId })).operation);
  expect(kept.sessionStatus).toBe(1);
  expect((await table.deleteSession({ sessionId })).operation?.status).toBe(StatusCode.SUCCESS);
});

test("Rust, Go: statistics of an empty topic have every field that clients refuse to be without", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const topic = await client.describe(path);
  const request = { path, consumer: "c", includeStats: true, includeLocation: true };
  const { operation } = await client.topics.describeConsumer(request);
  const described = unpack(topicAdminWire.DescribeConsumerResultSchema, operation);
  expect(topic.self).toBeDefined();
  expect(topic.partitioningSettings).toBeDefined();
  expect(topic.retentionPeriod).toBeDefined();
  expect(topic.topicStats?.minLastWriteTime).toBeDefined();
  expect(topic.topicStats?.maxWriteTimeLag).toBeDefined();
  expect(topic.topicStats?.bytesWritten).toBeDefined();
  expect(described.self).toBeDefined();
  expect(described.consumer).toBeDefined();
  expect(topic.consumers[0]?.readFrom).toBeDefined();
  expect(described.consumer?.readFrom).toBeDefined();
  expect(described.partitions).toHaveLength(1);
  for (const { partitionStats } of [...topic.partitions, ...described.partitions]) {
    expect(partitionStats?.partitionOffsets).toBeDefined();
    expect(partitionStats?.lastWriteTime).toBeDefined();
    expect(partitionStats?.maxWriteTimeLag).toBeDefined();
    expect(partitionStats?.bytesWritten).toBeDefined();
  }
  const reader = described.partitions[0]?.partitionConsumerStats;
  expect(reader?.lastReadTime).toBeDefined();
  expect(reader?.maxReadTimeLag).toBeDefined();
  expect(reader?.maxWriteTimeLag).toBeDefined();
});
