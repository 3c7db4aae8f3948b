// Keyed writing over partitions that are split while it goes on, against random servers, faults and users.

import { createSimulation } from "@tidemark/clock/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { createWriter, type WriteAck } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { type Faults, lost, ModelTopic, noFaults } from "./support/model-topic.ts";
import { Settled } from "./support/settled.ts";

const seeds = process.env["TIDEMARK_LONG"] === "1" ? 10_000 : 300;

/** Partitions that came while a writer was open, and got messages. */
let grown = 0;

async function run(seed: number): Promise<void> {
  const simulation = createSimulation({ seed });
  const { clock, rng } = simulation;
  const rate = () => (rng.float() < 0.5 ? 0 : rng.float() ** 2 * 0.3);
  const faults: Faults = {
    refuse: rate(),
    hang: rate() / 2,
    drop: rate(),
    cutBefore: rate(),
    cutAfter: rate(),
    duplicate: 0,
    divide: rate() * 2,
    merge: rate() * 2,
    delayMs: rng.pick([0, 1, 20, 300]),
  };
  const strategy = rng.float() < 0.85 ? "bounds" : "kafka";
  const opensInactive = rng.float() < 0.5;
  const topic = new ModelTopic({
    clock,
    rng,
    faults,
    partitions: rng.int(1, 5),
    hasRanges: strategy === "bounds",
    opensInactive,
  });
  const started = topic.partitions.length;
  const isManual = rng.float() < 0.3;
  const isCompressed = rng.float() < 0.2;
  const settled = new Settled();
  const writer = createWriter({
    client: topic.client,
    topic: "orders",
    producerId: "producer",
    partitioning: { by: "key", refreshIntervalMs: rng.pick([50, 1_000, 60_000]) },
    seqNo: isManual ? "manual" : "auto",
    maxFrameBytes: rng.pick([1024, 65_536]),
    closeTimeoutMs: 600_000,
    ...(isCompressed && { codec: "gzip" }),
    isDirect: rng.float() < 0.3,
    reconnect: { handshakeTimeoutMs: 2_000, limiter: new ReconnectLimiter({ clock, burst: 1e9 }) },
    clock,
    rng,
  });

  const keys = Array.from({ length: rng.int(1, 20) }, (_, n) => `key ${n}`);
  const written = new Map<string, number>();
  let total = 0;
  let seqNo = 0;
  const message = () => {
    const key = rng.pick(keys);
    const number = written.get(key) ?? 0;
    written.set(key, number + 1);
    total++;
    seqNo += rng.int(1, 3);
    return { key, data: `${key}:${number}`, ...(isManual && { seqNo }) };
  };
  const split = () => {
    const active = topic.partitions.filter(({ isActive }) => isActive);
    if (topic.partitions.length >= 20) return;
    if (strategy === "bounds") topic.split(rng.pick(active).partitionId);
    else topic.grow();
  };

  await simulation.run(async () => {
    const actions = rng.int(5, 80);
    for (let n = 0; n < actions; n++) {
      const dice = rng.float();
      if (dice < 0.3) writer.write(message());
      else if (dice < 0.45) writer.write(Array.from({ length: rng.int(0, 100) }, message));
      else if (dice < 0.55) {
        const { key, ...rest } = message();
        settled.track(`ack of ${rest.data}`, writer.writeAcked({ key, ...rest }), (ack: WriteAck) => {
          if (ack.status !== "written" || isCompressed) return;
          const stored = topic.partitions[Number(ack.partitionId)]?.log[Number(ack.offset)];
          expect(stored?.data).toBe(rest.data);
        });
      } else if (dice < 0.6) settled.track("acks", writer.writeAcked(Array.from({ length: 5 }, message)));
      else if (dice < 0.68) {
        const target = total;
        settled.track("flush", writer.flush(), () => {
          expect(topic.messages.length, "X7").toBeGreaterThanOrEqual(target);
        });
      } else if (dice < 0.76) split();
      else if (dice < 0.78) for (const peer of topic.server.peers) peer.fail(lost());
      else if (dice < 0.8) {
        // The partition moves to another node.
        const partition = rng.pick(topic.partitions);
        partition.nodeId = rng.int(1, 4);
        partition.generation++;
      } else await clock.sleep(rng.float() ** 3 * rng.pick([1, 50, 3_000]));
    }
    clock.setTimer(rng.float() * 20_000, () => {
      topic.faults = noFaults;
    });
    const closing = writer.close();
    // Also while it is being closed.
    split();
    await closing;
  });

  await simulation.settle();
  expect(settled.of("pending"), "P9").toEqual([]);
  for (const { what, state, error } of settled.outcomes) {
    if (state === "rejected") throw new Error(`${what} rejected`, { cause: error });
  }
  expect(topic.messages.length, "X19: nothing lost, nothing twice").toBe(total);
  if (!isCompressed) {
    const byKey = new Map<string, number[]>();
    // A partition has a higher number than those that it came from; without ranges only the time tells.
    const stored = topic.messages;
    const ordered = strategy === "bounds" ? stored : stored.toSorted((one, other) => one.arrival - other.arrival);
    for (const { data } of ordered) {
      const [key, number] = data.split(":") as [string, string];
      byKey.set(key, [...(byKey.get(key) ?? []), Number(number)]);
    }
    for (const [key, numbers] of byKey) {
      expect(numbers, `X19: the order of ${key}`).toEqual(Array.from({ length: written.get(key) ?? 0 }, (_, n) => n));
    }
  }
  expect(topic.maxOpen, "P1: for each producer").toBeLessThanOrEqual(1);
  expect(topic.server.open).toBe(0);
  if (strategy === "kafka") grown += topic.partitions.filter(({ log }, n) => n >= started && log.length > 0).length;
  expect(writer.bufferedMessages).toBe(0);
  expect(writer.bufferedBytes).toBe(0);
  await simulation.advance(3_600_000);
  expect(simulation.pending(), "X20").toEqual([]);
}

test(`P1, P9, X7 and X19 hold by key for ${seeds} seeds`, { timeout: 3_600_000 }, async () => {
  const only = process.env["TIDEMARK_SEED"];
  if (only !== undefined) return run(Number(only));
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: TIDEMARK_SEED=${seed} runs it alone`, { cause: error });
    }
  }
  expect(grown, "new partitions are used").toBeGreaterThan(seeds / 60);
});
