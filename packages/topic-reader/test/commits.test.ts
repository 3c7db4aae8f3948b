import { ReaderError } from "@tidemark/topic-reader";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { world } from "./support/script.ts";

test("a commit is one range, from the end of what was delivered before, and resolves when the server says so", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0, { committed: 10 });
  await settle();
  server.data(1, [10, 11, 12]);
  await settle();
  const batch = await reader.receive();
  expect([batch.startOffset, batch.endOffset, batch.length]).toEqual([10n, 13n, 3]);
  const commit = outcome(batch.commit());
  await settle();
  expect(server.commits).toEqual(["1:[10, 13)"]);
  expect(commit.state).toBe("pending");
  server.acknowledge(1, 12);
  await settle();
  expect(commit.state, "a part of it").toBe("pending");
  server.acknowledge(1, 13);
  await settle();
  expect(commit.state).toBe("resolved");
  expect(reader.uncommitted).toEqual([]);
  reader.destroy();
});

test("X14: a retention gap is covered by the commit behind it, so that the server acknowledges it", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  // Offsets 5 to 19 are gone, and 22 was compacted away.
  server.start(1, 0, { committed: 5, first: 20 });
  await settle();
  server.data(1, [20, 21, 23]);
  await settle();
  const batch = await reader.receive();
  batch.slice(0, 2).commitAndForget();
  batch.slice(2).commitAndForget();
  await settle();
  expect(server.commits).toEqual(["1:[5, 24)"]);
  reader.destroy();
});

test("X14: a commit that waited while retention went past it goes on from what is committed", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2]);
  await settle();
  const batch = await reader.receive();
  // Its start is never committed by this program, and then retention removes it.
  const commit = outcome(batch.slice(1).commit());
  await settle();
  expect(server.commits).toEqual(["1:[1, 3)"]);
  server.cut();
  await pass(1_000);
  server.start(1, 0, { first: 3 });
  await settle();
  expect(server.commits).toEqual(["1:[1, 3)", "1:[0, 3)"]);
  server.acknowledge(1, 3);
  await settle();
  expect(commit.state).toBe("resolved");
  reader.destroy();
});

test("commits of one turn share a request; parts may come in any order and twice (X14)", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0, 1, 2, 3]);
  server.data(2, [0, 1]);
  await settle();
  const first = await reader.receive();
  const second = await reader.receive();
  const outcomes = [first.slice(2), first.slice(0, 2), first, second, second.slice(0, 1)].map((part) =>
    outcome(part.commit()),
  );
  await settle();
  expect(server.all("commitOffsetRequest")).toHaveLength(1);
  expect(server.commits).toEqual(["1:[0, 4)", "2:[0, 2)"]);
  server.acknowledge(1, 4);
  server.acknowledge(2, 2);
  await settle();
  expect(outcomes.map(({ state }) => state)).toEqual(outcomes.map(() => "resolved"));
  reader.destroy();
});

test("a single message commits itself alone", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2]);
  await settle();
  const [, second] = await reader.receive();
  const commit = outcome(second?.commit() ?? Promise.reject(new Error("there is none")));
  await settle();
  expect(server.commits).toEqual(["1:[1, 2)"]);
  reader.destroy();
  await settle();
  expect(commit.error).toMatchObject({ code: "CLOSED", uncommitted: [{ start: 1n, end: 2n }] });
});

test("P16: commits survive reconnects: what is not acknowledged is sent again on the new session, clipped", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2, 3]);
  await settle();
  const batch = await reader.receive();
  const commit = outcome(batch.commit());
  await settle();
  server.cut();
  await pass(1_000);
  // The same partition has another id now, and something of it had arrived.
  server.start(7, 0, { committed: 2 });
  await settle();
  expect(server.commits).toEqual(["1:[0, 4)", "7:[2, 4)"]);
  expect(commit.state).toBe("pending");
  server.acknowledge(7, 4);
  await settle();
  expect(commit.state).toBe("resolved");
  reader.destroy();
});

test("P16: what the start hook commits settles nothing before the server says so, and survives reconnects", async () => {
  const { open, server, settle, pass, outcome } = world();
  let commitOffset: bigint | undefined;
  const reader = await open({ onPartitionStart: () => (commitOffset === undefined ? {} : { commitOffset }) });
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2, 3]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  await settle();
  commitOffset = 6n;
  server.cut();
  await pass(1_000);
  server.start(2, 0);
  await settle();
  expect(commit.state, "the answer to the start is all that was said").toBe("pending");
  expect(reader.uncommitted).toMatchObject([{ start: 0n, end: 6n }]);
  expect(server.startAnswers[1]?.readOffset, "nothing below it is delivered").toBe(6n);
  commitOffset = undefined;
  server.cut();
  await pass(1_000);
  server.start(3, 0, { committed: 2 });
  await settle();
  expect(server.commits).toEqual(["1:[0, 4)", "2:[0, 6)", "3:[2, 6)"]);
  expect(commit.state).toBe("pending");
  server.acknowledge(3, 6);
  await settle();
  expect(commit.state).toBe("resolved");
  expect(reader.uncommitted).toEqual([]);
  reader.destroy();
});

