// What a writer does in single cases, on a simulated clock against the model.

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createSimulation } from "@tidemark/clock/testing";
import { TopicError, type TopicTransaction } from "@tidemark/topic";
import { createWriter, openWriter, type Writer, type WriterEvent, type WriterOptions } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { lost, ModelTopic, type ModelTopicOptions, noFaults } from "./support/model-topic.ts";
import { Settled } from "./support/settled.ts";

function world(model: Partial<ModelTopicOptions> = {}, options: Partial<WriterOptions> = {}) {
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const topic = new ModelTopic({ clock, rng, ...model });
  const writer = createWriter({ client: topic.client, topic: "orders", producerId: "p", clock, rng, ...options });
  return { simulation, clock, rng, topic, writer, settled: new Settled() };
}

const hung = { ...noFaults, hang: 1 };
const sizes = (topic: ModelTopic) => topic.requests.map(({ seqNos }) => seqNos.length);

test("sends at once when it is idle, in the same tick and together", async () => {
  const { simulation, topic, writer } = world();
  await simulation.settle();
  writer.write("1");
  writer.write(["2", "3"]);
  await simulation.settle();
  expect(sizes(topic)).toEqual([3]);
  writer.write("4");
  await simulation.settle();
  expect(sizes(topic)).toEqual([3, 1]);
  writer.destroy();
});

test("under load a hundred messages and more share a request, even when they come one a turn", async () => {
  const { simulation, clock, topic, writer } = world({ faults: { ...noFaults, delayMs: 20 } });
  await simulation.run(async () => {
    for (let n = 0; n < 20_000; n++) {
      writer.write("x".repeat(50));
      if (n % 20 === 0) await new Promise<void>((resolve) => clock.setImmediate(resolve));
    }
    await writer.flush();
  });
  expect(topic.messages).toHaveLength(20_000);
  expect(20_000 / topic.requests.length).toBeGreaterThan(100);
  writer.destroy();
});

test("X9: write says when to wait, never throws for being full, and keeps the order of those who wait", async () => {
  const { simulation, clock, topic, writer, settled } = world({}, { maxBufferMessages: 4 });
  expect([1, 2, 3, 4, 5].map((n) => writer.write(`early ${n}`))).toEqual([true, true, true, false, false]);
  expect(writer.bufferedMessages).toBe(5);
  const patience = new AbortController();
  settled.track("impatient", writer.ready(patience.signal));
  patience.abort(new Error("enough"));
  const produce = async (name: string) => {
    for (let n = 0; n < 20; n++) if (!writer.write(`${name} ${n}`)) await writer.ready();
  };
  await simulation.run(async () => {
    await Promise.all([produce("a"), produce("b")]);
    await writer.flush();
    await clock.sleep(0);
  });
  expect(settled.of("rejected")).toEqual(["impatient"]);
  const bodies = topic.messages.map(({ data }) => data);
  for (const name of ["a", "b"]) {
    const own = bodies.filter((body) => body.startsWith(`${name} `));
    expect(own).toEqual(Array.from({ length: 20 }, (_, n) => `${name} ${n}`));
  }
  expect(topic.messages.map(({ seqNo }) => seqNo)).toEqual(bodies.map((_, n) => BigInt(n + 1)));
  writer.destroy();
});

test("back-pressure counts bytes, too", async () => {
  const { simulation, writer } = world({}, { maxBufferBytes: 1_000 });
  expect(writer.write(new Uint8Array(500))).toBe(true);
  expect(writer.write(new Uint8Array(500))).toBe(false);
  await simulation.run(() => writer.ready());
  expect(writer.bufferedBytes).toBe(0);
  writer.destroy();
});

test("what is written may be changed as soon as write returns", async () => {
  const { simulation, topic, writer } = world();
  const scratch = Buffer.from("early");
  writer.write(scratch);
  scratch.write("xxxxx");
  await simulation.settle();
  scratch.write("later");
  writer.write(scratch);
  scratch.write("xxxxx");
  await simulation.settle();
  expect(topic.messages.map(({ data }) => data)).toEqual(["early", "later"]);
  writer.destroy();
});

