// The same tables and definitions for every dialect. Without vitest: processes of their own load it.

import { defineMigration, type Migration } from "@tidemark/migrate";
import { type Column, sql, type Table } from "drizzle-orm";
import { int, mysqlTable, text as mysqlText } from "drizzle-orm/mysql-core";
import { integer, pgTable, text as pgText } from "drizzle-orm/pg-core";
import * as sqlite from "./schema.ts";

const postgresql = {
  counters: pgTable("counters", { id: integer("id").primaryKey(), n: integer("n").notNull().default(0) }),
  notes: pgTable("notes", {
    id: integer("id").primaryKey(),
    body: pgText("body").notNull(),
    length: integer("length"),
  }),
  totals: pgTable("totals", { id: integer("id").primaryKey(), total: integer("total") }),
  parts: pgTable("parts", {
    id: integer("id").primaryKey(),
    totalId: integer("total_id"),
    amount: integer("amount"),
    largest: integer("largest"),
  }),
};
const mysql = {
  counters: mysqlTable("counters", { id: int("id").primaryKey(), n: int("n").notNull().default(0) }),
  notes: mysqlTable("notes", { id: int("id").primaryKey(), body: mysqlText("body").notNull(), length: int("length") }),
  totals: mysqlTable("totals", { id: int("id").primaryKey(), total: int("total") }),
  parts: mysqlTable("parts", {
    id: int("id").primaryKey(),
    totalId: int("total_id"),
    amount: int("amount"),
    largest: int("largest"),
  }),
};

export type DialectName = "sqlite" | "postgresql" | "mysql";
type Counters = Table & { readonly id: Column; readonly n: Column };

const tables = { sqlite, postgresql, mysql } as const;

export function tablesOf(dialect: DialectName): { readonly counters: Counters; readonly notes: Table } {
  return tables[dialect];
}

// On a machine that stands still for seconds, rows are counted all the same.
const pace = { initialRows: 20, maxRows: 20, nice: 0, minGapMs: 1, maxGapMs: 1, maxCountMs: 60_000 } as const;
const larger = { ...pace, initialRows: 200, maxRows: 200 } as const;
/** Without rests, where several chunks then go to the server at once. */
const togetherOn = (dialect: DialectName) => (dialect === "postgresql" ? { minGapMs: 0, maxGapMs: 0 } : {});

/**
 * `bump` is not idempotent, so a row that is visited twice shows it; behind it come `lengths`, a mapper, `sums`, which
 * SQLite reads in a row, and `largest`, which SQLite computes before it takes its lock.
 */
export function definitionsFor(dialect: DialectName): readonly Migration[] {
  const { counters, notes, totals, parts } = tables[dialect] as typeof sqlite;
  return [
    defineMigration({
      name: "bump",
      table: counters,
      key: "id",
      set: { n: sql`${counters.n} + 1` },
      remaining: sql`${counters.n} = 0`,
      ...pace,
      ...togetherOn(dialect),
    }),
    defineMigration({
      name: "lengths",
      table: notes,
      key: "id",
      dependsOn: ["bump"],
      read: ["body"],
      write: ["length"],
      map: ({ body }) => ({ length: body.length }),
      ...pace,
    }),
    defineMigration({
      name: "sums",
      table: totals,
      key: "id",
      aggregate: { child: parts, parentKey: "totalId", set: { total: { sum: "amount", otherwise: 0 } } },
      ...larger,
    }),
    defineMigration({
      name: "largest",
      table: parts,
      key: "id",
      dependsOn: ["sums"],
      set: { largest: sql`(select total from totals where id = ${parts.totalId})` },
      ...larger,
      ...togetherOn(dialect),
    }),
  ];
}

/** Statements for the tables, and for a ledger of every effect on `counters` that no transaction of the engine knows of. */
export function createStatements(dialect: DialectName, rows: number): string[] {
  const statements = [
    `create table counters (id integer primary key not null, n integer not null default 0)`,
    `create table notes (id integer primary key not null, body text not null, length integer)`,
    `create table effects (id integer not null)`,
    `create table totals (id integer primary key not null, total integer)`,
    `create table parts (id integer primary key not null, total_id integer, amount integer, largest integer)`,
    `create table written (id integer not null)`,
  ];
  for (let from = 1; from <= rows; from += 1000) {
    const ids = Array.from({ length: Math.min(1000, rows - from + 1) }, (_, index) => from + index);
    statements.push(`insert into counters (id) values ${ids.map((id) => `(${id})`).join(",")}`);
    const bodies = ids.map((id) => `(${id}, '${"x".repeat(id % 50)}')`);
    statements.push(`insert into notes (id, body) values ${bodies.join(",")}`);
    statements.push(`insert into totals (id) values ${ids.map((id) => `(${id})`).join(",")}`);
    // A row in three has no parts, and another one has two.
    const parts = ids.map((id) => `(${id}, ${id - (id % 3 === 0 ? 1 : 0)}, ${id * 7})`);
    statements.push(`insert into parts (id, total_id, amount) values ${parts.join(",")}`);
  }
  return [...statements, ...ledgerOf[dialect]];
}

const ledgerOf: Readonly<Record<DialectName, readonly string[]>> = {
  sqlite: [
    "create trigger ledger after update on counters begin insert into effects values (new.id); end",
    "create trigger totals_ledger after update on totals begin insert into written values (new.id); end",
    "create trigger parts_ledger after update on parts begin insert into written values (-new.id); end",
  ],
  postgresql: [
    "create function note() returns trigger as 'begin insert into effects values (new.id); return null; end' language plpgsql",
    "create trigger ledger after update on counters for each row execute function note()",
    "create function note_total() returns trigger as 'begin insert into written values (new.id); return null; end' language plpgsql",
    "create trigger totals_ledger after update on totals for each row execute function note_total()",
    "create function note_part() returns trigger as 'begin insert into written values (-new.id); return null; end' language plpgsql",
    "create trigger parts_ledger after update on parts for each row execute function note_part()",
  ],
  mysql: [
    "create trigger ledger after update on counters for each row insert into effects values (new.id)",
    "create trigger totals_ledger after update on totals for each row insert into written values (new.id)",
    "create trigger parts_ledger after update on parts for each row insert into written values (-new.id)",
  ],
};