test("a batch from an old stream commits on the new one, and before its partition is back", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  const batch = await reader.receive();
  server.cut();
  await pass(1_000);
  expect(batch.isCurrent).toBe(false);
  const commit = outcome(batch.commit());
  await settle();
  server.start(1, 0);
  await settle();
  expect(server.commits).toEqual(["1:[0, 2)"]);
  server.acknowledge(1, 2);
  await settle();
  expect(commit.state).toBe("resolved");
  const again = outcome(batch.commit());
  await settle();
  expect(again.state, "it is committed already").toBe("resolved");
  reader.destroy();
});

test("a partition that does not come back rejects its commits in time", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open({ reassignTimeoutMs: 5_000 });
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  const batch = await reader.receive();
  const commit = outcome(batch.commit());
  await settle();
  server.cut();
  await pass(4_999);
  expect(commit.state).toBe("pending");
  await pass(2);
  expect(commit.error).toMatchObject({ code: "PARTITION_LOST" });
  const later = outcome(batch.commit());
  await settle();
  expect(later.error).toMatchObject({ code: "PARTITION_LOST" });
  reader.destroy();
});

test("commits of a partition that was taken away are rejected, except those that were done", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  const events = reader.events()[Symbol.asyncIterator]();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2, 3]);
  await settle();
  const batch = await reader.receive();
  const done = outcome(batch.slice(0, 2).commit());
  const lost = outcome(batch.slice(2, 3).commit());
  batch.slice(3).commitAndForget();
  await settle();
  server.stop(1, false, 2);
  await settle();
  expect(done.state).toBe("resolved");
  expect(lost.error).toMatchObject({ code: "PARTITION_LOST" });
  expect(ReaderError.is(lost.error)).toBe(true);
  expect(server.stopAnswers).toEqual([]);
  const seen: unknown[] = [];
  for (let n = 0; n < 3; n++) seen.push((await events.next()).value);
  expect(seen).toMatchObject([
    { type: "partition-started" },
    { type: "commit-lost", start: 2n, end: 4n },
    { type: "partition-stopped", reason: "lost" },
  ]);
  reader.destroy();
});

test("acknowledgements for sessions that are not known change nothing", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  server.acknowledge(9, 5);
  server.stop(9, true);
  server.stop(10, false);
  server.end(9, [1]);
  await settle();
  server.data(1, [0]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  await settle();
  server.acknowledge(9, 1);
  await settle();
  expect(commit.state).toBe("pending");
  server.acknowledge(1, 1);
  await settle();
  expect(commit.state).toBe("resolved");
  expect(server.stopAnswers).toEqual([]);
  expect(server.memory.started).toBe(1);
  reader.destroy();
});

test("a commit that somebody else was faster with starts the stream anew, and is not said twice", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  await settle();
  server.refuse(StatusCode.BAD_REQUEST, "double committing is forbidden");
  await pass(5_000);
  expect(server.memory.started).toBe(2);
  server.start(1, 0, { committed: 2 });
  await settle();
  expect(server.commits).toEqual(["1:[0, 3)", "1:[2, 3)"]);
  server.acknowledge(1, 3);
  await settle();
  expect(commit.state).toBe("resolved");
  server.refuse(StatusCode.BAD_REQUEST, "something else");
  await settle();
  await expect(reader.receive()).rejects.toMatchObject({ code: "FAILED" });
});

test("a server that refuses every commit ends the reader instead of a loop", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.onHeard = (message) => {
    if (message.case === "readRequest") server.start(1, 0);
    if (message.case === "commitOffsetRequest") server.refuse(StatusCode.BAD_REQUEST, "no");
  };
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  await pass(60_000);
  expect(commit.error).toMatchObject({ code: "FAILED" });
  expect(server.memory.started).toBe(4);
});

test("a partition that comes back while its old batch is in the loop keeps its new commits", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  const loop = reader.read();
  await loop.next();
  server.stop(1, false);
  server.start(2, 0);
  await settle();
  server.data(2, [0, 1]);
  await settle();
  const { value: batch } = await loop.next();
  const commit = outcome(batch?.commit() ?? Promise.reject(new Error("there is none")));
  await settle();
  expect(reader.uncommitted).toEqual([{ topic: "/local/a", partitionId: 0, start: 0n, end: 2n }]);
  reader.destroy();
  await settle();
  expect(commit.error).toMatchObject({ code: "CLOSED" });
});
