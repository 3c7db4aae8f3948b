// A whole reconciliation in virtual time: what is wanted changes, everything may fail, the process may die at any
// statement; then all is well, and everything must have converged.

import { createSimulation } from "@tidemark/clock/testing";
import { type CycleDefinition, itemPhase, openCycle, phase } from "@tidemark/reconcile";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FaultyStore, sqlite } from "./support/states.ts";

interface Entry {
  readonly key: string;
  readonly tenant: string;
  readonly version: number;
}

const tenants = ["red", "green", "blue"];

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ type: fc.constant("put" as const), item: fc.nat(11), tenant: fc.constantFrom(...tenants) }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("remove" as const), item: fc.nat(11) }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 4_000 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("weather" as const),
      fetch: fc.nat(3),
      probe: fc.nat(3),
      item: fc.nat(3),
      state: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ type: "mark" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "trigger" as const }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("jump" as const), ms: fc.integer({ min: -1e6, max: 1e6 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("crash" as const), isClean: fc.boolean() }) },
);

const digestOf = (entries: Iterable<Entry>, tenant: string): string =>
  [...entries]
    .filter((each) => each.tenant === tenant)
    .map((each) => `${each.key}@${each.version}`)
    .toSorted()
    .join();

/** `TIDEMARK_RUNS=2000 TIDEMARK_SEED=7` makes a part of the long mode. */
const runs = Number(process.env["TIDEMARK_RUNS"] ?? (process.env["TIDEMARK_LONG"] === "1" ? 10_000 : 200));

test("R1-R8, R11, R12: whatever fails, cycles converge, in order, once and bounded", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(step, { maxLength: 40 }), async (seed, steps) => {
      const sim = createSimulation({ seed });
      const { clock, rng } = sim;
      // These survive the process, as databases do.
      const { store } = sqlite();
      const wanted = new Map<string, Entry>();
      const listed = new Map<string, Entry>();
      const observed = new Map<string, Entry>();
      const digests = new Map<string, string>();
      let version = 0;
      let weather = { fetch: 0, probe: 0, item: 0, state: 0 };
      const violations: string[] = [];
      const isBad = (chance: number) => rng.float() < chance / 4;
      const runningItems = new Set<string>();
      let process = 0;

      const definition = (life: number): CycleDefinition<unknown> => {
        let inCycle = 0;
        let finalized = new Set<string>();
        let phaseNo = 0;
        const enter = (no: number) => {
          if (no === 0) {
            inCycle++;
            phaseNo = 0;
            finalized = new Set();
          }
          if (no < phaseNo) violations.push("R2: a phase ran out of order");
          phaseNo = no;
        };
        return {
          name: "world",
          everyMs: 1_000,
          phases: [
            phase({ name: "begin", run: async () => enter(0) }),
            phase({
              name: "fetch",
              gate: {
                everyMs: 60_000,
                probe: async () => {
                  if (isBad(weather.probe)) throw new Error("no probe");
                  return JSON.stringify([...wanted]);
                },
              },
              run: async ({ signal }) => {
                enter(1);
                const copy = [...wanted];
                await clock.sleep(rng.int(0, 200), { signal });
                if (isBad(weather.fetch)) throw new Error("no list");
                listed.clear();
                for (const [key, entry] of copy) listed.set(key, entry);
              },
            }),
            itemPhase<Entry>({
              name: "hydrate",
              select: async () => {
                enter(2);
                return [...listed.values()].filter((each) => observed.get(each.key)?.version !== each.version);
              },
              key: (entry) => entry.key,
              version: (entry) => String(entry.version),
              tenant: (entry) => entry.tenant,
              affects: (entry) => entry.tenant,
              isWanted: (entry) => listed.get(entry.key) === entry,
              concurrency: 3,
              concurrencyPerTenant: 2,
              limit: 6,
              itemTimeoutMs: 300,
              retry: { initialDelayMs: 500, maxDelayMs: 2_000 },
              run: async (entry, { signal }) => {
                const name = `${life} ${entry.key}`;
                if (runningItems.has(name)) violations.push(`R7: ${entry.key} ran twice at a time`);
                runningItems.add(name);
                try {
                  // Some ignore their signal.
                  const isDeaf = isBad(weather.item);
                  await clock.sleep(rng.int(0, 500), isDeaf ? {} : { signal });
                  signal.throwIfAborted();
                  if (isBad(weather.item)) throw new Error("no details");
                  const before = observed.get(entry.key);
                  if (before !== undefined && before.tenant !== entry.tenant) throw new Error("moved: delete it first");
                  observed.set(entry.key, entry);
                } finally {
                  runningItems.delete(name);
                }
              },
            }),
            phase({
              name: "prune",
              run: async ({ markDirty }) => {
                enter(3);
                for (const [key, entry] of observed) {
                  if (listed.get(key)?.tenant === entry.tenant) continue;
                  await markDirty(entry.tenant);
                  if (life === process) observed.delete(key);
                }
              },
            }),
          ],
          finalizers: [
            {
              name: "digest",
              run: async (tenant, signal) => {
                const name = `${inCycle} ${tenant}`;
                if (finalized.has(name)) violations.push(`R12: ${tenant} was finalised twice in a cycle`);
                finalized.add(name);
                await clock.sleep(rng.int(0, 5), { signal });
                if (isBad(weather.item)) throw new Error("no digest");
                if (life === process) digests.set(tenant, digestOf(observed.values(), tenant));
              },
            },
          ],
        };
      };

      await sim.run(async () => {
        let faulty = new FaultyStore(store);
        const start = () => {
          faulty = new FaultyStore(store);
          const cycle = openCycle(definition(++process), { state: faulty, clock, rng });
          faulty.fault = () => (isBad(weather.state) ? (rng.float() < 0.5 ? "before" : "after") : "none");
          return cycle;
        };
        // What opens it is not under test: the weather is fine for that long.
        const open = async () => {
          const before = weather;
          weather = { ...weather, state: 0 };
          const cycle = await start();
          weather = before;
          return cycle;
        };
        let cycle = await open();
        for (const each of steps) {
          if (each.type === "put") {
            const entry = { key: `item${each.item}`, tenant: each.tenant, version: ++version };
            wanted.set(entry.key, entry);
          } else if (each.type === "remove") wanted.delete(`item${each.item}`);
          else if (each.type === "wait") await clock.sleep(each.ms);
          else if (each.type === "weather") weather = each;
          else if (each.type === "mark") await cycle.markDirty("red").catch(() => {});
          else if (each.type === "trigger") cycle.trigger();
          else if (each.type === "jump") sim.jumpWallClock(each.ms);
          else {
            if (!each.isClean) faulty.isDead = true;
            process++;
            await cycle.close();
            cycle = await open();
          }
          expect(violations).toEqual([]);
        }
        weather = { fetch: 0, probe: 0, item: 0, state: 0 };
        // Longer than the longest wait after a failure, and the interval of the fetch.
        await clock.sleep(70_000);
        expect(violations).toEqual([]);
        const { last } = cycle.status();
        expect(last?.phases.map(({ outcome }) => outcome)).toEqual(["done", "gated", "done", "done"]);
        expect(new Map(observed)).toEqual(new Map(wanted));
        expect(last?.finalized).toEqual({ keys: 0, failed: 0 });
        for (const tenant of tenants) {
          expect(digests.get(tenant) ?? "", tenant).toBe(digestOf(observed.values(), tenant));
        }
        await cycle.close();
      });
    }),
    { numRuns: runs },
  );
}, 1_200_000);
