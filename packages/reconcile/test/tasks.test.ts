import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { openTasks, type StateStore, type TaskHandler, type TasksOptions } from "@tidemark/reconcile";
import fc from "fast-check";
import { expect, test } from "vitest";
import { databases, FaultyStore, sqlite, within } from "./support/states.ts";

let uniqueNo = 0;

function onAll(name: string, run: (sim: Simulation, open: Open) => Promise<void>): void {
  for (const database of databases) {
    database.test(`${name} (${database.name})`, async () => {
      const sim = createSimulation({ seed: 3 });
      const state = within(sim, database.state());
      const queue = `queue${uniqueNo++}`;
      const open: Open = (kinds, more) => openTasks({ state, queue, kinds, clock: sim.clock, rng: sim.rng, ...more });
      await sim.run(() => run(sim, open));
    });
  }
}
type Open = (kinds: Record<string, TaskHandler>, more?: Partial<TasksOptions>) => ReturnType<typeof openTasks>;

onAll("R10: a task is durable, runs once, and tells waiters, then events, then the callback", async (sim, open) => {
  const order: string[] = [];
  await using tasks = await open(
    { double: async (payload) => (payload as number) * 2 },
    { onEnded: (task) => order.push(`callback ${task.state}`) },
  );
  void (async () => {
    for await (const event of tasks.events()) if (event.type === "ended") order.push(`event ${event.task.state}`);
  })();
  const { id, isNew } = await tasks.enqueue("double", 21, { id: "once" });
  expect([id, isNew]).toEqual(["once", true]);
  expect(await tasks.enqueue("double", 99, { id: "once" })).toEqual({ id: "once", isNew: false });
  const task = await tasks.ended("once");
  order.unshift("waiter");
  expect(task).toMatchObject({ state: "done", result: 42, attempts: 1, payload: 21 });
  await sim.clock.sleep(1);
  expect(order).toEqual(["waiter", "callback done", "event done"]);
});

