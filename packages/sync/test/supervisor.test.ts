import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { Supervisor } from "../src/supervisor.ts";
import { SyncError } from "../src/sync-error.ts";
import { Turns } from "../src/turns.ts";

test("what is wrong with one part is told for as long as it waits, whatever the others do meanwhile", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const told: [number, string | undefined][] = [];
  const startMs = clock.now();
  const supervisor = new Supervisor({
    tenure: undefined,
    turns: new Turns(),
    backoff: { initialDelayMs: 1000, maxDelayMs: 1000, slowInitialDelayMs: 1000, slowMaxDelayMs: 1000 },
    clock,
    rng: { ...simulation.rng, float: () => 1 },
    onRetry: () => undefined,
    onLost: () => undefined,
    onResumed: () => undefined,
    onFailed: (error) => {
      throw error;
    },
  });
  const stop = new AbortController();
  const fails = (text: string) => new SyncError("SINK_FAILED", text, { retryable: true });
  // Fails at 0, and is well from 1000 on; fails at 500, and is well from 1500 on.
  const part = (atMs: number, text: string) => {
    let attempts = 0;
    return async (signal: AbortSignal) => {
      attempts++;
      if (attempts > 1) return clock.sleep(1e6, { signal });
      await clock.sleep(atMs, { signal });
      throw fails(text);
    };
  };
  await simulation.run(async () => {
    const running = supervisor.run([part(0, "no sink"), part(500, "no channel")], stop.signal);
    for (const atMs of [250, 750, 1250, 1750]) {
      await clock.sleep(startMs + atMs - clock.now());
      told.push([atMs, supervisor.problem]);
    }
    stop.abort();
    await running;
  });
  expect(told).toEqual([
    [250, "[SINK_FAILED] no sink"],
    [750, "[SINK_FAILED] no channel"],
    [1250, "[SINK_FAILED] no channel"],
    [1750, undefined],
  ]);
});