test("of a list with one bad message none is taken", async () => {
  const { simulation, topic, writer } = world({}, { maxMessageBytes: 10 });
  expect(() => writer.write(["fine", "this is too long"])).toThrow(/MESSAGE_TOO_LARGE/);
  const much = { data: "x", metadata: { key: "v".repeat(4_096) } };
  expect(() => writer.write(["fine", much])).toThrow(/MESSAGE_INVALID.*4096/);
  expect(() => writer.write({ data: "x", seqNo: 1 })).toThrow(/SEQ_NO_INVALID/);
  const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [n, ""]));
  expect(() => writer.write({ data: "x", metadata: many })).toThrow(/1000 metadata items/);
  expect(() => writer.write({ data: "x", createdAt: new Date(Number.NaN) })).toThrow(/MESSAGE_INVALID/);
  expect(() => writer.write(undefined as never)).toThrow(/MESSAGE_INVALID/);
  await expect(writer.writeAcked("this is too long")).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
  writer.write("fine");
  await simulation.settle();
  expect(topic.messages.map(({ data }) => data)).toEqual(["fine"]);
  writer.destroy();
});

test("P7, P9, P19: a close that runs out of time says what is not acknowledged, and every waiter gets that", async () => {
  const { simulation, writer, settled } = world({ faults: hung }, { closeTimeoutMs: 5_000 });
  settled.track("ack", writer.writeAcked("1"));
  writer.write({ data: "2", metadata: { a: "b" } });
  settled.track("flush", writer.flush());
  const closing = writer.close();
  settled.track("close", closing);
  settled.track("close again", writer.close());
  await simulation.advance(5_000);
  expect(settled.of("rejected")).toEqual(["ack", "flush", "close", "close again"]);
  for (const { error } of settled.outcomes) {
    expect(error).toMatchObject({ code: "CLOSE_TIMEOUT", unacknowledged: { messages: 2 } });
  }
  const left = [...writer.unacknowledged()];
  expect(left.map(({ data }) => Buffer.from(data).toString())).toEqual(["1", "2"]);
  expect(Buffer.from(left[1]?.metadata["a"] as Uint8Array).toString()).toBe("b");
  await simulation.advance(3_600_000);
  expect(simulation.pending()).toEqual([]);
});

test("P8: close is idempotent, also with no stream ever made, and after it nothing is taken", async () => {
  const { simulation, topic, writer } = world({ faults: hung });
  await simulation.run(() => Promise.all([writer.close(), writer.close(), writer.close()]).then(() => undefined));
  await writer.close();
  expect(() => writer.write("late")).toThrow(/CLOSED/);
  await expect(writer.writeAcked("late")).rejects.toMatchObject({ code: "CLOSED" });
  await expect(writer.ready()).rejects.toMatchObject({ code: "CLOSED" });
  await writer.flush();
  writer.destroy();
  expect(topic.server.open).toBe(0);
});

test("destroy settles everybody at once with the reason, and so does the signal", async () => {
  const stop = new AbortController();
  const { simulation, topic, writer, settled } = world(
    { faults: { ...noFaults, delayMs: 1_000 } },
    { signal: stop.signal },
  );
  await simulation.advance(2_000);
  settled.track("ack", writer.writeAcked("1"));
  settled.track("flush", writer.flush());
  await simulation.settle();
  const reason = new Error("enough");
  stop.abort(reason);
  await simulation.settle();
  expect(settled.outcomes).toMatchObject([
    {
      state: "rejected",
      error: { code: "CLOSED", cause: reason, unacknowledged: { messages: 1, firstSeqNo: 1n, lastSeqNo: 1n } },
    },
    { state: "rejected" },
  ]);
  expect(topic.server.open).toBe(0);
});

test("X10: a handshake that hangs is tried again within its time, and what was written stays", async () => {
  const { simulation, topic, writer } = world({ faults: hung }, { reconnect: { handshakeTimeoutMs: 30_000 } });
  writer.write(["1", "2"]);
  await simulation.advance(29_000);
  topic.faults = noFaults;
  await simulation.advance(2_000);
  expect(topic.messages.map(({ data }) => data)).toEqual(["1", "2"]);
  writer.destroy();
});

