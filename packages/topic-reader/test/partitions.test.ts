import type { ReaderBatch } from "@tidemark/topic-reader";
import { expect, test } from "vitest";
import { payload, unknownFrame } from "./support/frames.ts";
import { world } from "./support/script.ts";

const offsets = (batch: ReaderBatch | null): number[] => [...(batch ?? [])].map(({ offset }) => Number(offset));

test("X13: every byte comes back once: unknown and stopped sessions, several partitions, and what was read", async () => {
  const { open, server, settle } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  expect(server.all("readRequest").map(({ bytesSize }) => bytesSize)).toEqual([1_000n]);
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(99, [0], { bytes: 300 });
  await settle();
  expect(server.available, "of a session that is not known").toBe(1_000);
  server.data(1, [0, 1], { bytes: 200 });
  server.stop(1, false);
  server.data(1, [2], { bytes: 200 });
  await settle();
  expect(server.available, "of a session that was stopped").toBe(1_000);
  const batches = [{ codec: 1, messageData: [{ offset: 0n, data: payload("x") }] }];
  server.say({
    case: "readResponse",
    value: {
      bytesSize: 400n,
      partitionData: [
        { partitionSessionId: 2n, batches },
        { partitionSessionId: 99n, batches },
      ],
    },
  });
  server.charge(400);
  await settle();
  expect(server.available, "half of it is still here").toBe(600);
  expect(offsets(reader.receiveNowait())).toEqual([0]);
  await settle();
  expect(server.available).toBe(1_000);
  server.say({ case: "readResponse", value: { bytesSize: 400n } });
  server.charge(400);
  await settle();
  expect(server.available, "of a response without messages").toBe(1_000);
  reader.destroy();
});

test("X13: requests are coalesced to a quarter of the window, and a large message is repaid whole", async () => {
  const { open, server, settle } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  server.start(1, 0);
  await settle();
  for (let n = 0; n < 4; n++) {
    server.data(1, [n], { bytes: 100 });
    await settle();
    expect(offsets(reader.receiveNowait())).toEqual([n]);
  }
  await settle();
  expect(server.all("readRequest").map(({ bytesSize }) => bytesSize)).toEqual([1_000n, 300n]);
  server.data(1, [4], { bytes: 5_000 });
  await settle();
  expect(server.available).toBe(-4_100);
  reader.receiveNowait();
  await settle();
  expect(server.available).toBe(1_000);
  reader.destroy();
});

test("X13: a new stream gets the whole window, and batches of the old one give nothing to it", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1], { bytes: 900 });
  await settle();
  server.cut();
  await pass(1_000);
  expect(reader.receiveNowait(), "what was read ahead died with its stream (P16)").toBeNull();
  expect(server.available).toBe(1_000);
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1], { bytes: 900 });
  await settle();
  expect(offsets(reader.receiveNowait())).toEqual([0, 1]);
  await settle();
  expect(server.available).toBe(1_000);
  reader.destroy();
});

test("credit does not run out over thousands of forced stops with buffered messages", async () => {
  const { open, server, settle } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  for (let id = 1; id <= 3_000; id++) {
    server.start(id, 0);
    if (id % 100 === 0) await settle();
    server.data(id, [0], { bytes: 90 });
    if (id % 100 === 0) await settle();
    server.stop(id, false);
  }
  await settle();
  expect(server.available).toBeGreaterThan(750);
  reader.destroy();
});

test("X4: equal partition ids of two topics are two partitions", async () => {
  const { open, server, settle } = world();
  const reader = await open({ topics: ["/local/a", "/local/b"] });
  server.start(1, 0, { topic: "/local/a", committed: 5 });
  server.start(2, 0, { topic: "/local/b" });
  await settle();
  server.data(1, [5]);
  server.data(2, [0]);
  await settle();
  const batches = [await reader.receive(), await reader.receive()];
  expect(batches.map(({ topic, partitionId }) => `${topic}/${partitionId}`)).toEqual(["/local/a/0", "/local/b/0"]);
  for (const batch of batches) batch.commitAndForget();
  await settle();
  expect(server.commits).toEqual(["1:[5, 6)", "2:[0, 1)"]);
  reader.destroy();
});

