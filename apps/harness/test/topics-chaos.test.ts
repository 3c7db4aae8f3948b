import { expect, test } from "vitest";
import { whyNoSmallDisk } from "../src/chaos/small-disk.ts";
import { type TopicsFaultName, topicsFaults } from "../src/chaos/topics/topics-faults.ts";
import { runTopicsChaos } from "../src/chaos/topics/topics-run.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const seed = Number(process.env["TIDEMARK_SEED"] ?? (isLong ? Date.now() % 1_000_000 : 1));
const timeout = isLong ? 1_800_000 : 900_000;

/** Inflicts these faults in turn, and proves that everything acknowledged is there once and was read. */
async function inflict(only: readonly TopicsFaultName[], signal: AbortSignal) {
  console.info(`seed ${seed}`);
  const times = only.length * (isLong ? 30 : 1);
  const isDone = ({ total }: { readonly total: number }) => total >= times;
  const progress = await runTopicsChaos({ seed, only, inOrder: true, isDone, verifyEvery: 6, signal });
  expect(progress.total).toBe(times);
  expect(progress.verified?.messages).toBeGreaterThan(500);
  return progress;
}

test("a topic service, its writers and its reader get over their deaths, a bad network and jumps of the clock", {
  timeout,
}, async ({ signal }) => {
  const { counts } = await inflict(
    topicsFaults.filter(({ needs }) => needs !== "small-disk").map(({ name }) => name),
    signal,
  );
  expect(counts["kills of the service"]).toBeGreaterThan(0);
  expect(counts["kills of clients"]).toBeGreaterThan(1);
});

test("a topic service whose disk is full refuses, and loses nothing that it took", { timeout }, async ({
  signal,
  skip,
}) => {
  const why = await whyNoSmallDisk();
  skip(why !== undefined, why);
  await inflict(["full-disk"], signal);
});
