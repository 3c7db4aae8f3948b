import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import {
  type Cycle,
  type CycleDefinition,
  defineCycle,
  itemPhase,
  openCycle,
  phase,
  ReconcileError,
  type StateStore,
} from "@tidemark/reconcile";
import { expect, test } from "vitest";
import { databases, within } from "./support/states.ts";

let uniqueNo = 0;

/** On every database, each under virtual time. */
function onAll(name: string, run: (simulation: Simulation, state: StateStore, cycle: string) => Promise<void>): void {
  for (const database of databases) {
    database.test(`${name} (${database.name})`, async () => {
      const simulation = createSimulation({ seed: 7 });
      await simulation.run(() => run(simulation, within(simulation, database.state()), `cycle${uniqueNo++}`));
    });
  }
}

async function open(
  { clock, rng }: Simulation,
  state: StateStore,
  definition: CycleDefinition<unknown>,
): Promise<Cycle> {
  return openCycle(definition, { state, clock, rng });
}

onAll(
  "R1: the first cycle runs at once, the next after the interval, and they never overlap",
  async (sim, state, name) => {
    const starts: number[] = [];
    let running = 0;
    const slow = phase({
      name: "slow",
      run: async ({ signal }) => {
        starts.push(sim.clock.monotonic());
        expect(++running).toBe(1);
        await sim.clock.sleep(starts.length === 2 ? 2_500 : 10, { signal });
        running--;
      },
    });
    const opened = sim.clock.monotonic();
    await using cycle = await open(sim, state, { name, everyMs: 1_000, phases: [slow] });
    for (let count = 0; count < 4; count++) await cycle.next();
    // The second takes two and a half intervals: what was due meanwhile is one cycle, right after it.
    expect(starts.slice(0, 4).map((each) => each - opened)).toEqual([0, 1_000, 3_500, 4_500]);
  },
);

onAll(
  "R1: a trigger during a cycle is one more cycle after it, and what a cycle does itself is none",
  async (sim, state, name) => {
    const starts: number[] = [];
    const work = phase({
      name: "work",
      run: async ({ markDirty, signal }) => {
        starts.push(sim.clock.monotonic());
        await markDirty("own");
        await sim.clock.sleep(100, { signal });
        return ["own"];
      },
    });
    await using cycle = await open(sim, state, { name, everyMs: 60_000, phases: [work] });
    await sim.clock.sleep(50);
    for (let count = 0; count < 5; count++) cycle.trigger();
    await sim.clock.sleep(10_000);
    expect(starts).toEqual([0, 100]);
  },
);

onAll("R2: phases run in order, a failed one stops only those that require it", async (sim, state, name) => {
  const ran: string[] = [];
  const step = (each: string, requires: string[] = [], fails = false) =>
    phase({
      name: each,
      requires,
      run: async () => {
        ran.push(each);
        if (fails) throw new Error(`${each} is broken`);
      },
    });
  const phases = [step("a"), step("b", ["a"], true), step("c", ["b"]), step("d", ["a"]), step("e", ["c"])];
  await using cycle = await open(sim, state, { name, everyMs: 1_000, phases });
  const report = await cycle.next();
  expect(ran.slice(0, 3)).toEqual(["a", "b", "d"]);
  expect(report.phases.map(({ phase: each, outcome, error }) => [each, outcome, error])).toEqual([
    ["a", "done", undefined],
    ["b", "failed", "b is broken"],
    ["c", "blocked", "b has not succeeded"],
    ["d", "done", undefined],
    ["e", "blocked", "c has not succeeded"],
  ]);
});

onAll("R2: closing ends a cycle between phases, through its signal", async (sim, state, name) => {
  const ran: string[] = [];
  const phases = ["a", "b"].map((each) =>
    phase({
      name: each,
      run: async ({ signal }) => {
        ran.push(each);
        await sim.clock.sleep(1_000, { signal });
      },
    }),
  );
  const cycle = await open(sim, state, { name, everyMs: 10_000, phases });
  await sim.clock.sleep(500);
  const closedAt = sim.clock.monotonic();
  await cycle.close();
  expect(sim.clock.monotonic()).toBe(closedAt);
  expect(ran).toEqual(["a"]);
  expect(cycle.status()).toMatchObject({ state: "closed", last: { isCancelled: true } });
  expect(() => cycle.trigger()).toThrow(ReconcileError);
});

onAll("R3: a finalizer sees each key once in a cycle, and a mark during it in the next", async (sim, state, name) => {
  const seen: Record<number, string[]> = {};
  let isMarked = false;
  await using cycle = await open(sim, state, {
    name,
    everyMs: 1_000,
    phases: [
      phase({ name: "one", run: async () => ["x", "y", "x"] }),
      phase({ name: "two", run: async () => ["y", "z"] }),
    ],
    finalizers: [
      {
        name: "digest",
        run: async (key) => {
          (seen[cycle.status().cycleNo] ??= []).push(key);
          if (key === "event" && !isMarked) {
            isMarked = true;
            await cycle.markDirty("event");
          }
        },
      },
    ],
  });
  await cycle.next();
  await cycle.markDirty("event", "event");
  const last = (await cycle.next()).cycleNo;
  await cycle.next();
  await cycle.next();
  expect(seen[last]?.toSorted()).toEqual(["event", "x", "y", "z"]);
  expect(seen[last + 1]?.toSorted()).toEqual(["event", "x", "y", "z"]);
  expect(seen[last + 2]?.toSorted()).toEqual(["x", "y", "z"]);
});

