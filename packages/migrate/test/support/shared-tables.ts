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
};
const mysql = {
  counters: mysqlTable("counters", { id: int("id").primaryKey(), n: int("n").notNull().default(0) }),
  notes: mysqlTable("notes", { id: int("id").primaryKey(), body: mysqlText("body").notNull(), length: int("length") }),
};

export type DialectName = "sqlite" | "postgresql" | "mysql";
type Counters = Table & { readonly id: Column; readonly n: Column };

const tables = { sqlite, postgresql, mysql } as const;

export function tablesOf(dialect: DialectName): { readonly counters: Counters; readonly notes: Table } {
  return tables[dialect];
}

const pace = { initialRows: 20, maxRows: 20, nice: 0, minGapMs: 1, maxGapMs: 1 } as const;

/** `bump` is not idempotent, so a row that is visited twice shows it; `lengths` is a mapper behind it. */
export function definitionsFor(dialect: DialectName): readonly Migration[] {
  const { counters, notes } = tables[dialect] as typeof sqlite;
  return [
    defineMigration({
      name: "bump",
      table: counters,
      key: "id",
      set: { n: sql`${counters.n} + 1` },
      remaining: sql`${counters.n} = 0`,
      ...pace,
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
  ];
}

/** Statements for the tables, and for a ledger of every effect on `counters` that no transaction of the engine knows of. */
export function createStatements(dialect: DialectName, rows: number): string[] {
  const statements = [
    `create table counters (id integer primary key not null, n integer not null default 0)`,
    `create table notes (id integer primary key not null, body text not null, length integer)`,
    `create table effects (id integer not null)`,
  ];
  for (let from = 1; from <= rows; from += 1000) {
    const ids = Array.from({ length: Math.min(1000, rows - from + 1) }, (_, index) => from + index);
    statements.push(`insert into counters (id) values ${ids.map((id) => `(${id})`).join(",")}`);
    const bodies = ids.map((id) => `(${id}, '${"x".repeat(id % 50)}')`);
    statements.push(`insert into notes (id, body) values ${bodies.join(",")}`);
  }
  return [...statements, ...ledgerOf[dialect]];
}

const ledgerOf: Readonly<Record<DialectName, readonly string[]>> = {
  sqlite: ["create trigger ledger after update on counters begin insert into effects values (new.id); end"],
  postgresql: [
    "create function note() returns trigger as 'begin insert into effects values (new.id); return null; end' language plpgsql",
    "create trigger ledger after update on counters for each row execute function note()",
  ],
  mysql: ["create trigger ledger after update on counters for each row insert into effects values (new.id)"],
};
