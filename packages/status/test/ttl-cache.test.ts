import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { StatusError, TtlCache, type TtlCacheOptions } from "../src/index.ts";

function setup(load: (signal: AbortSignal) => unknown, options: Partial<TtlCacheOptions<unknown>> = {}) {
  const simulation = createSimulation({ seed: 1 });
  const cache = new TtlCache<unknown>({ name: "it", load, clock: simulation.clock, ...options });
  return { simulation, clock: simulation.clock, cache };
}

test("serves a value until its time is over, counted from the start of the load", async () => {
  let loads = 0;
  const { simulation, clock, cache } = setup(
    async () => {
      await clock.sleep(400);
      return ++loads;
    },
    { ttlMs: 1_000 },
  );
  await simulation.run(async () => {
    expect(await cache.get()).toBe(1);
    await clock.sleep(599);
    expect(await cache.get()).toBe(1);
    expect(cache.peek()).toBe(1);
    await clock.sleep(1);
    expect(cache.peek()).toBe(undefined);
    expect(await cache.get()).toBe(2);
  });
});

test("shares one load among all who ask meanwhile", async () => {
  let loads = 0;
  const { simulation, clock, cache } = setup(async () => {
    await clock.sleep(100);
    return ++loads;
  });
  await simulation.run(async () => {
    const values = await Promise.all([cache.get(), cache.get(), cache.get()]);
    expect(values).toEqual([1, 1, 1]);
  });
  expect(loads).toBe(1);
});

test("never caches an error, thrown or rejected", async () => {
  let loads = 0;
  const { simulation, cache } = setup(() => {
    loads++;
    if (loads === 1) throw new Error("thrown");
    if (loads === 2) return Promise.reject(new Error("rejected"));
    return "fine";
  });
  await simulation.run(async () => {
    await expect(cache.get()).rejects.toThrow("thrown");
    await expect(cache.get()).rejects.toThrow("rejected");
    expect(await cache.get()).toBe("fine");
    expect(await cache.get()).toBe("fine");
  });
  expect(loads).toBe(3);
});

test("does not remember what isCacheable refuses", async () => {
  let loads = 0;
  const { simulation, cache } = setup(() => ++loads, { isCacheable: (value) => value !== 1 });
  await simulation.run(async () => {
    expect(await cache.get()).toBe(1);
    expect(await cache.get()).toBe(2);
    expect(await cache.get()).toBe(2);
  });
});

test("nothing is held while a load runs: others look, forget and leave", async () => {
  const { simulation, clock, cache } = setup(() => clock.sleep(500));
  await simulation.run(async () => {
    const first = cache.get();
    expect(cache.peek()).toBe(undefined);
    const controller = new AbortController();
    const second = cache.get(controller.signal);
    controller.abort(new Error("gone"));
    await expect(second).rejects.toThrow("gone");
    expect(clock.monotonic()).toBe(0);
    cache.invalidate();
    await first;
    expect(clock.monotonic()).toBe(500);
  });
});

test("a load that began before invalidate is not remembered and not given to later callers", async () => {
  let loads = 0;
  const { simulation, clock, cache } = setup(async () => {
    const mine = ++loads;
    await clock.sleep(mine === 1 ? 500 : 100);
    return mine;
  });
  await simulation.run(async () => {
    const first = cache.get();
    cache.invalidate();
    const second = cache.get();
    expect(await second).toBe(2);
    expect(await first).toBe(1);
    expect(await cache.get()).toBe(2);
  });
});

test("a load that hangs costs its timeout once, then fails at once, and never runs twice", async () => {
  let loads = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  let isAborted = false;
  const { simulation, clock, cache } = setup(
    (signal) => {
      loads++;
      signal.addEventListener("abort", () => {
        isAborted = true;
      });
      return loads === 1 ? promise : "fine";
    },
    { timeoutMs: 2_000 },
  );
  await simulation.run(async () => {
    await expect(cache.get()).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
    expect(clock.monotonic()).toBe(2_000);
    expect(isAborted).toBe(true);
    await expect(cache.get()).rejects.toMatchObject({ code: "STILL_RUNNING" });
    expect(clock.monotonic()).toBe(2_000);
    expect(loads).toBe(1);
    resolve("late");
    await clock.sleep(0);
    // What came late is as old as its start, so it is asked again.
    expect(await cache.get()).toBe("fine");
  });
});

test("refuses times that make no sense", () => {
  const make = (options: Partial<TtlCacheOptions<number>>) => () =>
    new TtlCache({ name: "it", load: () => 1, ...options });
  expect(make({ ttlMs: -1 })).toThrow(StatusError);
  expect(make({ ttlMs: Number.NaN })).toThrow("ttlMs must be at least 0, got NaN");
  expect(make({ timeoutMs: 0 })).toThrow("timeoutMs must be above 0, got 0");
});
