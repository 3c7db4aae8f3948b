import { getEventListeners } from "node:events";
import diagnostics from "node:diagnostics_channel";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { openReader, type ReaderBatch, ReaderError, type ReaderEvent } from "@tidemark/topic-reader";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { payload } from "./support/frames.ts";
import { world } from "./support/script.ts";

const offsets = (batch: ReaderBatch | null): number[] => [...(batch ?? [])].map(({ offset }) => Number(offset));

test("the init request says everything that the options say", async () => {
  const { open, server } = world();
  const reader = await open({
    topics: ["/local/a", { path: "b", partitions: [3], maxLagMs: 1_500, readFrom: new Date(2_000) }],
    readerName: "reader-7",
    partitionMaxInFlightBytes: 5_000,
  });
  expect(reader.sessionId).toBe("stream-1");
  expect(server.all("initRequest")).toMatchObject([
    {
      consumer: "consumer",
      readerName: "reader-7",
      autoPartitioningSupport: true,
      partitionMaxInFlightBytes: 5_000n,
      directRead: false,
      topicsReadSettings: [
        { path: "/local/a", partitionIds: [] },
        { path: "b", partitionIds: [3n], maxLag: { seconds: 1n, nanos: 500_000_000 }, readFrom: { seconds: 2n } },
      ],
    },
  ]);
  reader.destroy();
});

test("options out of bounds are named", async () => {
  const { open } = world();
  for (const [options, message] of [
    [{ topics: [] }, "topics must name at least one"],
    [{ topics: "" }, "path must not be empty"],
    [{ consumer: "" }, "consumer must name"],
    [{ maxBufferBytes: 0 }, "maxBufferBytes must be above 0, got 0"],
    [{ closeTimeoutMs: -1 }, "closeTimeoutMs must be at least 0, got -1"],
    [{ topics: { path: "a", partitions: [-1] } }, "partition id of a"],
    [{ topics: { path: "a", maxLagMs: -1 } }, "maxLagMs of a"],
    [{ noConsumer: true, consumer: undefined }, "partitions of /local/a must be named"],
  ] as const) {
    await expect(open(options as never)).rejects.toThrow(message);
  }
});

test("everything that a message carries is there: metadata, session meta, group, producer, times, numbers", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.say({
    case: "readResponse",
    value: {
      bytesSize: 100n,
      partitionData: [
        {
          partitionSessionId: 1n,
          batches: [
            {
              producerId: "p-1",
              codec: 1,
              writtenAt: { seconds: 5n, nanos: 250_000_000 },
              writeSessionMeta: { host: "h-1" },
              messageData: [
                {
                  offset: 3n,
                  seqNo: 2n ** 60n + 1n,
                  createdAt: { seconds: 4n, nanos: 0 },
                  data: payload("first"),
                  messageGroupId: "group",
                  metadataItems: [{ key: "k", value: payload("v") }],
                },
              ],
            },
            { producerId: "p-2", codec: 1, messageData: [{ offset: 4n, seqNo: 1n, data: payload("second") }] },
          ],
        },
      ],
    },
  });
  await settle();
  const [first, second, ...rest] = await reader.receive();
  expect(rest).toEqual([]);
  expect(first).toMatchObject({
    topic: "/local/a",
    partitionId: 0,
    offset: 3n,
    seqNo: 2n ** 60n + 1n,
    createdAt: new Date(4_000),
    writtenAt: new Date(5_250),
    producerId: "p-1",
    messageGroupId: "group",
    writeSessionMeta: { host: "h-1" },
  });
  expect(first?.metadata.map(({ key, value }) => [key, Buffer.from(value).toString()])).toEqual([["k", "v"]]);
  expect(first?.text()).toBe("first");
  expect(second).toMatchObject({ offset: 4n, producerId: "p-2", messageGroupId: "", writeSessionMeta: {} });
  expect(second?.text()).toBe("second");
  reader.destroy();
});

