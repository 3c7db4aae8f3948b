// Consume, transform, produce: each message exactly once, although the real `tidemark topics` is killed in the middle.
import { seededRng } from "@tidemark/clock";
import { freePorts } from "@tidemark/tooling/ports";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";
import { openWriter } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { testFolder } from "./support.ts";
import { bell, startTopics } from "./topics-support.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const rounds = isLong ? 50 : 2;
const seed = Number(process.env["TIDEMARK_SEED"] ?? (isLong ? Date.now() % 1_000_000 : 1));
const fast = { initialDelayMs: 5, slowInitialDelayMs: 5, maxDelayMs: 50, slowMaxDelayMs: 50 };
const partitions = 2;
const perRound = 120;

async function everythingIn(client: TopicClient, topic: string, count: number): Promise<string[]> {
  await using reader = await openReader({ client, topics: [{ path: topic, partitions: [0] }], noConsumer: true });
  const texts: string[] = [];
  for await (const batch of reader) {
    for (const message of batch) texts.push(message.text());
    if (texts.length >= count) break;
  }
  return texts;
}

async function ends(client: TopicClient, topic: string): Promise<number> {
  const described = await client.describeTopic(topic, { stats: true });
  return described.partitions.reduce((sum, { stats }) => sum + Number(stats?.endOffset), 0);
}

async function committed(client: TopicClient): Promise<number> {
  const described = await client.describeConsumer("in", "c", { stats: true });
  return described.partitions.reduce((sum, { progress }) => sum + Number(progress?.committedOffset), 0);
}

test(`P22, P23, X5: what transactions read and write is there once, or not at all, after ${rounds} SIGKILLs (seed ${seed})`, {
  timeout: rounds * 120_000,
}, async () => {
  const rng = seededRng(seed);
  const folder = testFolder();
  const [port = 0] = await freePorts(1);
  let kill = await startTopics(folder, port);
  await using client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  await client.createTopic("in", { partitions, consumers: ["c"] });
  for (const topic of ["left", "right"]) await client.createTopic(topic);
  const total = perRound * rounds;
  for (let partitionId = 0; partitionId < partitions; partitionId++) {
    await using writer = await openWriter({ client, topic: "in", producerId: `p${partitionId}`, partitionId });
    for (let n = 1; n <= total / partitions; n++) writer.write(`${partitionId}:${n}`);
  }

  const { ring, until } = bell();
  let begun = 0;
  await using reader = await openReader({ client, topics: "in", consumer: "c", ...fast });
  const step = async () => {
    const size = rng.int(1, 10);
    await client.transaction(
      async (transaction) => {
        const { signal } = transaction;
        begun++;
        ring();
        const batch = await reader.receive({ maxMessages: size, signal });
        batch.commitIn(transaction);
        for (const topic of ["left", "right"]) {
          const writer = await openWriter({ client, topic, transaction, reconnect: fast });
          for (const message of batch) writer.write(message.text());
        }
      },
      { timeoutMs: 10_000 },
    );
  };
  const working = (async () => {
    for (;;) {
      try {
        if ((await committed(client)) >= total) return;
        await step();
      } catch {
        // Aborted, or nobody knows. What is committed says where to go on.
      }
    }
  })();

  for (let round = 0; round < rounds; round++) {
    const enough = begun + rng.int(3, 15);
    await Promise.race([until(() => begun >= enough), working]);
    // Somewhere in what the last one does.
    for (let turn = rng.int(0, 200); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
    await kill();
    kill = await startTopics(folder, port);
  }
  await working;
  const left = await everythingIn(client, "left", total);
  expect(left).toEqual(await everythingIn(client, "right", total));
  expect(await ends(client, "left")).toBe(total);
  expect(await ends(client, "right")).toBe(total);
  for (let partitionId = 0; partitionId < partitions; partitionId++) {
    const expected = Array.from({ length: total / partitions }, (_, n) => `${partitionId}:${n + 1}`);
    expect(left.filter((text) => text.startsWith(`${partitionId}:`))).toEqual(expected);
  }
  await kill();
});