test("X15: a graceful stop is answered once, when the batch in the loop is handled and its commit is done", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1], { bytes: 400 });
  server.data(1, [2, 3], { bytes: 400 });
  await settle();
  const loop = reader.read()[Symbol.asyncIterator]();
  const batch = (await loop.next()).value as ReaderBatch;
  server.stop(1, true);
  await settle();
  expect(server.stopAnswers).toEqual([]);
  expect(server.available, "what was not delivered is given up, with its credit").toBe(1_000);
  const commit = outcome(batch.commit());
  await settle();
  expect(server.commits).toEqual(["1:[0, 2)"]);
  server.stop(1, true);
  server.acknowledge(1, 2);
  await settle();
  expect(commit.state).toBe("resolved");
  expect(server.stopAnswers, "the program is still at it").toEqual([]);
  const next = outcome(loop.next());
  await settle();
  expect(next.state).toBe("pending");
  expect(server.stopAnswers).toEqual([1]);
  server.stop(1, true);
  server.stop(1, false);
  await settle();
  expect(server.stopAnswers).toEqual([1]);
  reader.destroy();
});

test("X15: the answer comes without a commit where nobody commits, and in time where one is never acknowledged", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open({ gracefulStopTimeoutMs: 5_000 });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.data(2, [0]);
  await settle();
  await reader.receive();
  const commit = outcome((await reader.receive()).commit());
  server.stop(1, true);
  server.stop(2, true);
  await settle();
  expect(server.stopAnswers).toEqual([1]);
  await pass(4_999);
  expect(server.stopAnswers).toEqual([1]);
  await pass(1);
  expect(server.stopAnswers).toEqual([1, 2]);
  await settle();
  expect(commit.error).toMatchObject({ code: "PARTITION_LOST" });
  reader.destroy();
});

test("X15: a forced stop after a graceful one ends it without an answer", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  server.stop(1, true);
  await settle();
  server.stop(1, false);
  await pass(60_000);
  expect(server.stopAnswers).toEqual([]);
  expect(commit.error).toMatchObject({ code: "PARTITION_LOST" });
  reader.destroy();
});

test("X15: an answer that became due on another stream is not given", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open({ gracefulStopTimeoutMs: 5_000 });
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  (await reader.receive()).commitAndForget();
  server.stop(1, true);
  await settle();
  server.cut();
  await pass(100);
  server.start(1, 0);
  await pass(60_000);
  expect(server.stopAnswers).toEqual([]);
  reader.destroy();
});

test("children are delivered after everything of their parents", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  const order: string[] = [];
  server.start(1, 0);
  server.start(2, 1);
  server.start(3, 2);
  await settle();
  server.data(1, [0]);
  server.data(1, [1]);
  server.data(3, [0]);
  server.data(2, [0]);
  // A merge: both are parents of 2, and the messages of 2 were here before it was known.
  server.end(1, [2]);
  server.end(2, [2]);
  await settle();
  for (let batch = reader.receiveNowait(); batch !== null; batch = reader.receiveNowait()) {
    order.push(`${batch.partitionId}:${offsets(batch).join()}`);
  }
  expect(order).toEqual(["0:0", "1:0", "0:1", "2:0"]);
  reader.destroy();
});

test("a parent that is taken away does not hold up its children", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.end(1, [1]);
  server.data(2, [0]);
  await settle();
  server.stop(1, false);
  await settle();
  expect(reader.receiveNowait()?.partitionId).toBe(1);
  reader.destroy();
});

test("the start hook says where to read and what to commit, and the commit behind it has no hole", async () => {
  const { open, server, settle } = world();
  const starts: unknown[] = [];
  const reader = await open({
    onPartitionStart(start) {
      starts.push(start);
      if (start.partitionId === 0) return { readOffset: 20n };
      return start.partitionId === 1 ? { commitOffset: 30n, readOffset: 40n } : undefined;
    },
  });
  server.start(1, 0, { committed: 10, first: 5, end: 50 });
  server.start(2, 1, { committed: 10 });
  server.start(3, 2, { committed: 10 });
  await settle();
  expect(starts[0]).toEqual({
    topic: "/local/a",
    partitionId: 0,
    committedOffset: 10n,
    firstOffset: 5n,
    endOffset: 50n,
  });
  expect(server.startAnswers).toMatchObject([
    { partitionSessionId: 1n, readOffset: 20n },
    { partitionSessionId: 2n, readOffset: 40n },
    { partitionSessionId: 3n },
  ]);
  expect(server.startAnswers[2]?.readOffset, "left out unless asked for").toBeUndefined();
  expect(server.commits).toEqual(["2:[10, 30)"]);
  server.data(1, [20]);
  server.data(2, [40]);
  await settle();
  for (let n = 0; n < 2; n++) reader.receiveNowait()?.commitAndForget();
  await settle();
  expect(server.commits, "a commit that began where reading began would hang").toEqual([
    "2:[10, 30)",
    "1:[10, 21)",
    "2:[30, 41)",
  ]);
  reader.destroy();
});