onAll(
  "R3: a key whose finalizer failed, or whose process died before, is finalised in the next cycle",
  async (sim, state, name) => {
    const seen: string[] = [];
    const definition = (isBroken: boolean): CycleDefinition<unknown> => ({
      name,
      everyMs: 1_000,
      phases: [],
      finalizers: [
        {
          name: "digest",
          run: async (key) => {
            seen.push(key);
            if (isBroken) throw new Error("no digest");
          },
        },
      ],
    });
    const first = await open(sim, state, definition(true));
    await first.markDirty("k");
    const { finalized } = await first.next();
    expect(finalized).toMatchObject({ keys: 1, failed: 1, error: "k: no digest" });
    await first.close();
    await using second = await open(sim, state, definition(false));
    await sim.clock.sleep(1);
    expect(second.status().last?.finalized).toMatchObject({ keys: 1, failed: 0 });
    expect((await second.next()).finalized).toMatchObject({ keys: 0 });
    expect(seen).toEqual(["k", "k"]);
  },
);

onAll(
  "R4: the gate of a phase that fails stays open, across restarts, and closes with its success",
  async (sim, state, name) => {
    let config = "one";
    let isBroken = true;
    const ran: string[] = [];
    const definition: CycleDefinition<unknown> = {
      name,
      everyMs: 1_000,
      phases: [
        phase({
          name: "fetch",
          gate: { config: () => config, everyMs: 10_000 },
          run: async () => {
            ran.push(config);
            if (isBroken) throw new Error("down");
          },
        }),
        phase({ name: "after", requires: ["fetch"], run: async () => {} }),
      ],
    };
    const first = await open(sim, state, definition);
    await first.next();
    expect(ran).toEqual(["one", "one"]);
    isBroken = false;
    await first.next();
    expect((await first.next()).phases).toMatchObject([{ outcome: "gated" }, { outcome: "done" }]);
    // A change counts although the phase fails the first time that it sees it.
    config = "two";
    isBroken = true;
    expect((await first.next()).phases).toMatchObject([
      { outcome: "failed", reason: "config" },
      { outcome: "blocked" },
    ]);
    await first.close();
    isBroken = false;
    await using second = await open(sim, state, definition);
    await sim.clock.sleep(1);
    expect(second.status().last?.phases).toMatchObject([{ outcome: "done", reason: "config" }, { outcome: "done" }]);
    expect((await second.next()).phases).toMatchObject([{ outcome: "gated" }, { outcome: "done" }]);
    await sim.clock.sleep(10_000);
    expect(ran.length).toBe(6);
  },
);

onAll("R5: a probe that fails or hangs forces nothing and is in the report", async (sim, state, name) => {
  let probe = async (): Promise<string> => "v1";
  const fetches: number[] = [];
  await using cycle = await open(sim, state, {
    name,
    everyMs: 10_000,
    phases: [
      phase({
        name: "fetch",
        gate: { probe: () => probe(), everyMs: 1e9 },
        run: async () => void fetches.push(1),
      }),
    ],
  });
  await cycle.next();
  probe = async () => {
    throw new Error("no route");
  };
  expect((await cycle.next()).phases).toMatchObject([{ outcome: "gated", probeError: "no route" }]);
  probe = () => new Promise(() => {});
  expect((await cycle.next()).phases[0]?.probeError).toMatch(/no answer within 3000 ms/);
  probe = async () => "v2";
  expect((await cycle.next()).phases).toMatchObject([{ outcome: "done", reason: "probe" }]);
  expect(fetches.length).toBe(2);
});

onAll(
  "R6, R8: items fail alone, wait longer each time, and are skipped once their owner is gone",
  async (sim, state, name) => {
    const owners = new Set(["a", "b", "c"]);
    const done = new Set<string>();
    const tries: Record<string, number> = {};
    await using cycle = await open(sim, state, {
      name,
      everyMs: 1_000,
      phases: [
        itemPhase({
          name: "hydrate",
          select: async () => ["a", "b", "c"].filter((each) => !done.has(each)),
          key: (item) => item,
          isWanted: (item) => owners.has(item),
          retry: { initialDelayMs: 5_000, maxDelayMs: 20_000, quarantineAfter: 3 },
          run: async (item) => {
            tries[item] = (tries[item] ?? 0) + 1;
            if (item === "b") throw new Error("b has no details");
            if (item === "c") {
              owners.delete("c");
              throw new Error("gone");
            }
            done.add(item);
          },
        }),
      ],
    });
    await sim.clock.sleep(1);
    expect(cycle.status().last?.phases[0]).toMatchObject({
      outcome: "partial",
      items: { selected: 3, done: 1, failed: 1, skipped: 1 },
    });
    await sim.clock.sleep(60_000);
    expect(tries).toEqual({ a: 1, b: 3, c: 1 });
    expect(await cycle.failures()).toMatchObject([
      { phase: "hydrate", key: "b", failures: 3, isQuarantined: true, error: "b has no details" },
    ]);
    expect(await cycle.retry("hydrate", "b")).toBe(true);
    await cycle.next();
    expect(tries["b"]).toBe(4);
  },
);

