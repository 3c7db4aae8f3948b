import fc from "fast-check";
import { expect, test } from "vitest";
import { type Candidate, ItemPlan } from "../src/item-plan.ts";

const unlimited = { limit: Infinity, limitPerTenant: Infinity, concurrencyPerTenant: Infinity };

function candidate(key: string, tenant: string, failures = 0, sinceMs = 0): Candidate<string> {
  return { item: key, key, tenant, failures, sinceMs };
}

function takeAll(plan: ItemPlan<string>): string[] {
  const taken: string[] = [];
  for (let each = plan.take(); each !== undefined; each = plan.take()) taken.push(each.key);
  return taken;
}

test("R6: what failed least comes first, then what waits longest", () => {
  const all = [
    candidate("a", "t", 3, 1),
    candidate("b", "t", 0, 9),
    candidate("c", "t", 0, 5),
    candidate("d", "t", 1, 0),
  ];
  expect(takeAll(new ItemPlan(all, unlimited))).toEqual(["c", "b", "d", "a"]);
});

test("R6: a big tenant does not keep a small one waiting", () => {
  const big = Array.from({ length: 100 }, (_, n) => candidate(`big${n}`, "big"));
  const taken = takeAll(new ItemPlan([...big, candidate("small", "small")], unlimited));
  expect(taken.indexOf("small")).toBeLessThanOrEqual(1);
});

test("R6: the limits of a cycle, of a tenant and of what runs at a time hold, and nothing comes twice", () => {
  const tenant = fc.constantFrom("a", "b", "c");
  fc.assert(
    fc.property(
      fc.array(tenant, { maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 4 }),
      fc.infiniteStream(fc.boolean()),
      (tenants, limit, limitPerTenant, concurrencyPerTenant, ends) => {
        const all = tenants.map((name, n) => candidate(`${name}${n}`, name, n % 3, n % 7));
        const plan = new ItemPlan(all, { limit, limitPerTenant, concurrencyPerTenant });
        const active: string[] = [];
        const started: Candidate<string>[] = [];
        for (;;) {
          const next = plan.take();
          if (next !== undefined) {
            started.push(next);
            active.push(next.tenant);
            expect(active.filter((each) => each === next.tenant).length).toBeLessThanOrEqual(concurrencyPerTenant);
            if (ends.next().value !== true) continue;
          }
          const end = active.shift();
          if (end === undefined) break;
          plan.release(end);
        }
        const counts = Map.groupBy(all, (each) => each.tenant);
        const perTenant = [...counts.values()].map((each) => Math.min(each.length, limitPerTenant));
        expect(started.length).toBe(
          Math.min(
            limit,
            perTenant.reduce((sum, each) => sum + each, 0),
          ),
        );
        expect(plan.size).toBe(started.length);
        expect(new Set(started.map((each) => each.key)).size).toBe(started.length);
      },
    ),
  );
});
