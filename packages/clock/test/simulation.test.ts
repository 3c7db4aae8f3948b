import { systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";

test("a day of timers takes a fraction of a second", async () => {
  const simulation = createSimulation({ seed: 1 });
  const started = process.cpuUsage();
  let ticks = 0;
  await simulation.run(async () => {
    while (simulation.clock.monotonic() < 24 * 3_600_000) {
      await simulation.clock.sleep(10_000);
      ticks++;
    }
  });
  expect(ticks).toBe(8_640);
  // Of the processor, in microseconds: how long that takes is the machine's business.
  const { user, system } = process.cpuUsage(started);
  expect(user + system).toBeLessThan(5_000_000);
});

test("the seed draws the order among events due together", async () => {
  const orderOf = async (seed: number) => {
    const simulation = createSimulation({ seed });
    const order: number[] = [];
    for (let index = 0; index < 5; index++) simulation.clock.setTimer(10, () => order.push(index));
    await simulation.advance(10);
    return order.join("");
  };
  const orders = await Promise.all(Array.from({ length: 400 }, (_, seed) => orderOf(seed)));
  // 5! orders are possible; a scheduler with a bias would miss many of them.
  expect(new Set(orders).size).toBeGreaterThan(100);
  expect(await orderOf(3)).toBe(orders[3]);
});

test("every promise reaction runs between two events of one instant", async () => {
  const simulation = createSimulation({ seed: 1 });
  const violations: string[] = [];
  let isBusy = false;
  for (let index = 0; index < 20; index++) {
    simulation.clock.setTimer(5, () => {
      if (isBusy) violations.push(`event ${index} ran in the middle of another's reactions`);
      isBusy = true;
      void (async () => {
        for (let hop = 0; hop < 50; hop++) await Promise.resolve();
        process.nextTick(() => {
          void Promise.resolve().then(() => {
            isBusy = false;
          });
        });
      })();
    });
  }
  await simulation.advance(5);
  expect(violations).toEqual([]);
});

test("run settles as main does", async () => {
  const simulation = createSimulation({ seed: 1 });
  await expect(simulation.run(async () => 5)).resolves.toBe(5);
  const error = new Error("from main");
  const main = async () => {
    await simulation.clock.sleep(10);
    throw error;
  };
  await expect(simulation.run(main)).rejects.toBe(error);
  expect(simulation.clock.monotonic()).toBe(10);
});

test("an error thrown by a callback ends the run", async () => {
  const simulation = createSimulation({ seed: 1 });
  const error = new Error("from a timer");
  const main = () =>
    new Promise<never>(() => {
      simulation.clock.setTimer(1, () => {
        throw error;
      });
    });
  await expect(simulation.run(main)).rejects.toBe(error);
  await expect(simulation.run(async () => "usable again")).resolves.toBe("usable again");
});

test("a deadlock fails with the sleeps that never end, the trace and the seed", async () => {
  const simulation = createSimulation({ seed: 77 });
  async function waitsForEver() {
    simulation.trace.record("waiting");
    await simulation.clock.sleep(5);
    await simulation.clock.sleep(Number.POSITIVE_INFINITY, { isRef: false });
  }
  const failure = simulation.run(waitsForEver);
  await expect(failure).rejects.toMatchObject({ code: "DEADLOCK" });
  await expect(failure).rejects.toThrow(
    /Virtual time 5 ms, seed 77.*sleep that never ends \(unref\).*waitsForEver.*0 waiting/s,
  );

  const nothing = createSimulation({ seed: 1 }).run(() => new Promise(() => {}));
  await expect(nothing).rejects.toThrow("No sleep or timer is pending");
});

test("a loop that never ends fails at the limit instead of hanging", async () => {
  const simulation = createSimulation({ seed: 1, limitMs: 60_000, maxEventsPerInstant: 100, keepOrigins: true });
  async function pollsForEver(everyMs: number) {
    for (;;) await simulation.clock.sleep(everyMs);
  }
  const slow = simulation.run(() => pollsForEver(1_000));
  await expect(slow).rejects.toThrow(/LIMIT_REACHED.*60000 ms.*pollsForEver/s);
  const busy = createSimulation({ seed: 1, maxEventsPerInstant: 100 });
  await expect(
    busy.run(async () => {
      for (;;) await busy.clock.sleep(0);
    }),
  ).rejects.toThrow(/LIMIT_REACHED.*100 events ran without time passing/);
});

test("advance runs what is due and stands exactly at its end", async () => {
  const { clock, simulation, fired } = withTimersAt(5, 10, 15);
  await simulation.advance(10.5);
  expect(fired).toEqual([5, 10]);
  expect(clock.monotonic()).toBe(10.5);
  await simulation.advance(4.5);
  expect(fired).toEqual([5, 10, 15]);
});

test("advance also runs what its own events add", async () => {
  const simulation = createSimulation({ seed: 1 });
  const fired: number[] = [];
  void (async () => {
    for (;;) {
      await simulation.clock.sleep(3);
      fired.push(simulation.clock.monotonic());
    }
  })();
  await simulation.advance(10);
  expect(fired).toEqual([3, 6, 9]);
});

test("settle runs what is due without time passing", async () => {
  const { clock, simulation, fired } = withTimersAt(0, 0, 1);
  await simulation.settle();
  expect(fired).toEqual([0, 0]);
  expect(clock.monotonic()).toBe(0);
});

test("runUntil stops at the first event after which the predicate holds", async () => {
  const { clock, simulation, fired } = withTimersAt(5, 10, 15);
  await simulation.runUntil(() => fired.length === 2);
  expect(clock.monotonic()).toBe(10);
  await expect(simulation.runUntil(() => fired.length === 9)).rejects.toMatchObject({ code: "DEADLOCK" });
});

test("the wall clock jumps alone", async () => {
  const simulation = createSimulation({ seed: 1, startMs: 1_000 });
  const { clock } = simulation;
  const timer = clock.sleep(100);
  simulation.jumpWallClock(-400);
  expect([clock.now(), clock.monotonic()]).toEqual([600, 0]);
  await simulation.advance(100.5);
  await timer;
  expect([clock.now(), clock.monotonic()]).toEqual([700, 100.5]);
});

test("time stands still while external work is under way", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  let watchdog = 0;
  clock.setTimer(1, () => watchdog++);
  await simulation.run(async () => {
    await simulation.external(() => systemClock.sleep(20));
    expect([clock.monotonic(), watchdog]).toEqual([0, 0]);
    await clock.sleep(1);
  });
});