test("X8: an acknowledgement of something else ends the stream, not the writer, and loses nothing", async () => {
  const { simulation, topic, writer } = world({ faults: { ...noFaults, duplicate: 1 } });
  await simulation.run(async () => {
    for (let n = 0; n < 5; n++) expect((await writer.writeAcked(String(n))).status).toBe("written");
  });
  await simulation.advance(60_000);
  expect(topic.messages.map(({ data }) => data)).toEqual(["0", "1", "2", "3", "4"]);
  expect(topic.server.started).toBeGreaterThan(1);
  writer.destroy();
});

test("X1: a server that accepts and drops is not stormed", async () => {
  const { simulation, topic, writer } = world({ faults: { ...noFaults, drop: 1 } });
  writer.write("1");
  await simulation.advance(10_000);
  expect(topic.server.started).toBeLessThan(20);
  writer.destroy();
});

test("somebody else who writes under the same producer is noticed, because nobody can tell what was dropped", async () => {
  const { simulation, topic, writer, settled } = world();
  await simulation.settle();
  settled.track("ack", writer.writeAcked("mine"));
  await simulation.settle();
  topic.partitions[0]?.last.set("p", 50n);
  settled.track("doubtful", writer.writeAcked("dropped as a duplicate?"));
  for (const peer of topic.server.peers) peer.fail(lost());
  await simulation.advance(5_000);
  expect(settled.outcomes).toMatchObject([
    { state: "resolved" },
    { state: "rejected", error: { code: "PRODUCER_CONFLICT" } },
  ]);
});

test("numbers continue after the last of the producer, also above 2^53", async () => {
  const { simulation, topic, writer } = world();
  topic.partitions[0]?.last.set("p", 2n ** 53n - 2n);
  const acks = await simulation.run(() => writer.writeAcked(["1", "2", "3"]));
  expect(acks.map(({ seqNo }) => seqNo)).toEqual([2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n]);
  for (const peer of topic.server.peers) peer.fail(lost());
  const [ack] = await simulation.run(() => writer.writeAcked(["4"]));
  expect(ack?.seqNo).toBe(2n ** 53n + 2n);
  expect(JSON.stringify(ack)).toContain("9007199254740994");
  writer.destroy();
});

test("X19: a writer to one partition by number ends when that is split", async () => {
  const { simulation, topic, writer, settled } = world({ partitions: 1, hasRanges: true }, { partitionId: 0 });
  await simulation.settle();
  topic.split(0n);
  settled.track("ack", writer.writeAcked("1"));
  await simulation.advance(5_000);
  expect(settled.outcomes).toMatchObject([{ error: { code: "PARTITION_INACTIVE", unacknowledged: { messages: 1 } } }]);
});

test("P13: a transaction's writer tries nothing twice", async () => {
  const ends: ((outcome: "committed") => void)[] = [];
  const transaction = {
    id: "tx",
    session: "session",
    nodeId: 2,
    onBeforeCommit: () => {},
    onEnd: (hook: (outcome: "committed") => void) => ends.push(hook),
  } as unknown as TopicTransaction;
  const { simulation, topic, writer, settled } = world({}, { transaction, producerId: "tx-1" });
  const ack = await simulation.run(() => writer.writeAcked("1"));
  expect(ack.status).toBe("written-in-tx");
  expect(topic.inits).toMatchObject([{ nodeId: 2 }]);
  for (const peer of topic.server.peers) peer.fail(lost());
  settled.track("ack", writer.writeAcked("2"));
  await simulation.advance(60_000);
  expect(settled.of("rejected")).toEqual(["ack"]);
  expect(topic.server.started).toBe(1);
  for (const end of ends) end("committed");
});

test("P14, X17: a changed token goes out, an unchanged one does not, and UNAUTHENTICATED comes back with a new one", async () => {
  const { simulation, topic, writer } = world({}, { tokenRefreshIntervalMs: 1_000 });
  await simulation.advance(10_500);
  expect(topic.tokens).toEqual(["token 1", "token 1"]);
  topic.token = "token 2";
  await simulation.advance(5_000);
  expect(topic.tokens).toEqual(["token 1", "token 1", "token 2"]);
  for (const peer of topic.server.peers) {
    peer.fail(new TopicError("TRANSPORT", "unauthenticated", { retryClass: "fast" }));
  }
  topic.token = "token 3";
  await simulation.run(() => writer.writeAcked("1").then(() => undefined));
  expect(topic.tokens[3]).toBe("token 3");
  writer.destroy();
});

