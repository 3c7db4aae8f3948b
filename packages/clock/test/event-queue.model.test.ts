import fc from "fast-check";
import { expect, test } from "vitest";
import { EventQueue, type Queued } from "../src/event-queue.ts";

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("push"), dueMs: fc.nat(9), rank: fc.nat(3), at: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("cancel"), dueMs: fc.nat(), rank: fc.nat(), at: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("shift"), dueMs: fc.nat(), rank: fc.nat(), at: fc.nat() }) },
);

test("behaves like a sorted list through any mix of push, cancel and shift", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 800, size: "max" }), (steps) => {
      const queue = new EventQueue<Queued>();
      const model: Queued[] = [];
      let id = 0;
      for (const each of steps) {
        if (each.do === "push") {
          const item = { dueMs: each.dueMs, rank: each.rank, id: id++, isCancelled: false };
          queue.push(item);
          model.push(item);
          model.sort((a, b) => a.dueMs - b.dueMs || a.rank - b.rank || a.id - b.id);
        } else if (each.do === "cancel" && model.length > 0) {
          const [item] = model.splice(each.at % model.length, 1);
          if (item !== undefined) queue.cancel(item);
        } else if (each.do === "shift") {
          expect(queue.peek()).toBe(model[0]);
          expect(queue.shift()).toBe(model.shift());
        }
      }
      expect(queue.pending()).toEqual(model);
      for (const item of model) expect(queue.shift()).toBe(item);
      expect(queue.shift()).toBeUndefined();
    }),
    { numRuns: 50 },
  );
});