test("maxMessages cuts batches, and partitions take turns", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0, 1, 2, 3, 4]);
  server.data(2, [0, 1, 2]);
  await settle();
  const seen: string[] = [];
  for await (const batch of reader.read({ maxMessages: 2 })) {
    seen.push(`${batch.partitionId}:${offsets(batch).join()}`);
    if (seen.length === 5) break;
  }
  expect(seen).toEqual(["0:0,1", "1:0,1", "0:2,3", "1:2", "0:4"]);
  expect(() => reader.read({ maxMessages: 0 })).toThrow("maxMessages must be at least 1, got 0");
  reader.destroy();
});

test("a batch refuses an index that it does not have", async () => {
  const { open, server, settle } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [7, 8, 9]);
  await settle();
  const batch = (await reader.receive()).slice(1);
  expect(batch.length).toBe(2);
  expect(batch.offset(0)).toBe(8n);
  expect(() => batch.offset(2)).toThrow("index must be in [0, 2), got 2");
  expect(() => batch.data(-1)).toThrow(RangeError);
  expect(batch.slice(5).length).toBe(0);
  reader.destroy();
});

test("P20: receiveNowait gives null while there is nothing, between streams and after the end", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  expect(reader.receiveNowait()).toBeNull();
  server.greets = false;
  server.cut();
  await settle();
  expect(reader.receiveNowait()).toBeNull();
  await pass(1_000);
  expect(reader.receiveNowait()).toBeNull();
  reader.destroy();
  await settle();
  expect(reader.receiveNowait()).toBeNull();
});

test("X20: a signal ends the wait with its reason, and nothing stays on it", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  const controller = new AbortController();
  const { signal } = controller;
  server.start(1, 0);
  await settle();
  for (let n = 0; n < 100; n++) {
    const next = reader.receive({ signal });
    await Promise.resolve();
    server.data(1, [n]);
    await settle();
    expect(offsets(await next)).toEqual([n]);
  }
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  const waiting = outcome(reader.receive({ signal }));
  const looping = outcome(reader.read({ signal }).next());
  await settle();
  controller.abort(new Error("enough"));
  await settle();
  expect([waiting.error, looping.error]).toEqual([signal.reason, signal.reason]);
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  server.data(1, [100]);
  await settle();
  expect(offsets(reader.receiveNowait()), "the reader lives on").toEqual([100]);
  reader.destroy();
});

test("X21: a corrupt payload and an unknown codec are named where they are used, and cost nothing else", async () => {
  const { open, server, settle, simulation } = world();
  const reader = await open({ maxBufferBytes: 1_000 });
  server.start(1, 7);
  await settle();
  const good = gzipSync("good");
  server.data(
    1,
    [
      { offset: 0, data: good },
      { offset: 1, data: good.subarray(0, 12) },
    ],
    { codec: 2, bytes: 300 },
  );
  server.data(1, [{ offset: 2, data: payload("?") }], { codec: 12_345, bytes: 300 });
  server.data(1, [3], { bytes: 300 });
  await settle();
  const batches: ReaderBatch[] = [];
  await simulation.external(async () => {
    for (let n = 0; n < 3; n++) batches.push(await reader.receive());
  });
  await settle();
  const [first, second, third] = batches as [ReaderBatch, ReaderBatch, ReaderBatch];
  expect(Buffer.from(first.data(0)).toString()).toBe("good");
  expect(() => first.data(1)).toThrow(/DECODE_FAILED.*offset 1 of partition 7 of \/local\/a .* codec 2/);
  expect(Buffer.from(first.rawData(1))).toEqual(good.subarray(0, 12));
  expect(() => second.data(0)).toThrow(/offset 2 of partition 7 of \/local\/a .* codec 12345/);
  expect(offsets(third), "in order").toEqual([3]);
  expect(server.available).toBe(1_000);
  reader.destroy();
});

test("gzip and zstd come out as they went in, in order, whichever is done first", async () => {
  const { open, server, settle, simulation } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  const large = "x".repeat(3_000_000);
  server.data(1, [{ offset: 0, data: gzipSync(large) }], { codec: 2 });
  server.data(1, [{ offset: 1, data: zstdCompressSync("small") }], { codec: 4 });
  await settle();
  const texts: string[] = [];
  await simulation.external(async () => {
    for (let n = 0; n < 2; n++) for (const message of await reader.receive()) texts.push(message.text());
  });
  expect(texts).toEqual([large, "small"]);
  reader.destroy();
});