test("direct writing follows the partition from node to node", async () => {
  const { simulation, topic, writer } = world({ partitions: 2 }, { isDirect: true, partitionId: 1n });
  const partition = topic.partitions[1] as (typeof topic.partitions)[number];
  expect((await simulation.run(() => writer.writeAcked("1"))).partitionId).toBe(1n);
  expect(topic.inits).toMatchObject([{ nodeId: partition.nodeId, partitioning: "partitionWithGeneration" }]);
  partition.nodeId = 9;
  partition.generation++;
  for (const peer of topic.server.peers) peer.fail(lost());
  await simulation.run(() => writer.writeAcked("2").then(() => undefined));
  expect(topic.inits.at(-1)).toMatchObject({ nodeId: 9 });
  writer.destroy();
});

test("direct writing asks for the partition of the producer first", async () => {
  const { simulation, topic, writer } = world({ partitions: 3 }, { isDirect: true });
  await simulation.run(() => writer.writeAcked("1").then(() => undefined));
  expect(topic.inits.map(({ partitioning }) => partitioning)).toEqual(["messageGroupId", "partitionWithGeneration"]);
  expect(topic.server.maxOpen, "P1").toBe(1);
  writer.destroy();
});

test("keyed writing waits for the partitions, and its close says what it could not place", async () => {
  const { simulation, writer, settled } = world(
    { faults: { ...noFaults, refuse: 1 } },
    { partitioning: { by: "key" }, closeTimeoutMs: 3_000 },
  );
  settled.track("ack", writer.writeAcked({ key: "a", data: "1" }));
  expect(() => writer.write("no key")).toThrow(/MESSAGE_INVALID/);
  settled.track("close", writer.close());
  await simulation.advance(3_000);
  expect(settled.outcomes).toMatchObject([
    { error: { code: "CLOSE_TIMEOUT" } },
    { error: { code: "CLOSE_TIMEOUT", unacknowledged: { messages: 1 } } },
  ]);
  expect([...writer.unacknowledged()]).toHaveLength(1);
  await simulation.advance(60_000);
  expect(simulation.pending()).toEqual([]);
});

test("a keyed writer that ends gives back what it could not place, with all that it carries", async () => {
  const { simulation, writer } = world({ faults: { ...noFaults, refuse: 1 } }, { partitioning: { by: "key" } });
  const createdAt = new Date(1_700_000_000_123);
  writer.write({ key: "a", data: "1", createdAt, metadata: { trace: "4711" } });
  await simulation.advance(1_000);
  writer.destroy();
  const left = [...writer.unacknowledged()];
  expect(left).toMatchObject([{ seqNo: undefined, isCompressed: false, createdAt }]);
  expect(Buffer.from(left[0]?.metadata["trace"] ?? []).toString()).toBe("4711");
});

test("a keyed writer whose partition has no successor gives back what it had for it", async () => {
  const partitioning = { by: "key", strategy: "kafka" } as const;
  const { simulation, topic, writer, settled } = world({ partitions: 1, hasRanges: true }, { partitioning });
  await simulation.run(() => writer.writeAcked({ key: "a", data: "0" }).then(() => undefined));
  topic.split(0n);
  settled.track("acks", writer.writeAcked(["1", "2"].map((data) => ({ key: "a", data, metadata: { n: data } }))));
  await simulation.advance(5_000);
  expect(settled.outcomes).toMatchObject([{ error: { code: "PARTITION_INACTIVE" } }]);
  const left = [...writer.unacknowledged()];
  expect(left.map(({ data, seqNo }) => [Buffer.from(data).toString(), seqNo])).toEqual([
    ["1", 2n],
    ["2", 3n],
  ]);
  expect(left.map(({ metadata }) => Buffer.from(metadata["n"] ?? []).toString())).toEqual(["1", "2"]);
});

