import type { Clock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { type Part, Supervisor } from "../src/supervisor.ts";
import { SyncError } from "../src/sync-error.ts";
import { Turns } from "../src/turns.ts";

/** What is told of parts, at some times. A delay before another attempt is 1 s, or 4 s from the second one in a row on. */
async function toldOf(parts: (clock: Clock) => readonly Part[], atMs: readonly number[]) {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const startMs = clock.now();
  const told: [number, string | undefined][] = [];
  const events: string[] = [];
  const supervisor = new Supervisor({
    tenure: undefined,
    turns: new Turns(),
    backoff: { initialDelayMs: 1000, maxDelayMs: 4000, slowInitialDelayMs: 1000, slowMaxDelayMs: 1000 },
    clock,
    rng: { ...simulation.rng, float: () => 1 },
    onRetry: (_, delayMs) => events.push(`retry in ${delayMs}`),
    onTrouble: () => events.push("trouble"),
    onLost: () => undefined,
    onResumed: () => undefined,
    onFailed: (error) => {
      throw error;
    },
  });
  const stop = new AbortController();
  await simulation.run(async () => {
    const running = supervisor.run(parts(clock), stop.signal);
    for (const ms of atMs) {
      await clock.sleep(startMs + ms - clock.now());
      told.push([ms, supervisor.problem]);
    }
    stop.abort();
    await running;
  });
  return { told, events };
}

const fails = (text: string) => new SyncError("SINK_FAILED", text, { retryable: true });

test("what is wrong with one part is told until it is well, whatever the others do meanwhile", async () => {
  // Fails at 0, and is well from 1000 on; fails at 500, and is well from 1500 on.
  const part = (clock: Clock, atMs: number, text: string): Part => {
    let attempts = 0;
    return async (signal, { onHealthy }) => {
      attempts++;
      if (attempts > 1) {
        onHealthy();
        return clock.sleep(1e6, { signal });
      }
      await clock.sleep(atMs, { signal });
      throw fails(text);
    };
  };
  const { told } = await toldOf(
    (clock) => [part(clock, 0, "no sink"), part(clock, 500, "no channel")],
    [250, 750, 1250, 1750],
  );
  expect(told).toEqual([
    [250, "[SINK_FAILED] no sink"],
    [750, "[SINK_FAILED] no channel"],
    [1250, "[SINK_FAILED] no channel"],
    [1750, undefined],
  ]);
});

test("an attempt that takes for ever does not pass for a part that is well", async () => {
  let attempts = 0;
  const part: Part = async (signal) => {
    if (attempts++ === 0) throw fails("no answer");
    // Connects to somebody who says nothing.
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  };
  const { told } = await toldOf(() => [part], [500, 5000, 500_000]);
  expect(told.map(([, problem]) => problem)).toEqual(Array.from({ length: 3 }, () => "[SINK_FAILED] no answer"));
  expect(attempts).toBe(2);
});

test("a part that is well for a moment, again and again, is tried less and less often; one that comes further is not", async () => {
  const flapping = async (sign: "onHealthy" | "onProgress") => {
    const part: Part = (_, signs) => {
      signs[sign]();
      return Promise.reject(fails("gone"));
    };
    return (await toldOf(() => [part], [20_000])).events;
  };
  expect((await flapping("onHealthy")).slice(0, 4)).toEqual(
    ["1000", "2000", "4000", "4000"].map((ms) => `retry in ${ms}`),
  );
  expect(new Set(await flapping("onProgress")).size).toBe(1);
});

test("a part that goes on by itself tells what holds it up, and when that is over", async () => {
  const part =
    (clock: Clock): Part =>
    async (signal, { onHealthy, onTrouble }) => {
      await clock.sleep(1000, { signal });
      onTrouble(fails("out of touch"));
      await clock.sleep(1000, { signal });
      onHealthy();
      await clock.sleep(1e6, { signal });
    };
  const { told, events } = await toldOf((clock) => [part(clock)], [500, 1500, 2500]);
  expect(told).toEqual([
    [500, undefined],
    [1500, "[SINK_FAILED] out of touch"],
    [2500, undefined],
  ]);
  expect(events).toEqual(["trouble"]);
});
