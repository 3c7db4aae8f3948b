import { defineMigration } from "@tidemark/migrate";
import { and, eq, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { mentionsColumn, readsElsewhere } from "../src/sql-mentions.ts";
import { counters } from "./support/schema.ts";

test("conditions of Drizzle with bound values are looked into, and end", () => {
  const isOne = and(eq(counters.id, 1), eq(counters.n, 2));
  expect(mentionsColumn(isOne, counters.n)).toBe(true);
  expect(mentionsColumn(eq(counters.id, 1), counters.n)).toBe(false);
  expect(readsElsewhere(isOne)).toBe(false);
  const set = { n: sql`case when ${eq(counters.id, 1)} then 1 else 2 end` };
  expect(defineMigration({ name: "cases", table: counters, key: "id", set }).name).toBe("cases");
});