test("X12: a start hook that throws, hangs or answers nonsense is asked again and holds up nobody else", async () => {
  const { open, server, settle, pass } = world();
  const calls = [0, 0, 0, 0];
  const reader = await open({
    startHookTimeoutMs: 10_000,
    startHookRetryMs: 1_000,
    onPartitionStart({ partitionId }) {
      const call = (calls[partitionId] ?? 0) + 1;
      calls[partitionId] = call;
      if (call > 1) return undefined;
      if (partitionId === 0) throw new Error("no database");
      if (partitionId === 1) return new Promise(() => {});
      return partitionId === 2 ? { readOffset: 1n } : undefined;
    },
  });
  for (let n = 0; n < 4; n++) server.start(n + 1, n, { committed: 5 });
  await settle();
  expect(server.startAnswers.map((each) => Number(each.partitionSessionId))).toEqual([4]);
  server.data(4, [5]);
  await settle();
  expect(offsets(reader.receiveNowait())).toEqual([5]);
  await pass(1_000);
  // Which of two comes first is up to the simulation.
  expect(server.startAnswers.map((each) => Number(each.partitionSessionId)).sort((a, b) => a - b)).toEqual([1, 3, 4]);
  await pass(10_001);
  expect(server.startAnswers.map((each) => Number(each.partitionSessionId)).at(-1)).toBe(2);
  reader.destroy();
});

test("X16: a start hook that is done after a reconnect answers nothing", async () => {
  const { open, server, settle, pass, clock } = world();
  const reasons: unknown[] = [];
  let calls = 0;
  const reader = await open({
    async onPartitionStart(_, signal) {
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      if (++calls > 1) return undefined;
      await clock.sleep(5_000);
      return { readOffset: 77n };
    },
  });
  server.start(1, 0);
  await settle();
  server.cut();
  await pass(1_000);
  server.start(1, 3);
  await pass(10_000);
  expect(calls).toBe(2);
  expect(reasons).toMatchObject([{ code: "PARTITION_LOST" }]);
  expect(server.startAnswers).toMatchObject([{ partitionSessionId: 1n }]);
  expect(server.startAnswers[0]?.readOffset).toBeUndefined();
  reader.destroy();
});

test("without a consumer: partitions and offsets are the reader's, and are gone on with after a reconnect", async () => {
  const { open, server, settle, pass, outcome } = world();
  const topics = { path: "a", partitions: [{ id: 0, offset: 100n }, 1] };
  const reader = await open({ noConsumer: true, consumer: undefined, topics } as never);
  expect(server.all("initRequest")).toMatchObject([
    { consumer: "", topicsReadSettings: [{ path: "a", partitionIds: [0n, 1n] }] },
  ]);
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  expect(server.startAnswers[0]?.readOffset).toBe(100n);
  expect(server.startAnswers[1]?.readOffset).toBeUndefined();
  server.data(1, [100, 101, 102, 103]);
  server.data(2, [0, 1]);
  await settle();
  const batch = await reader.receive({ maxMessages: 3 });
  expect(offsets(batch)).toEqual([100, 101, 102]);
  const commit = outcome(batch.commit());
  await settle();
  expect(commit.error).toMatchObject({ code: "NO_CONSUMER" });
  server.cut();
  await pass(1_000);
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  expect(server.startAnswers.slice(2).map(({ readOffset }) => readOffset)).toEqual([103n, undefined]);
  reader.destroy();
});

test("P24: what is not known is skipped and told, and the stream lives", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  const events = reader.events()[Symbol.asyncIterator]();
  server.raw(unknownFrame());
  server.say({ case: "updatePartitionSession", value: { partitionSessionId: 4n } });
  server.say({ case: "partitionSessionStatusResponse", value: { partitionSessionId: 4n } });
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  expect((await events.next()).value).toEqual({ type: "unknown-message" });
  expect(offsets(reader.receiveNowait())).toEqual([0]);
  expect(server.memory.started).toBe(1);
  reader.destroy();
});