onAll("R4: the gate of a phase stays open while an item of it is left", async (sim, state, name) => {
  let isBroken = true;
  await using cycle = await open(sim, state, {
    name,
    everyMs: 1_000,
    phases: [
      itemPhase({
        name: "work",
        gate: { config: () => "same" },
        select: async () => ["item"],
        key: (item) => item,
        retry: { initialDelayMs: 1, maxDelayMs: 1 },
        run: async () => {
          if (isBroken) throw new Error("no");
        },
      }),
    ],
  });
  await cycle.next();
  expect((await cycle.next()).phases[0]).toMatchObject({ outcome: "partial", reason: "first" });
  isBroken = false;
  expect((await cycle.next()).phases[0]?.outcome).toBe("done");
  expect((await cycle.next()).phases[0]?.outcome).toBe("gated");
});

onAll("an item of another version is new, and the books forget what is no longer work", async (sim, state, name) => {
  let work = [{ key: "k", version: "1" }];
  const tries: string[] = [];
  await using cycle = await open(sim, state, {
    name,
    everyMs: 1_000,
    phases: [
      itemPhase({
        name: "work",
        select: async () => work,
        key: (item) => item.key,
        version: (item) => item.version,
        retry: { quarantineAfter: 1 },
        run: async (item) => {
          tries.push(item.version);
          throw new Error("no");
        },
      }),
    ],
  });
  await cycle.next();
  expect(tries).toEqual(["1"]);
  work = [{ key: "k", version: "2" }];
  await cycle.next();
  expect(tries).toEqual(["1", "2"]);
  work = [];
  await cycle.next();
  expect(await cycle.failures()).toEqual([]);
});

onAll(
  "an item that ignores its signal is left behind, seen, and not started again before it ends",
  async (sim, state, name) => {
    const hang = Promise.withResolvers<void>();
    let begun = 0;
    let other = 0;
    await using cycle = await open(sim, state, {
      name,
      everyMs: 1_000,
      phases: [
        itemPhase({
          name: "work",
          select: async () => ["deaf", "other"],
          key: (item) => item,
          itemTimeoutMs: 100,
          concurrency: 1,
          retry: { initialDelayMs: 1, maxDelayMs: 1 },
          run: async (item) => {
            if (item === "other") return void other++;
            begun++;
            await hang.promise;
          },
        }),
      ],
    });
    await cycle.next();
    const report = await cycle.next();
    expect(report.phases[0]).toMatchObject({ outcome: "partial", items: { overdue: 1, done: 1 } });
    expect(cycle.status().overdue).toBe(1);
    expect(begun).toBe(1);
    expect(other).toBeGreaterThan(1);
    hang.resolve();
    await cycle.next();
    expect(begun).toBe(2);
  },
);

onAll("10,000 items of 50 ms take what their concurrency takes and nothing more", async (sim, state, name) => {
  let active = 0;
  let highest = 0;
  const done = new Set<number>();
  const all = Array.from({ length: 10_000 }, (_, n) => n);
  await using cycle = await open(sim, state, {
    name,
    everyMs: 1e6,
    phases: [
      itemPhase({
        name: "hydrate",
        select: async () => all.filter((each) => !done.has(each)),
        key: String,
        tenant: (item) => `tenant${item % 7}`,
        concurrency: 50,
        run: async (item, { signal }) => {
          highest = Math.max(highest, ++active);
          await sim.clock.sleep(50, { signal });
          active--;
          done.add(item);
        },
      }),
    ],
  });
  await sim.clock.sleep(1e5);
  const report = cycle.status().last;
  expect(highest).toBe(50);
  expect(done.size).toBe(10_000);
  expect(report?.durationMs).toBeLessThanOrEqual((10_000 / 50) * 50 * 1.01);
});

test("a definition with a phase that requires a later one is refused", () => {
  const a = phase({ name: "a", requires: ["b"], run: async () => {} });
  const b = phase({ name: "b", run: async () => {} });
  expect(() => defineCycle({ name: "c", everyMs: 1, phases: [a, b] })).toThrow(
    /a requires b, which is not a phase before it/,
  );
  expect(() => defineCycle({ name: "c", everyMs: 1, phases: [b, b] })).toThrow(/two phases with the name b/);
  expect(() => defineCycle({ name: "c", everyMs: 0, phases: [b] })).toThrow(/everyMs must be at least 1, got 0/);
});
