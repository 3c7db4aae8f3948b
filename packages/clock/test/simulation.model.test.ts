// Random programs of nested timers, against what virtual time means.

import { createSimulation } from "@tidemark/clock/testing";
import fc from "fast-check";
import { expect, test } from "vitest";

interface Task {
  readonly delayMs: number;
  readonly kind: "immediate" | "sleep" | "timer";
  readonly cancelAfterMs: number | undefined;
  readonly children: readonly Task[];
}

const { task } = fc.letrec<{ task: Task }>((tie) => ({
  task: fc.record({
    // Eighths are exact, so that delays which differ still differ when added to the time.
    delayMs: fc.oneof(
      fc.nat(5),
      fc.nat(8e7).map((eighths) => eighths / 8),
    ),
    kind: fc.constantFrom("immediate", "sleep", "timer"),
    cancelAfterMs: fc.option(fc.nat(5), { nil: undefined, freq: 4 }),
    children: fc.oneof({ depthSize: "small" }, fc.constant([]), fc.array(tie("task"), { maxLength: 3 })),
  }),
}));
const program = fc.record({ seed: fc.integer(), tasks: fc.array(task, { minLength: 1, maxLength: 10 }) });

interface Ran {
  readonly at: string;
  readonly firedMs: number;
}

async function runProgram(seed: number, tasks: readonly Task[]) {
  const simulation = createSimulation({ seed });
  const { clock, trace } = simulation;
  const ran: Ran[] = [];
  const violations: string[] = [];

  async function start(each: Task, path: string): Promise<void> {
    const startedMs = clock.monotonic();
    const delayMs = each.kind === "immediate" ? 0 : each.delayMs;
    const controller = new AbortController();
    let isCancelled = false;
    await new Promise<void>((resolve) => {
      const fire = () => {
        if (isCancelled) violations.push(`${path} fired although cancelled`);
        if (clock.monotonic() !== startedMs + delayMs) violations.push(`${path} fired at ${clock.monotonic()}`);
        trace.record(path);
        ran.push({ at: path, firedMs: clock.monotonic() });
        resolve();
      };
      const timer =
        each.kind === "immediate"
          ? clock.setImmediate(fire)
          : each.kind === "timer"
            ? clock.setTimer(delayMs, fire)
            : undefined;
      if (each.kind === "sleep") {
        clock.sleep(delayMs, { signal: controller.signal }).then(fire, () => resolve());
      }
      if (each.cancelAfterMs !== undefined && each.cancelAfterMs < delayMs) {
        clock.setTimer(each.cancelAfterMs, () => {
          isCancelled = true;
          timer?.cancel();
          controller.abort();
          resolve();
        });
      }
    });
    await Promise.all(each.children.map((child, index) => start(child, `${path}.${index}`)));
  }

  await simulation.run(async () => {
    await Promise.all(tasks.map((each, index) => start(each, `${index}`)));
  });
  return { ran, violations, digest: trace.digest(), lines: trace.lines(), pending: simulation.pending() };
}

test("every timer fires exactly when due, once, unless cancelled, and time never goes back", () =>
  fc.assert(
    fc.asyncProperty(program, async ({ seed, tasks }) => {
      const { ran, violations, pending } = await runProgram(seed, tasks);
      expect(violations).toEqual([]);
      expect(pending).toEqual([]);
      expect(new Set(ran.map(({ at }) => at)).size).toBe(ran.length);
      for (let index = 1; index < ran.length; index++) {
        expect(ran[index]!.firedMs).toBeGreaterThanOrEqual(ran[index - 1]!.firedMs);
      }
    }),
  ));

test("equal seeds give equal traces", () =>
  fc.assert(
    fc.asyncProperty(program, async ({ seed, tasks }) => {
      const first = await runProgram(seed, tasks);
      const second = await runProgram(seed, tasks);
      expect(second.lines).toEqual(first.lines);
      expect(second.digest).toBe(first.digest);
    }),
  ));