onAll("tasks run in the order they came, as many at a time as allowed", async (sim, open) => {
  const begun: number[] = [];
  let active = 0;
  await using tasks = await open(
    {
      work: async (payload, { signal }) => {
        begun.push(payload as number);
        expect(++active).toBeLessThanOrEqual(2);
        await sim.clock.sleep(100, { signal });
        active--;
      },
    },
    { concurrency: 2 },
  );
  const ids: string[] = [];
  for (let n = 0; n < 7; n++) ids.push((await tasks.enqueue("work", n)).id);
  for (const id of ids) await tasks.ended(id);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

onAll(
  "a task that fails is tried again, longer each time, and then is failed until somebody retries it",
  async (sim, open) => {
    const at: number[] = [];
    let isBroken = true;
    await using tasks = await open(
      {
        work: async () => {
          at.push(sim.clock.monotonic());
          if (isBroken) throw new Error("not yet");
        },
      },
      { maxAttempts: 3, initialDelayMs: 100, maxDelayMs: 1_000 },
    );
    const { id } = await tasks.enqueue("work", undefined);
    expect(await tasks.ended(id)).toMatchObject({ state: "failed", attempts: 3, error: "not yet" });
    expect(at.length).toBe(3);
    isBroken = false;
    expect(await tasks.retry(id)).toBe(true);
    expect(await tasks.ended(id)).toMatchObject({ state: "done", attempts: 1 });
    expect(await tasks.retry(id)).toBe(false);
  },
);

onAll("what is pending is cancelled at once, and what runs through its signal", async (sim, open) => {
  await using tasks = await open({ work: (_, { signal }) => sim.clock.sleep(1e6, { signal }) });
  const running = await tasks.enqueue("work", 1);
  await sim.clock.sleep(1);
  const pending = await tasks.enqueue("work", 2);
  expect(await tasks.cancel(pending.id)).toBe(true);
  expect(await tasks.ended(pending.id)).toMatchObject({ state: "cancelled", attempts: 0 });
  expect(await tasks.cancel(running.id)).toBe(true);
  expect(await tasks.ended(running.id)).toMatchObject({ state: "cancelled", attempts: 1 });
  expect(await tasks.cancel(running.id)).toBe(false);
});

onAll("what a closed process was doing goes on in the next one", async (sim, open) => {
  const attempts: number[] = [];
  let isFirst = true;
  const work: TaskHandler = async (_, { signal, attempt }) => {
    attempts.push(attempt);
    if (isFirst) await sim.clock.sleep(1e6, { signal });
  };
  const first = await open({ work });
  const { id } = await first.enqueue("work", "x");
  await sim.clock.sleep(1);
  await first.close();
  isFirst = false;
  await using second = await open({ work });
  expect(await second.ended(id)).toMatchObject({ state: "done" });
  expect(attempts).toEqual([1, 2]);
});

test("a task that was taken although the answer was lost is not lost", async () => {
  const sim = createSimulation({ seed: 5 });
  await sim.run(async () => {
    const faulty = new FaultyStore(sqlite().store as StateStore);
    const work = async () => "done";
    await using tasks = await openTasks({ state: faulty, queue: "q", kinds: { work }, clock: sim.clock, rng: sim.rng });
    await sim.clock.sleep(1);
    // The insertion, then the statement that takes it.
    const faults = (["none", "after"] as const).values();
    faulty.fault = () => faults.next().value ?? "none";
    const { id } = await tasks.enqueue("work", 1);
    expect(await tasks.ended(id)).toMatchObject({ state: "done", result: "done" });
  });
});

test("an unknown kind is refused with those that there are", async () => {
  const tasks = await openTasks({ state: sqlite().store as StateStore, queue: "q", kinds: { a: async () => {} } });
  await expect(tasks.enqueue("b", 1)).rejects.toThrow(/no handler for tasks of kind b, only for a/);
  await tasks.close();
});

test("R7, R10: under every fault and crash each task ends once, and its work ran at least once", async () => {
  const runs = process.env["TIDEMARK_LONG"] === "1" ? 5_000 : 100;
  const fault = fc.constantFrom("none", "none", "none", "none", "before", "after", "die");
  await fc.assert(
    fc.asyncProperty(
      fc.integer(),
      fc.array(fc.array(fault, { maxLength: 8 }), { maxLength: 5 }),
      fc.integer({ min: 1, max: 3 }),
      async (seed, lives, concurrency) => {
        const sim = createSimulation({ seed });
        await sim.run(async () => {
          const { store, client } = sqlite();
          const ran = new Map<string, number>();
          const ended = new Map<string, number>();
          const options = (state: StateStore): TasksOptions => ({
            state,
            queue: "q",
            concurrency,
            clock: sim.clock,
            rng: sim.rng,
            initialDelayMs: 10,
            maxDelayMs: 50,
            kinds: {
              work: async (_, { id, signal }) => {
                ran.set(id, (ran.get(id) ?? 0) + 1);
                await sim.clock.sleep(sim.rng.int(0, 30), { signal });
                if (sim.rng.float() < 0.2) throw new Error("unlucky");
              },
            },
            maxAttempts: 1e6,
            onEnded: ({ id }) => ended.set(id, (ended.get(id) ?? 0) + 1),
          });
          const acknowledged: string[] = [];
          let n = 0;
          for (const faults of lives) {
            const faulty = new FaultyStore(store as StateStore);
            const tasks = await openTasks(options(faulty));
            const plan = faults.values();
            faulty.fault = () => {
              const next = plan.next().value ?? "none";
              if (next === "die") faulty.isDead = true;
              return next === "die" ? "none" : next;
            };
            for (let count = 0; count < 3; count++) {
              const id = `task${n++}`;
              await tasks.enqueue("work", n, { id }).then(
                () => acknowledged.push(id),
                () => {},
              );
              await sim.clock.sleep(7);
            }
            await sim.clock.sleep(40);
            await tasks.close();
          }
          await using tasks = await openTasks(options(store as StateStore));
          const all = await tasks.list({ limit: 1_000 });
          for (const { id } of all) expect((await tasks.ended(id)).state).toBe("done");
          expect(all.map((each) => each.id)).toEqual(expect.arrayContaining(acknowledged));
          for (const id of acknowledged) expect(ran.get(id)).toBeGreaterThanOrEqual(1);
          for (const [id, count] of ended) expect(count, id).toBe(1);
          const states = client.prepare("SELECT DISTINCT state FROM tidemark_tasks WHERE state = 'running'").all();
          expect(states).toEqual([]);
        });
      },
    ),
    {
      numRuns: runs,
      // A postponement whose answer was lost, and the task taken again before it was known.
      examples: [[-439043455, [[], ["none", "die"], ["die"], ["none", "none", "after", "after"]], 2]],
    },
  );
}, 600_000);
