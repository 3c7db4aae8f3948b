// Random servers, random faults and a random user, against what a writer promises.

import { ReconnectLimiter } from "@tidemark/stream";
import { createSimulation } from "@tidemark/clock/testing";
import { createWriter, type WriteAck, WriterError } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { type Faults, lost, ModelTopic, noFaults } from "./support/model-topic.ts";
import { Settled } from "./support/settled.ts";

const tooLarge = new Uint8Array(100_001);
const seeds = process.env["TIDEMARK_LONG"] === "1" ? 10_000 : 300;

async function run(seed: number): Promise<void> {
  const simulation = createSimulation({ seed });
  const { clock, rng } = simulation;
  const rate = () => (rng.float() < 0.5 ? 0 : rng.float() ** 2 * 0.4);
  const faults: Faults = {
    refuse: rate(),
    hang: rate() / 2,
    drop: rate(),
    cutBefore: rate(),
    cutAfter: rate(),
    duplicate: rate() / 4,
    divide: rate() * 2,
    merge: rate() * 2,
    delayMs: rng.pick([0, 1, 20, 500]),
  };
  const topic = new ModelTopic({ clock, rng, faults, partitions: rng.int(1, 4) });
  const isManual = rng.float() < 0.3;
  const isCompressed = rng.float() < 0.3;
  const settled = new Settled();
  const writer = createWriter({
    client: topic.client,
    topic: "orders",
    producerId: "producer",
    seqNo: isManual ? "manual" : "auto",
    maxMessageBytes: 100_000,
    maxFrameBytes: rng.pick([1024, 65_536]),
    maxBufferMessages: rng.pick([20, 100_000]),
    tokenRefreshIntervalMs: 5_000,
    closeTimeoutMs: 600_000,
    ...(isCompressed && {
      codec: 10_001,
      compression: {
        codecs: [
          {
            codec: 10_001,
            compress: async (body: Uint8Array) => {
              await clock.sleep(rng.float() * 30);
              return Buffer.from(`z${Buffer.from(body).toString()}`);
            },
            decompress: (body: Uint8Array) => body.subarray(1),
          },
        ],
      },
    }),
    reconnect: { handshakeTimeoutMs: 2_000, limiter: new ReconnectLimiter({ clock, burst: 1e9 }) },
    clock,
    rng,
  });

  let written = 0;
  let acked = 0;
  let seqNo = 0;
  let lastSettled = -1;
  const message = () => {
    const data = String(written++);
    if (isManual) seqNo += rng.int(1, 4);
    const rest = { ...(isManual && { seqNo }), ...(rng.float() < 0.1 && { metadata: { key: data } }) };
    return Object.keys(rest).length === 0 ? data : { data, ...rest };
  };
  const onAck = (first: number) => (ack: WriteAck | readonly WriteAck[]) => {
    const acks = Array.isArray(ack) ? (ack as readonly WriteAck[]) : [ack as WriteAck];
    // X7, P18: in order, each once.
    expect(first).toBeGreaterThan(lastSettled);
    lastSettled = first + acks.length - 1;
    acked += acks.length;
    for (const [place, { status, offset, partitionId }] of acks.entries()) {
      if (status !== "written") continue;
      const stored = topic.partitions[Number(partitionId)]?.log[Number(offset)];
      expect(stored?.data, "an offset names its message").toBe(`${isCompressed ? "z" : ""}${first + place}`);
    }
  };

  await simulation.run(async () => {
    const actions = rng.int(5, 80);
    for (let n = 0; n < actions; n++) {
      const dice = rng.float();
      if (dice < 0.35) writer.write(message());
      else if (dice < 0.5) writer.write(Array.from({ length: rng.int(0, 60) }, message));
      else if (dice < 0.6) settled.track(`ack of ${written}`, writer.writeAcked(message()), onAck(written - 1));
      else if (dice < 0.65) {
        const first = written;
        const list = Array.from({ length: rng.int(1, 20) }, message);
        settled.track(`acks of ${first}`, writer.writeAcked(list), onAck(first));
      } else if (dice < 0.7) {
        const target = written;
        settled.track("flush", writer.flush(), () => {
          expect(topic.messages.length, "X7").toBeGreaterThanOrEqual(target);
        });
      } else if (dice < 0.74) settled.track("ready", writer.ready());
      else if (dice < 0.76) topic.token = `token ${n}`;
      else if (dice < 0.77) expect(() => writer.write(tooLarge)).toThrow(/MESSAGE_TOO_LARGE/);
      else if (dice < 0.78) for (const peer of topic.server.peers) peer.fail(lost());
      else if (dice < 0.8) {
        const patience = new AbortController();
        settled.track("impatient flush", writer.flush(patience.signal));
        settled.track("impatient ready", writer.ready(patience.signal));
        clock.setTimer(rng.float() * 1_000, () => patience.abort(new Error("enough")));
      } else await clock.sleep(rng.float() ** 3 * rng.pick([1, 50, 3_000]));
      expect(topic.server.maxOpen, "P1").toBeLessThanOrEqual(1);
    }
    // P6: the faults go on for a while after close() began.
    clock.setTimer(rng.float() * 20_000, () => {
      topic.faults = noFaults;
    });
    const closing = writer.close();
    settled.track("close again", writer.close());
    expect(() => writer.write("late")).toThrow(WriterError);
    await closing;
  });

  const bodies = topic.messages.map(({ data }) => data);
  const expected = Array.from({ length: written }, (_, n) => `${isCompressed ? "z" : ""}${n}`);
  expect(bodies, "P18: everything once and in order").toEqual(expected);
  await simulation.settle();
  expect(settled.of("pending"), "P9").toEqual([]);
  for (const { what, state, error } of settled.outcomes) {
    if (state === "rejected" && !what.startsWith("impatient")) throw new Error(`${what} rejected`, { cause: error });
  }
  expect(topic.server.maxOpen, "P1").toBeLessThanOrEqual(1);
  expect(topic.server.open).toBe(0);
  expect(writer.bufferedMessages).toBe(0);
  expect(writer.bufferedBytes).toBe(0);
  // P17: within one stream numbers only rise, and nothing is sent twice.
  // What the server had is not sent again.
  const last = new Map(topic.told);
  for (const { stream, seqNos } of topic.requests) {
    for (const each of seqNos) {
      expect(each, "P17").toBeGreaterThan(last.get(stream) ?? 0n);
      last.set(stream, each);
    }
  }
  await simulation.advance(3_600_000);
  expect(simulation.pending(), "X20").toEqual([]);
}

test(`P1, P6, P9, P16-P18, X7, X8 and X10 hold for ${seeds} seeds`, { timeout: 3_600_000 }, async () => {
  const only = process.env["TIDEMARK_SEED"];
  if (only !== undefined) return run(Number(only));
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: TIDEMARK_SEED=${seed} runs it alone`, { cause: error });
    }
  }
});