test("X10: a server that takes streams and says nothing is left after the watchdog's time, until it speaks", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open({ handshakeTimeoutMs: 5_000 });
  server.greets = false;
  server.cut();
  await pass(30_000);
  expect(server.memory.started).toBeGreaterThan(3);
  expect(server.memory.maxOpen, "P1").toBe(1);
  server.greets = true;
  await pass(10_000);
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  expect(offsets(await reader.receive())).toEqual([0]);
  reader.destroy();
});

test("P13: what cannot pass is told once, with what the server said, to everybody who waits", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  const waits = [outcome((await reader.receive()).commit()), outcome(reader.receive()), outcome(reader.read().next())];
  await settle();
  server.refuse(StatusCode.SCHEME_ERROR, "there is no topic /local/a");
  await settle();
  for (const { error } of waits) {
    expect(error).toMatchObject({ code: "FAILED", message: expect.stringContaining("there is no topic /local/a") });
  }
  await pass(600_000);
  expect(server.memory.started).toBe(1);
  await expect(reader.close()).rejects.toMatchObject({ code: "FAILED", uncommitted: [{ start: 0n, end: 1n }] });
});

test("what passes is waited for: the server restarts, is overloaded, ends the stream without a word", async () => {
  const { open, server, settle, pass } = world();
  const reader = await open();
  for (const end of [
    () => server.refuse(StatusCode.UNAVAILABLE, "restarting"),
    () => server.refuse(StatusCode.OVERLOADED, "too much"),
    () => server.refuse(StatusCode.SESSION_EXPIRED, "gone"),
    () => server.cut(),
  ]) {
    const before = server.memory.started;
    end();
    await pass(10_000);
    expect(server.memory.started).toBeGreaterThan(before);
    server.start(1, 0);
    await settle();
    server.data(1, [0]);
    await settle();
    expect(offsets(await reader.receive())).toEqual([0]);
  }
  reader.destroy();
});

test("a token is sent when it has changed, and an answer that never comes stops nothing (X17)", async () => {
  let token = "first";
  const { open, server, pass } = world(() => token);
  const reader = await open({ tokenRefreshIntervalMs: 10_000 });
  await pass(35_000);
  expect(server.all("updateTokenRequest")).toEqual([]);
  token = "second";
  await pass(10_000);
  token = "third";
  await pass(60_000);
  expect(server.all("updateTokenRequest").map((each) => each.token)).toEqual(["second", "third"]);
  server.say({ case: "updateTokenResponse", value: {} });
  token = "fourth";
  await pass(60_000);
  expect(server.all("updateTokenRequest").at(-1)?.token).toBe("fourth");
  reader.destroy();
});

test("X3: close reconnects to finish commits", async () => {
  const { open, server, settle, pass, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  server.start(2, 1);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  const looping = outcome(reader.read().next());
  server.cut();
  const closing = outcome(reader.close());
  const closingToo = outcome(reader.close());
  await pass(1_000);
  expect(server.all("readRequest"), "it wants no more data").toHaveLength(1);
  server.start(1, 1);
  server.start(2, 0);
  await settle();
  expect(
    server.startAnswers.slice(2).map((each) => Number(each.partitionSessionId)),
    "nor partitions without commits",
  ).toEqual([2]);
  expect(server.commits).toEqual(["2:[0, 2)"]);
  expect(closing.state).toBe("pending");
  server.acknowledge(2, 2);
  await settle();
  expect([commit.state, closing.state, closingToo.state, looping.state]).toEqual(
    Array.from({ length: 4 }, () => "resolved"),
  );
  expect(server.memory.open).toBe(0);
});

test("X3: close ends in time with a server that acknowledges nothing, and says what is not committed", async () => {
  const { open, server, settle, pass, outcome, simulation } = world();
  const reader = await open({ closeTimeoutMs: 7_000 });
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1]);
  await settle();
  const commit = outcome((await reader.receive()).commit());
  const closing = outcome(reader.close());
  server.cut();
  await pass(6_999);
  expect(closing.state).toBe("pending");
  await pass(1);
  await settle();
  const uncommitted = [{ topic: "/local/a", partitionId: 0, start: 0n, end: 2n }];
  expect(closing.error).toMatchObject({ code: "CLOSE_TIMEOUT", uncommitted });
  expect(commit.error).toMatchObject({ code: "CLOSED", uncommitted });
  await pass(600_000);
  expect(server.memory.open).toBe(0);
  expect(simulation.pending(), "X20").toEqual([]);
});

