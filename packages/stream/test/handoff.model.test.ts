// Random walks of producer and committer, against what a hand-off promises after every step.

import { createSimulation } from "@tidemark/clock/testing";
import { createListBuffer, Handoff, type ListBuffer } from "@tidemark/stream";
import fc from "fast-check";
import { expect, test } from "vitest";

type Step =
  | { readonly type: "group"; readonly size: number }
  | { readonly type: "part"; readonly size: number }
  | { readonly type: "advance"; readonly ms: number }
  | { readonly type: "commits"; readonly takesMs: number; readonly failing: number }
  | { readonly type: "retry" }
  | { readonly type: "flush" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant("group" as const), size: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("part" as const), size: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant("advance" as const), ms: fc.nat(400) }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("commits" as const), takesMs: fc.nat(300), failing: fc.nat(3) }),
  },
  { weight: 1, arbitrary: fc.constant({ type: "retry" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "flush" as const }) },
);

const walk = fc.record({
  seed: fc.integer(),
  steps: fc.array(step, { maxLength: 120, size: "max" }),
  maxBytes: fc.integer({ min: 5, max: 60 }),
  canStage: fc.boolean(),
  flushIntervalMs: fc.constantFrom(0, 0, 100),
  maxAttempts: fc.constantFrom(2, Number.POSITIVE_INFINITY),
});

interface Item {
  readonly n: number;
  readonly isEnd: boolean;
}

test("H2-H7, H9, H11, H13 hold after every step of every walk", async () => {
  await fc.assert(
    fc.asyncProperty(walk, async ({ seed, steps, maxBytes, canStage, flushIntervalMs, maxAttempts }) => {
      const simulation = createSimulation({ seed });
      const { clock, rng } = simulation;
      const committed: Item[] = [];
      const violations: string[] = [];
      let takesMs = 0;
      let failing = 0;
      let underWay = 0;
      let written = 0;
      let largest = 0;
      let open = 0;

      const handoff = new Handoff<ListBuffer<Item>>({
        createBuffer: () => createListBuffer<Item>(),
        async commit(buffer, signal, { isOpen }) {
          const content = [...buffer.items];
          if (++underWay !== 1) violations.push("H4: two commits at once");
          if (content[0]?.n !== committed.length) violations.push("H5, H9: out of order");
          if (content.at(-1)?.isEnd === isOpen || (isOpen && !canStage)) violations.push("H7: cut inside a group");
          try {
            if (takesMs > 0) await clock.sleep(takesMs, { signal });
            if (buffer.items.length !== content.length) violations.push("H3: written to while it was committed");
            if (failing > 0) {
              failing--;
              throw new Error("busy");
            }
            committed.push(...content);
          } finally {
            underWay--;
          }
        },
        maxBytes,
        ...(canStage && { maxGroupBytes: Math.ceil(maxBytes / 2) }),
        flushIntervalMs,
        retry: { initialDelayMs: 10, maxDelayMs: 200, maxAttempts },
        clock,
        rng,
      });

      function write(size: number, isEnd: boolean): void {
        for (let index = 0; index < size; index++) {
          const isLast = isEnd && index === size - 1;
          handoff.buffer.push({ n: written++, isEnd: isLast });
          open++;
          if (isLast) handoff.sealed();
          else handoff.wrote();
        }
        largest = Math.max(largest, open);
        if (isEnd) open = 0;
      }

      for (const each of steps) {
        if (each.type === "group" || each.type === "part") {
          // A well-behaved producer: it writes only while it may.
          if (handoff.isReady) write(each.size, each.type === "group");
        } else if (each.type === "advance") await simulation.advance(each.ms);
        else if (each.type === "commits") ({ takesMs, failing } = each);
        else if (each.type === "retry") handoff.retry();
        else handoff.flush().catch(() => {});

        expect(violations).toEqual([]);
        const { bufferedBytes, inFlightBytes, sealedGroups, committedGroups, pendingGroups } = handoff.stats;
        expect(bufferedBytes + inFlightBytes + committed.length, "H2").toBeGreaterThanOrEqual(written);
        const bound = maxBytes + 6 + (canStage ? 0 : largest);
        expect(bufferedBytes + inFlightBytes, "H11").toBeLessThanOrEqual(bound);
        expect(pendingGroups).toBe(sealedGroups - committedGroups);
        expect(committed, "H5").toEqual(committed.map((item, index) => ({ ...item, n: index })));
      }

      // H10: whatever happened, a committer that works again makes room for a producer that waits.
      failing = 0;
      takesMs = 0;
      handoff.retry();
      await simulation.advance(10_000);
      expect(handoff.isReady, "H10").toBe(true);
      if (open > 0) write(1, true);
      await simulation.run(() => handoff.close({ closeTimeoutMs: 600_000 }));
      expect(committed.length, "H2, H13").toBe(written);
      expect(handoff.destroy()).toEqual([]);
      expect(simulation.pending()).toEqual([]);
    }),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 5_000 : 400 },
  );
});
