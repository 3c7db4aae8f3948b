import type { TopicTransaction, TransactionOffsets, TransactionOutcome } from "@tidemark/topic";
import { expect, test } from "vitest";
import { world } from "./support/script.ts";

/** A transaction whose end the test decides; what the server is told is kept. */
function transaction() {
  const before: ((signal: AbortSignal) => Promise<void> | void)[] = [];
  const ends: ((outcome: TransactionOutcome) => void)[] = [];
  const updates: { readonly consumer: string; readonly offsets: readonly TransactionOffsets[] }[] = [];
  const { signal } = new AbortController();
  const tx: TopicTransaction = {
    id: "tx",
    session: "session",
    nodeId: 1,
    signal,
    onBeforeCommit: (hook) => void before.push(hook),
    onEnd: (hook) => void ends.push(hook),
    updateOffsets(consumer, offsets) {
      updates.push({ consumer, offsets });
      return Promise.resolve();
    },
  };
  const end = (outcome: TransactionOutcome) => {
    for (const hook of ends) hook(outcome);
  };
  return {
    tx,
    updates,
    end,
    async commit() {
      try {
        for (const hook of before) await hook(signal);
      } catch (error) {
        end("rolled-back");
        throw error;
      }
      end("committed");
    },
  };
}

test("X5: a transaction commits what was put into it, from the anchor on, and nothing that was read ahead", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  // Everything below 7 is gone.
  server.start(1, 0, { committed: 3, first: 7 });
  server.start(2, 1);
  await settle();
  server.data(1, [7, 8, 9, 10]);
  server.data(1, [11, 12]);
  server.data(2, [0, 1]);
  await settle();
  const { tx, updates, commit } = transaction();
  const first = await reader.receive({ maxMessages: 2 });
  const other = await reader.receive();
  const second = await reader.receive({ maxMessages: 1 });
  for (const batch of [first, other, second]) batch.commitIn(tx);
  await commit();
  expect(updates).toEqual([
    {
      consumer: "consumer",
      offsets: [
        { topic: "/local/a", partitionId: 0, ranges: [{ start: 3, end: 10 }] },
        { topic: "/local/a", partitionId: 1, ranges: [{ start: 0, end: 2 }] },
      ],
    },
  ]);
  await settle();
  expect(server.memory.started, "the stream goes on").toBe(1);
  const third = await reader.receive();
  const committed = outcome(third.commit());
  const already = outcome(first.commit());
  await settle();
  expect(server.commits, "from where the transaction ended").toEqual(["1:[10, 11)"]);
  expect([committed.state, already.state]).toEqual(["pending", "resolved"]);
  reader.destroy();
});

test("P22: a batch whose partition was lost fails the transaction before the server is told anything", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  server.data(1, [1]);
  await settle();
  const { tx, updates, commit } = transaction();
  const batch = await reader.receive();
  batch.commitIn(tx);
  server.stop(1, false);
  await settle();
  await expect(commit()).rejects.toMatchObject({ code: "STALE_BATCH" });
  expect(updates).toEqual([]);
  expect(() => batch.commitIn(transaction().tx)).toThrow("STALE_BATCH");
  reader.destroy();
});

test("P22: a batch from before a reconnect is stale, although its partition is back", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  const batch = await reader.receive();
  server.cut();
  await pass(1_000);
  server.start(1, 0);
  await settle();
  const { tx, updates } = transaction();
  expect(() => batch.commitIn(tx)).toThrow("STALE_BATCH");
  expect(updates).toEqual([]);
  reader.destroy();
});

for (const outcome of ["rolled-back", "unknown"] as const) {
  test(`P23: after a transaction that is ${outcome}, what was read is read again from what is committed`, async () => {
    const { open, server, settle, pass } = world();
    const reader = await open();
    server.start(1, 0);
    await settle();
    server.data(1, [0]);
    server.data(1, [1]);
    await settle();
    const { tx, end } = transaction();
    (await reader.receive()).commitIn(tx);
    end(outcome);
    await pass(5_000);
    expect(server.memory.started).toBe(2);
    expect(reader.receiveNowait()).toBeNull();
    server.start(1, 0);
    await settle();
    server.data(1, [0]);
    await settle();
    expect(reader.receiveNowait()?.offset(0)).toBe(0n);
    reader.destroy();
  });
}

test("without a consumer there is nothing to commit in a transaction", async () => {
  const { open, server, settle } = world();
  const reader = await open({
    consumer: undefined,
    noConsumer: true,
    topics: { path: "/local/a", partitions: [0] },
  } as never);
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  const batch = await reader.receive();
  expect(() => batch.commitIn(transaction().tx)).toThrow("NO_CONSUMER");
  reader.destroy();
});
