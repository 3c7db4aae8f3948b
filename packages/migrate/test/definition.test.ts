import { defineMigration, type Migration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { counters, notes } from "./support/schema.ts";

const refused = (define: () => Migration, code: string, message: string) => {
  expect(define).toThrow(expect.objectContaining({ code }) as Error);
  expect(define).toThrow(message);
};
const set = { n: 1 };

test("B1: sizes, times and shares out of bounds are refused before any SQL", () => {
  for (const [tuning, message] of [
    [{ initialRows: 0 }, "initialRows must be a whole number of at least 1, got 0"],
    [{ minRows: 0 }, "minRows"],
    [{ maxRows: 0.5 }, "maxRows"],
    [{ minRows: 10, maxRows: 9 }, "maxRows must be a whole number of at least 10"],
    [{ targetMs: 0 }, "targetMs must be above 0"],
    [{ targetMs: Number.NaN }, "targetMs"],
    [{ targetMs: 600 }, "maxChunkMs must be at least 600"],
    [{ nice: -1 }, "nice must be at least 0"],
    [{ minGapMs: -1 }, "minGapMs"],
    [{ maxQuarantined: -1 }, "maxQuarantined"],
  ] as const) {
    refused(
      () => defineMigration({ name: "x", table: counters, key: "id", set, ...tuning }),
      "OPTIONS_INVALID",
      message,
    );
  }
  expect(() => defineMigration({ name: "x", table: counters, key: "id", set, minGapMs: 0, nice: 0 })).not.toThrow();
});

test("a definition that contradicts itself or its table is refused with what is wrong", () => {
  const define = (definition: object) => () => defineMigration({ table: counters, key: "id", ...definition } as never);
  const invalid = "DEFINITION_INVALID";
  refused(define({ name: "a b", set }), invalid, "letters, digits");
  refused(define({ name: "x" }), invalid, "expected one of set, aggregate, map, run, effect, got none");
  refused(define({ name: "x", set, run: () => 0 }), invalid, "got set and run");
  refused(define({ name: "x", set: {} }), invalid, "nothing is written");
  refused(define({ name: "x", set: { m: 1 } }), invalid, 'table counters has no column "m"');
  refused(define({ name: "x", set: { id: 1 } }), invalid, "rows must stay where they are");
  refused(define({ name: "x", set, key: [] }), invalid, "at least one column");
  refused(define({ name: "x", set, key: ["id", "id"] }), invalid, "twice");
  refused(define({ name: "x", run: () => 0 }), invalid, "needs `remaining`");
  refused(define({ name: "x", read: [], effect: () => {} }), invalid, "at-least-once");
  const loose = sqliteTable("t", { code: text("code"), n: integer("n") });
  refused(() => defineMigration({ name: "x", table: loose, key: "code", set: { n: 1 } }), invalid, "may be NULL");
});

test("columns and values are checked by the compiler", () => {
  const definitions = () => {
    // @ts-expect-error there is no such column
    defineMigration({ name: "x", table: counters, key: "uuid", set });
    // @ts-expect-error a number is wanted
    defineMigration({ name: "x", table: counters, key: "id", set: { n: "one" } });
    defineMigration({
      name: "x",
      table: notes,
      key: "id",
      read: ["body"],
      write: ["length"],
      // @ts-expect-error length is not read
      map: ({ length }) => ({ length }),
    });
    defineMigration({
      name: "x",
      table: notes,
      key: "id",
      read: ["body"],
      write: ["length"],
      // @ts-expect-error body may not be written
      map: ({ body }) => ({ body }),
    });
    // @ts-expect-error without `remaining` nothing can verify it
    defineMigration({ name: "x", table: counters, key: "id", run: async () => 1 });
  };
  expect(definitions).toBeTypeOf("function");
  defineMigration({ name: "x", table: counters, key: ["id"], set: { n: sql`1` }, remaining: sql`false` });
});
