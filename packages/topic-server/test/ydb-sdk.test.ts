import { freePorts } from "@tidemark/tooling/ports";
import { expect, onTestFinished, test, vi } from "vitest";
import { AnonymousAuthService, Driver, StaticCredentialsAuthService, Ydb } from "ydb-sdk";
import { topicAdminWire } from "@tidemark/topic/internal";
import { openTestServer, rawClient, temporaryFolder, unpack } from "./support.ts";

const quiet = () => {};
const logger = { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet, fatal: quiet };

async function openDriver(
  connectionString: string,
  authService: AnonymousAuthService | StaticCredentialsAuthService = new AnonymousAuthService(),
): Promise<Driver> {
  const driver = new Driver({ connectionString, authService, logger: logger as never });
  onTestFinished(() => driver.destroy());
  expect(await driver.ready(50_000)).toBe(true);
  return driver;
}

const messages = (texts: readonly string[]) => ({
  codec: Ydb.Topic.Codec.CODEC_RAW,
  messages: texts.map((text) => ({ data: Buffer.from(text), uncompressedSize: text.length })),
});

test("npm's ydb-sdk creates, writes, reads, commits, and goes on after a restart of the server", {
  timeout: 180_000,
}, async () => {
  const dataDir = temporaryFolder();
  const [port = 0] = await freePorts(1);
  const first = await openTestServer({ dataDir, listen: { port }, closeTimeoutMs: 100 });
  const driver = await openDriver(first.connectionString);
  await driver.topic.createTopic({ path: "/local/npm", consumers: [{ name: "c" }] });
  // It hands out the answer as it came.
  const described = (await driver.topic.describeTopic({ path: "/local/npm" })) as { operation?: { status?: number } };
  expect(described.operation?.status).toBe(Ydb.StatusIds.StatusCode.SUCCESS);

  const open = async () => {
    // Promises, whatever their types say.
    const writer = await Promise.resolve(
      driver.topic.createWriter({ path: "/local/npm", producerId: "p", getLastSeqNo: true }),
    );
    const opening = driver.topic.createReader({
      topicsReadSettings: [{ path: "/local/npm" }],
      consumer: "c",
      receiveBufferSizeInBytes: 1024 * 1024,
    });
    const reader = await Promise.resolve(opening);
    const incoming = reader.messages[Symbol.asyncIterator]();
    const read = async () => {
      const { value } = await incoming.next();
      await value?.commit();
      return Buffer.from(value?.data ?? []).toString();
    };
    return { writer, reader, read };
  };
  const before = await open();
  await before.writer.send(messages(["one"]));
  await before.writer.send(messages(["two"]));
  expect([await before.read(), await before.read()]).toEqual(["one", "two"]);
  // Its commits do not wait for an answer.
  const committed = async () => {
    const { operation } = await rawClient(first).topics.describeConsumer({
      path: "/local/npm",
      consumer: "c",
      includeStats: true,
    });
    const { partitions } = unpack(topicAdminWire.DescribeConsumerResultSchema, operation);
    return partitions[0]?.partitionConsumerStats?.committedOffset === 2n;
  };
  await vi.waitUntil(committed, { timeout: 50_000, interval: 20 });

  await first.close();
  const second = await openTestServer({ dataDir, listen: { port }, closeTimeoutMs: 100 });
  // Its writers give up when their stream breaks, or while its driver dials again.
  const sendThree = async () => {
    const opened = await open();
    try {
      await opened.writer.send(messages(["three"]));
      return opened;
    } catch {
      opened.reader.close(true);
      return undefined;
    }
  };
  const after = await vi.waitUntil(sendThree, { timeout: 50_000, interval: 200 });
  // Its first reader comes back by itself, and has the partition if it is the first to.
  expect(await Promise.any([before.read(), after.read()])).toBe("three");
  const { partitions } = await rawClient(second).describe("/local/npm");
  expect(partitions[0]?.partitionStats?.partitionOffsets?.end).toBe(3n);
  after.writer.close(true);
  after.reader.close(true);
});

test("npm's ydb-sdk logs in with user and password, and has that user's rights", { timeout: 60_000 }, async () => {
  const rights = [{ topic: "/local/mine", can: ["manage", "write"] }] as const;
  const server = await openTestServer({ auth: { users: [{ name: "me", password: "secret", rights }] } });
  const login = new StaticCredentialsAuthService("me", "secret", `${server.host}:${server.port}`, logger as never);
  const { topic } = await openDriver(server.connectionString, login);
  await topic.createTopic({ path: "/local/mine", consumers: [{ name: "c" }] });
  const writer = await Promise.resolve(topic.createWriter({ path: "/local/mine", producerId: "p" }));
  await writer.send(messages(["one"]));
  writer.close(true);
  const refused = (await topic.createTopic({ path: "/local/theirs" })) as { operation?: { status?: number } };
  expect(refused.operation?.status).toBe(Ydb.StatusIds.StatusCode.UNAUTHORIZED);
});
