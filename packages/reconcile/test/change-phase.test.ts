import { createSimulation } from "@tidemark/clock/testing";
import { type ChangePhaseOptions, changePhase, openCycle, type SqliteTransaction } from "@tidemark/reconcile";
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FaultyStore, sqlite } from "./support/states.ts";

interface Change {
  readonly id: bigint;
  readonly value: string;
}

/** A feed, what was applied of it, and faults for both. */
function world(count: number, more: Partial<ChangePhaseOptions<Change, SqliteTransaction>> = {}) {
  const { store, client } = sqlite();
  client.exec("CREATE TABLE effects (id INTEGER PRIMARY KEY, value TEXT NOT NULL)");
  const feed: Change[] = Array.from({ length: count }, (_, n) => ({ id: BigInt(n + 1), value: `v${n + 1}` }));
  const broken = new Set<bigint>();
  const follow = changePhase<Change, SqliteTransaction>({
    name: "events",
    limit: 4,
    blockFor: 2,
    read: async (after, limit) => feed.filter((each) => after === undefined || each.id > after).slice(0, limit),
    position: (change) => change.id,
    apply: async (change) => {
      if (broken.has(change.id)) throw new Error(`${change.id} is broken`);
      return {
        affected: [`key${change.id}`],
        write: (tx) => void tx.run(sql`INSERT INTO effects VALUES (${Number(change.id)}, ${change.value})`),
      };
    },
    print: ({ id, value }) => `${id}=${value}`,
    ...more,
  });
  const effects = () =>
    (client.prepare("SELECT id FROM effects ORDER BY id").all() as { id: number }[]).map((row) => row.id);
  const cursor = () =>
    (client.prepare("SELECT position FROM tidemark_cycle_cursors").get() as { position: string } | undefined)?.position;
  return { store, client, feed, broken, follow, effects, cursor };
}

test("R9: the cursor never passes a failed change, and what was applied before it is kept", async () => {
  const sim = createSimulation({ seed: 1 });
  await sim.run(async () => {
    const { store, broken, follow, effects, cursor } = world(10);
    broken.add(6n);
    await using cycle = await openCycle(
      { name: "c", everyMs: 1_000, phases: [follow] },
      { state: store, clock: sim.clock, rng: sim.rng },
    );
    await sim.clock.sleep(1);
    expect(effects()).toEqual([1, 2, 3, 4, 5]);
    expect(cursor()).toBe("5");
    expect(cycle.status().last?.phases[0]).toMatchObject({ outcome: "partial", error: "6 is broken" });
    expect(await cycle.setAside()).toEqual([]);
    // The second cycle that it fails in is its last: it is set aside, and the rest goes on.
    await cycle.next();
    expect(effects()).toEqual([1, 2, 3, 4, 5, 7, 8, 9, 10]);
    expect(cursor()).toBe("10");
    expect(await cycle.setAside()).toMatchObject([
      { phase: "events", position: 6n, payload: "6=v6", error: "6 is broken" },
    ]);
    await cycle.discard("events", 6n);
    expect(await cycle.setAside()).toEqual([]);
  });
});

test("R9: a change that recovers is applied before those behind it", async () => {
  const sim = createSimulation({ seed: 1 });
  await sim.run(async () => {
    const { store, broken, follow, effects } = world(6, { blockFor: Number.POSITIVE_INFINITY });
    broken.add(2n);
    await using cycle = await openCycle(
      { name: "c", everyMs: 1_000, phases: [follow] },
      { state: store, clock: sim.clock, rng: sim.rng },
    );
    for (let count = 0; count < 5; count++) await cycle.next();
    expect(effects()).toEqual([1]);
    broken.clear();
    await cycle.next();
    expect(effects()).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

test("a feed that does not ascend is refused, and nothing of that page is written", async () => {
  const sim = createSimulation({ seed: 1 });
  await sim.run(async () => {
    const { store, feed, follow, effects } = world(3);
    feed.reverse();
    await using cycle = await openCycle(
      { name: "c", everyMs: 1_000, phases: [follow] },
      { state: store, clock: sim.clock, rng: sim.rng },
    );
    expect((await cycle.next()).phases[0]).toMatchObject({
      outcome: "failed",
      error: "[PROTOCOL] events: changes must ascend, got 2 after 3",
    });
    expect(effects()).toEqual([]);
  });
});

test("a write that is not synchronous is refused in SQLite", async () => {
  const sim = createSimulation({ seed: 1 });
  await sim.run(async () => {
    const { store, follow, cursor } = world(1, { apply: async () => ({ write: async () => {} }) });
    await using cycle = await openCycle(
      { name: "c", everyMs: 1_000, phases: [follow] },
      { state: store, clock: sim.clock, rng: sim.rng },
    );
    expect((await cycle.next()).phases[0]?.error).toMatch(/must be synchronous, got a promise/);
    expect(cursor()).toBeUndefined();
  });
});

// Faults of the feed, of single changes and of the database, crashes and restarts; then everything is well again.
test("R9: effects and cursor are one under every fault, and everything is applied once or set aside", async () => {
  const runs = process.env["TIDEMARK_LONG"] === "1" ? 5_000 : 150;
  const round = fc.record({
    broken: fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 3 }),
    faults: fc.array(fc.constantFrom("none", "none", "none", "before", "after", "die"), { maxLength: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(round, { maxLength: 6 }), async (seed, rounds) => {
      const sim = createSimulation({ seed });
      await sim.run(async () => {
        const { store, client, broken, follow, effects, cursor } = world(12);
        const definition = {
          name: "c",
          everyMs: 1_000,
          phases: [follow],
          finalizers: [{ name: "none", run: async () => {} }],
        };
        const check = () => {
          const aside = (
            client.prepare("SELECT position FROM tidemark_cycle_set_aside").all() as { position: string }[]
          ).map((row) => Number(row.position));
          const at = Number(cursor() ?? 0);
          const covered = [...effects(), ...aside].toSorted((a, b) => a - b);
          expect(covered).toEqual(Array.from({ length: at }, (_, n) => n + 1));
        };
        for (const { broken: now, faults } of rounds) {
          broken.clear();
          for (const id of now) broken.add(BigInt(id));
          const faulty = new FaultyStore(store);
          const options = { state: faulty, clock: sim.clock, rng: sim.rng };
          const cycle = await openCycle(definition, options);
          const plan = faults.values();
          faulty.fault = () => {
            const next = plan.next().value ?? "none";
            if (next === "die") faulty.isDead = true;
            return next === "die" ? "none" : next;
          };
          await sim.clock.sleep(2_500);
          check();
          await cycle.close();
          check();
        }
        broken.clear();
        await using cycle = await openCycle(definition, { state: store, clock: sim.clock, rng: sim.rng });
        await cycle.next();
        check();
        expect(cursor()).toBe("12");
      });
    }),
    { numRuns: runs },
  );
}, 600_000);
