import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createSimulation } from "@tidemark/clock/testing";
import { createListBuffer, Handoff, StreamReconnector } from "@tidemark/stream";
import { expect, test } from "vitest";
import { LineError, lineProtocol, lineServer } from "./support/line-protocol.ts";

function record(names: readonly string[]) {
  const heard: [string, unknown][] = [];
  const listeners = names.map((name) => {
    const channel = `tidemark:stream.${name}`;
    const listener = (message: unknown) => void heard.push([name, message]);
    subscribe(channel, listener);
    return () => unsubscribe(channel, listener);
  });
  return { heard, stop: () => listeners.forEach((stop) => stop()) };
}

test("publishes the life of connections to whoever subscribes", async () => {
  const { heard, stop } = record(["connection.opened", "connection.closed", "reconnect.scheduled"]);
  const failure = new LineError("slow");
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const server = lineServer(async (peer) => {
    peer.send("one");
    await clock.sleep(500);
    if (peer.id === 1) peer.fail(failure);
  });
  const reconnector = new StreamReconnector(lineProtocol(server), { clock, rng });
  reconnector.start();
  await simulation.advance(500);
  reconnector.destroy();
  stop();
  const protocol = "lines";
  expect(heard).toEqual([
    ["connection.opened", { protocol, connectionId: 1, durationMs: 0 }],
    ["connection.closed", { protocol, connectionId: 1, durationMs: 500, messages: 1, error: failure }],
    [
      "reconnect.scheduled",
      { protocol, attempt: 1, delayMs: expect.any(Number) as number, retryClass: "slow", error: failure },
    ],
  ]);
});

test("publishes the life of batches to whoever subscribes", async () => {
  const { heard, stop } = record(["batch.committed", "batch.failed"]);
  const simulation = createSimulation({ seed: 1 });
  const failure = new Error("busy");
  let failures = 1;
  const handoff = new Handoff({
    createBuffer: () => createListBuffer<string>(),
    commit: async () => {
      if (failures-- > 0) throw failure;
    },
    clock: simulation.clock,
    rng: simulation.rng,
  });
  for (const item of ["a", "b"]) {
    handoff.buffer.push(item);
    handoff.sealed();
  }
  await simulation.run(() => handoff.close());
  stop();
  expect(heard).toEqual([
    ["batch.failed", { attempt: 1, error: failure }],
    ["batch.committed", { groups: 2, bytes: 2, durationMs: expect.any(Number) as number }],
  ]);
});