test("overlapping runs are refused", async () => {
  const simulation = createSimulation({ seed: 1 });
  await expect(simulation.run(() => simulation.advance(1))).rejects.toMatchObject({ code: "ALREADY_RUNNING" });
});

test("the digest covers events, lines and their times", async () => {
  const digestOf = async (delayMs: number, label: string) => {
    const simulation = createSimulation({ seed: 1, keptTraceLines: 1 });
    simulation.clock.setTimer(delayMs, () => simulation.trace.record(label));
    await simulation.advance(10);
    return simulation.trace.digest();
  };
  expect(await digestOf(1, "a")).toBe(await digestOf(1, "a"));
  expect(await digestOf(1, "b")).not.toBe(await digestOf(1, "a"));
  expect(await digestOf(2, "a")).not.toBe(await digestOf(1, "a"));
  expect(await digestOf(1.25, "a")).toMatch(/^[0-9a-f]{16}$/);
});

test("only the last trace lines are kept", () => {
  const { trace } = createSimulation({ seed: 1, keptTraceLines: 3 });
  for (let index = 0; index < 10; index++) trace.record(`line ${index}`);
  expect(trace.lines()).toEqual(["0 line 7", "0 line 8", "0 line 9"]);
});

test("rng does not depend on how many timers were set", () => {
  const busy = createSimulation({ seed: 9 });
  for (let index = 0; index < 10; index++) busy.clock.setTimer(1, () => {});
  expect(busy.rng.uuid()).toBe(createSimulation({ seed: 9 }).rng.uuid());
});

test("invalid options are refused by name", () => {
  expect(() => createSimulation({ seed: 0.5 })).toThrow(/OPTIONS_INVALID.*seed/);
  expect(() => createSimulation({ seed: 1, startMs: 0.5 })).toThrow(/OPTIONS_INVALID.*startMs/);
  expect(() => createSimulation({ seed: 1, limitMs: 0 })).toThrow(/OPTIONS_INVALID.*limitMs/);
});

function withTimersAt(...delaysMs: number[]) {
  const simulation = createSimulation({ seed: 1 });
  const fired: number[] = [];
  for (const delayMs of delaysMs) simulation.clock.setTimer(delayMs, () => fired.push(simulation.clock.monotonic()));
  return { clock: simulation.clock, simulation, fired };
}