test("what waits for its key to move is given back, whenever the writer ends", async () => {
  const partitioning = { by: "key", strategy: "kafka", refreshIntervalMs: 50 } as const;
  const keys = Array.from({ length: 8 }, (_, n) => `key ${n}`);
  const write = (writer: Writer, data: string) => writer.writeAcked(keys.map((key) => ({ key, data })));
  const counts = new Set<number>();
  for (let ticks = 0; ticks < 30; ticks++) {
    const { simulation, topic, writer } = world({}, { partitioning });
    await simulation.run(() => write(writer, "0").then(() => undefined));
    topic.grow();
    topic.faults = { ...noFaults, delayMs: 10_000 };
    const before = write(writer, "on its way while the new partition is noticed");
    await simulation.settle();
    topic.faults = noFaults;
    await simulation.advance(60);
    const held = write(writer, "held");
    const flushed = writer.flush().then(
      () => true,
      () => false,
    );
    held.catch(() => {});
    await simulation.run(async () => {
      await before;
      for (let left = ticks; left > 0; left--) await Promise.resolve();
      writer.destroy();
    });
    const left = [...writer.unacknowledged()].length;
    const refusal = expect.objectContaining({ unacknowledged: expect.objectContaining({ messages: left }) });
    expect(() => writer.write({ key: "late", data: "" }), `${ticks} ticks`).toThrow(refusal);
    expect(await flushed, `${ticks} ticks`).toBe(false);
    counts.add(left);
  }
  expect([...counts]).toEqual([keys.length]);
});

test("events tell what happens, in order, to their end", async () => {
  const { simulation, topic, writer } = world({ hasRanges: true }, { partitioning: { by: "key" } });
  const types: WriterEvent["type"][] = [];
  const reading = (async () => {
    for await (const { type } of writer.events()) types.push(type);
  })();
  await simulation.run(() => writer.writeAcked({ key: "k", data: "1" }).then(() => undefined));
  topic.split(0n);
  await simulation.run(() => writer.writeAcked({ key: "k", data: "2" }).then(() => undefined));
  await simulation.run(() => writer.close());
  await reading;
  expect(types).toEqual(["connected", "disconnected", "connected", "retired", "connected", "closed"]);
});

test("diagnostics channels tell of requests, acknowledgements and replays", async () => {
  const heard: string[] = [];
  const names = ["frame.sent", "messages.acknowledged", "frames.replayed"].map(
    (name) => `tidemark:topic-writer.${name}`,
  );
  const listen = (_: unknown, name: string | symbol) => void heard.push(String(name).slice(22));
  for (const name of names) subscribe(name, listen);
  try {
    const { simulation, topic, writer } = world({ faults: { ...noFaults, cutBefore: 1 } });
    await simulation.settle();
    writer.write("1");
    await simulation.settle();
    topic.faults = noFaults;
    await simulation.run(() => writer.flush());
    expect(heard).toEqual(["frame.sent", "frames.replayed", "frame.sent", "messages.acknowledged"]);
    writer.destroy();
  } finally {
    for (const name of names) unsubscribe(name, listen);
  }
});

test("options out of bounds are refused with what was expected", async () => {
  const { simulation, topic } = world();
  const bad = (options: Partial<WriterOptions>) => () =>
    createWriter({ client: topic.client, topic: "orders", ...options });
  expect(bad({ topic: "" })).toThrow(/OPTIONS_INVALID.*topic/);
  expect(bad({ producerId: "x".repeat(2_049) })).toThrow(/2048/);
  expect(bad({ maxFrameBytes: 10 })).toThrow(/maxFrameBytes/);
  expect(bad({ maxMessageBytes: 61_000_000 })).toThrow(/maxMessageBytes/);
  expect(bad({ partitionId: 1, partitioning: { by: "key" } })).toThrow(/exclude/);
  expect(bad({ producerId: "", partitioning: { by: "key" } })).toThrow(/producerId/);
  const reason = new Error("no");
  await expect(openWriter({ client: topic.client, topic: "orders", signal: AbortSignal.abort(reason) })).rejects.toBe(
    reason,
  );
  await simulation.settle();
});
