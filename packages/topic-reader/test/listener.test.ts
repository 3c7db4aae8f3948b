import type { ReaderBatch } from "@tidemark/topic-reader";
import { expect, test } from "vitest";
import { world } from "./support/script.ts";

const text = (batch: ReaderBatch): string => `${batch.partitionId}:${[...batch].map(({ offset }) => offset).join()}`;

test("X12: a partition's batches come one at a time, and partitions do not wait for each other", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  const calls: string[] = [];
  const releases = new Map<string, () => void>();
  void reader.listen((batch) => {
    calls.push(text(batch));
    return new Promise((resolve) => releases.set(text(batch), resolve));
  });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.data(1, [1]);
  server.data(2, [0]);
  await settle();
  expect(calls).toEqual(["0:0", "1:0"]);
  releases.get("1:0")?.();
  server.data(2, [1]);
  await settle();
  expect(calls).toEqual(["0:0", "1:0", "1:1"]);
  releases.get("0:0")?.();
  await settle();
  expect(calls).toEqual(["0:0", "1:0", "1:1", "0:1"]);
  // What was handled is committed.
  expect(server.commits).toEqual(["2:[0, 1)", "1:[0, 1)"]);
  expect(() => reader.receiveNowait()).toThrow("read by nobody else");
  reader.destroy();
});

test("X12: a listener that throws gets the same batch again, later and later, and others go on", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  const events = reader.events()[Symbol.asyncIterator]();
  const calls: string[] = [];
  let failures = 3;
  void reader.listen((batch) => {
    calls.push(text(batch));
    if (batch.partitionId === 0 && failures-- > 0) throw new Error("the database is away");
  });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.data(1, [1]);
  server.data(2, [0]);
  await settle();
  expect(calls).toEqual(["0:0", "1:0"]);
  await pass(10_000);
  expect(calls).toEqual(["0:0", "1:0", "0:0", "0:0", "0:0", "0:1"]);
  await events.next();
  await events.next();
  expect((await events.next()).value).toMatchObject({ type: "listener-failed", partitionId: 0, attempt: 1 });
  reader.destroy();
});

test("X12: a listener that hangs on a full buffer loses the others one stream, and then nothing", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open({ maxBufferBytes: 1_000, listenerStallMs: 5_000 });
  const calls: string[] = [];
  let release = () => {};
  void reader.listen(async (batch) => {
    calls.push(text(batch));
    if (batch.partitionId === 0 && batch.offset(0) === 0n) await new Promise<void>((resolve) => (release = resolve));
  });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0], { bytes: 500 });
  server.data(1, [1], { bytes: 1_000 });
  await settle();
  expect(server.available, "nothing can come for partition 1").toBeLessThanOrEqual(0);
  await pass(11_000);
  expect(server.memory.started).toBe(2);
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  expect(
    server.startAnswers.slice(2).map((each) => Number(each.partitionSessionId)),
    "the hanging one gets no data and so no share of the credit",
  ).toEqual([2]);
  server.data(2, [0]);
  await settle();
  expect(calls).toEqual(["0:0", "1:0"]);
  release();
  await settle();
  expect(server.startAnswers.slice(3).map((each) => Number(each.partitionSessionId))).toEqual([1]);
  expect(server.commits, "its commit arrives on the new stream").toContain("1:[0, 1)");
  server.data(1, [1]);
  await settle();
  expect(calls).toEqual(["0:0", "1:0", "0:1"]);
  await pass(60_000);
  expect(server.memory.started).toBe(2);
  reader.destroy();
});

test("a listener that waits for its commit gets it also over a reconnect", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  let isDone = false;
  void reader.listen(
    async (batch) => {
      await batch.commit();
      isDone = true;
    },
    { isAutoCommit: false },
  );
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  expect(server.commits).toEqual(["1:[0, 2)"]);
  server.cut();
  await pass(1_000);
  server.start(1, 0);
  await settle();
  expect(server.commits).toEqual(["1:[0, 2)", "1:[0, 2)"]);
  server.acknowledge(1, 2);
  await settle();
  expect(isDone).toBe(true);
  reader.destroy();
});

test("two listeners never work on one partition, also after a reconnect", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  const calls: string[] = [];
  const releases: (() => void)[] = [];
  void reader.listen((batch) => {
    calls.push(text(batch));
    return new Promise((resolve) => releases.push(resolve));
  });
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  server.cut();
  await pass(1_000);
  server.start(1, 0);
  await settle();
  expect(server.startAnswers).toHaveLength(1);
  expect(calls).toEqual(["0:0"]);
  releases[0]?.();
  await settle();
  expect(server.startAnswers).toHaveLength(2);
  expect(server.commits).toEqual(["1:[0, 1)"]);
  reader.destroy();
});

test("a listener's signal aborts when its partition is taken away, and not when a stream breaks", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  const signals: AbortSignal[] = [];
  void reader.listen((batch, signal) => {
    signals.push(signal);
    return batch.offset(0) === 0n ? new Promise(() => {}) : undefined;
  });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.data(2, [0]);
  await settle();
  server.stop(1, false);
  await settle();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  server.cut();
  await pass(1_000);
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  reader.destroy();
  await settle();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
});

test("children wait until their parent's last batch is handled", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  const calls: string[] = [];
  const releases: (() => void)[] = [];
  void reader.listen((batch) => {
    calls.push(text(batch));
    return new Promise((resolve) => releases.push(resolve));
  });
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0]);
  server.end(1, [1]);
  server.data(2, [0]);
  await settle();
  expect(calls).toEqual(["0:0"]);
  releases[0]?.();
  await settle();
  expect(calls).toEqual(["0:0", "1:0"]);
  reader.destroy();
});

test("X12: a listener may close its reader; the close is bounded although it waits for itself", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open({ closeTimeoutMs: 5_000 });
  const listening = outcome(
    reader.listen(async () => {
      await reader.close();
    }),
  );
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await pass(4_999);
  expect(listening.state).toBe("pending");
  await pass(2);
  await settle();
  expect(listening.state).toBe("resolved");
});

test("close waits for the listeners at work, and commits what they did", async () => {
  const { open, server, settle, outcome } = world();
  server.onHeard = (message) => {
    if (message.case === "commitOffsetRequest") server.acknowledge(1, 1);
  };
  const reader = await open();
  let release = () => {};
  const listening = outcome(reader.listen(() => new Promise((resolve) => (release = resolve))));
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  server.data(1, [1]);
  await settle();
  const closing = outcome(reader.close());
  await settle();
  expect([closing.state, server.commits]).toEqual(["pending", []]);
  release();
  await settle();
  expect(server.commits).toEqual(["1:[0, 1)"]);
  expect(closing.state).toBe("resolved");
  expect(listening.state).toBe("resolved");
});

test("a partition that was taken away in the middle of a batch is committed again once it is back", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  let release = () => {};
  void reader.listen(async (batch) => {
    if (batch.offset(0) === 0n) await new Promise<void>((resolve) => (release = resolve));
  });
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  server.stop(1, false);
  server.start(2, 0);
  await settle();
  release();
  await settle();
  // The work was done, so it need not be done again.
  expect(server.commits).toEqual(["2:[0, 1)"]);
  server.data(2, [1]);
  await settle();
  expect(server.commits).toEqual(["2:[0, 1)", "2:[1, 2)"]);
  reader.destroy();
});
