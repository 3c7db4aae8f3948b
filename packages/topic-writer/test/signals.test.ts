// What is told of streams and acknowledgements, over the faults of a server that says things twice, in parts or not at all.

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createSimulation } from "@tidemark/clock/testing";
import { createWriter, type WriterEvent } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { ModelTopic, noFaults } from "./support/model-topic.ts";

const count = 40;
const faults = {
  ...noFaults,
  refuse: 0.1,
  drop: 0.1,
  cutBefore: 0.1,
  cutAfter: 0.2,
  duplicate: 0.2,
  divide: 0.3,
  merge: 0.3,
  delayMs: 20,
};

async function acknowledged(work: () => Promise<void>): Promise<number> {
  let messages = 0;
  const listen = (told: unknown) => (messages += (told as { readonly messages: number }).messages);
  subscribe("tidemark:topic-writer.messages.acknowledged", listen);
  try {
    await work();
  } finally {
    unsubscribe("tidemark:topic-writer.messages.acknowledged", listen);
  }
  return messages;
}

test("P21: a stream's begin and end, and each acknowledgement, are told once, however often the server says so", async () => {
  let lostStreams = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const simulation = createSimulation({ seed });
    const { clock, rng } = simulation;
    const topic = new ModelTopic({ clock, rng, faults });
    const writer = createWriter({ client: topic.client, topic: "orders", producerId: "p", clock, rng });
    const events: WriterEvent[] = [];
    const reading = (async () => {
      for await (const event of writer.events()) events.push(event);
    })();
    const offsets: bigint[] = [];
    const told = await acknowledged(() =>
      simulation.run(async () => {
        for (let n = 0; n < count; n += 4) {
          const acks = [0, 1, 2, 3].map((more) => writer.writeAcked(`${n + more}`));
          for (const { offset } of await Promise.all(acks)) offsets.push(offset ?? -1n);
        }
        await writer.close();
      }),
    );
    await simulation.run(() => reading);

    // Also what a new stream's handshake confirms.
    expect(told, `seed ${seed}`).toBe(count);
    // Room is given back once: twice would leave less than nothing.
    expect([writer.bufferedMessages, writer.bufferedBytes], `seed ${seed}`).toEqual([0, 0]);
    expect(offsets, `seed ${seed}`).toHaveLength(count);
    expect(topic.messages.map(({ data }) => data)).toEqual(Array.from({ length: count }, (_, n) => `${n}`));
    // Each begin is of a stream of its own, and no two are without an end between them.
    const begun = events.flatMap((event) => (event.type === "connected" ? [event.sessionId] : []));
    expect(new Set(begun).size, `seed ${seed}`).toBe(begun.length);
    let isLive = false;
    for (const { type } of events) {
      if (type === "connected") expect(isLive, `seed ${seed}: two begins in a row`).toBe(false);
      if (type === "disconnected" && isLive) lostStreams++;
      isLive = type === "connected";
    }
    expect(
      events.filter(({ type }) => type === "closed" || type === "failed"),
      `seed ${seed}`,
    ).toEqual([{ type: "closed" }]);
    expect(events.at(-1)?.type).toBe("closed");
  }
  expect(lostStreams, "the faults happen").toBeGreaterThan(100);
});