test("close says at once when a commit lies behind messages that nobody committed", async () => {
  const { open, server, settle, outcome } = world();
  const reader = await open();
  server.start(1, 0);
  await settle();
  server.data(1, [0, 1, 2]);
  await settle();
  const commit = outcome((await reader.receive()).slice(2).commit());
  await settle();
  const closing = outcome(reader.close());
  await settle();
  expect(closing.error).toMatchObject({ code: "UNCOMMITTED", uncommitted: [{ start: 2n, end: 3n }] });
  expect(commit.state).toBe("rejected");
});

test("P8, P9: close and destroy in any state settle everybody", async () => {
  for (const isConnected of [true, false]) {
    const { open, server, settle, pass, outcome, simulation } = world();
    const reader = await open();
    if (!isConnected) {
      server.greets = false;
      server.cut();
      await pass(500);
    }
    const waits = [outcome(reader.receive()), outcome(reader.read().next()), outcome(reader.close())];
    await pass(2_000);
    reader.destroy(new Error("enough"));
    await settle();
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "resolved", "resolved"]);
    expect(waits[0]?.error).toMatchObject({ code: "CLOSED" });
    await expect(reader.receive()).rejects.toSatisfy(ReaderError.is);
    expect(simulation.pending()).toEqual([]);
    await reader[Symbol.asyncDispose]();
  }
});

test("an open that is given up, or refused, leaves nothing", async () => {
  const { options, server, settle, pass, outcome, simulation } = world();
  server.greets = false;
  const controller = new AbortController();
  const opening = outcome(openReader(options({ signal: controller.signal })));
  await settle();
  controller.abort(new Error("too slow"));
  await pass(1_000);
  expect(opening.error).toBe(controller.signal.reason);
  expect(server.memory.open).toBe(0);
  expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  expect(simulation.pending()).toEqual([]);
});

test("what happens is told by events and diagnostics channels", async () => {
  const { open, server, settle } = world();
  const published: string[] = [];
  const names = ["batch.delivered", "commit.acknowledged", "partition.started", "partition.stopped", "credit.granted"];
  const subscriptions = names.map((name) => {
    const channel = `tidemark:topic-reader.${name}`;
    const onMessage = () => void published.push(name);
    diagnostics.subscribe(channel, onMessage);
    return () => diagnostics.unsubscribe(channel, onMessage);
  });
  const reader = await open();
  const events: ReaderEvent[] = [];
  const listening = (async () => {
    for await (const event of reader.events()) events.push(event);
  })();
  server.start(1, 0);
  await settle();
  server.data(1, [0]);
  await settle();
  (await reader.receive()).commitAndForget();
  await settle();
  server.acknowledge(1, 1);
  server.stop(1, true);
  await settle();
  await reader.close();
  await listening;
  for (const unsubscribe of subscriptions) unsubscribe();
  expect(new Set(published)).toEqual(new Set(names));
  expect(events.map(({ type }) => type)).toEqual([
    "partition-started",
    "partition-stopping",
    "partition-stopped",
    "closed",
  ]);
});

test("P9: what one receive gives up on is the next one's, whenever it gives up", async () => {
  let gaveUp = 0;
  for (let ticks = 0; ticks < 40; ticks++) {
    const { open, server, settle } = world();
    const reader = await open();
    server.start(1, 0);
    await settle();
    const patience = new AbortController();
    const first = reader.receive({ signal: patience.signal }).catch(() => undefined);
    let received: ReaderBatch | undefined;
    void reader.receive().then(
      (batch) => (received = batch),
      () => {},
    );
    server.data(1, [0]);
    for (let left = ticks; left > 0; left--) await Promise.resolve();
    patience.abort(new Error("enough"));
    const batch = await first;
    await settle();
    if (batch === undefined) gaveUp++;
    expect(offsets(batch ?? received ?? null), `${ticks} ticks`).toEqual([0]);
    reader.destroy();
  }
  expect(gaveUp).toBeGreaterThan(0);
});
