import { createSimulation } from "@tidemark/clock/testing";
import { ReconnectLimiter, StreamReconnector } from "@tidemark/stream";
import { expect, test } from "vitest";
import { LineError, lineProtocol, lineServer } from "./support/line-protocol.ts";

test("lets a burst through, then one after the other at its rate, first come first served", async () => {
  const simulation = createSimulation({ seed: 1 });
  const limiter = new ReconnectLimiter({ clock: simulation.clock, ratePerSecond: 10, burst: 3 });
  const turns: string[] = [];
  for (let n = 0; n < 6; n++) {
    void limiter.acquire().then(() => turns.push(`${n} at ${Math.round(simulation.clock.monotonic())}`));
  }
  expect(limiter.waiting).toBe(3);
  await simulation.advance(1_000);
  expect(turns).toEqual(["0 at 0", "1 at 0", "2 at 0", "3 at 100", "4 at 200", "5 at 300"]);
  await simulation.advance(60_000);
  for (let n = 6; n < 10; n++) {
    void limiter.acquire().then(() => turns.push(`${n} at ${Math.round(simulation.clock.monotonic())}`));
  }
  await simulation.settle();
  expect(turns.slice(6)).toEqual(["6 at 61000", "7 at 61000", "8 at 61000"]);
  await simulation.advance(1_000);
  expect(turns.at(-1)).toBe("9 at 61100");
  expect(simulation.pending()).toEqual([]);
});

test("an abort gives up the place, spends no token and leaves no listener", async () => {
  const simulation = createSimulation({ seed: 1 });
  const limiter = new ReconnectLimiter({ clock: simulation.clock, ratePerSecond: 1, burst: 1 });
  const controller = new AbortController();
  const turns: string[] = [];
  await limiter.acquire();
  const aborted = limiter.acquire(controller.signal);
  void limiter.acquire().then(() => turns.push(`second at ${simulation.clock.monotonic()}`));
  controller.abort(new Error("never mind"));
  await expect(aborted).rejects.toThrow("never mind");
  await expect(limiter.acquire(controller.signal)).rejects.toThrow("never mind");
  await simulation.advance(1_000);
  expect(turns).toEqual(["second at 1000"]);
});

test("is shared by all reconnectors on a clock, so that a fleet is no storm", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  const server = lineServer((peer) => peer.fail(new LineError("fast")));
  const fleet = Array.from({ length: 500 }, () => new StreamReconnector(lineProtocol(server), { clock, rng }));
  for (const reconnector of fleet) reconnector.start();
  await simulation.advance(10_000);
  // A burst of 50, then 20 a second.
  expect(server.started).toBeLessThanOrEqual(50 + 200);
  expect(server.started).toBeGreaterThanOrEqual(50 + 199);
  for (const reconnector of fleet) reconnector.destroy();
  await simulation.settle();
  expect(simulation.pending()).toEqual([]);
});

test("options are checked", () => {
  expect(() => new ReconnectLimiter({ ratePerSecond: 0 })).toThrow("ratePerSecond must be above 0, got 0");
  expect(() => new ReconnectLimiter({ burst: 0.5 })).toThrow("burst must be at least 1, got 0.5");
});
