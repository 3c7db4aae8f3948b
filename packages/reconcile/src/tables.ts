import { bigint, integer as pgInteger, pgTable, primaryKey as pgPrimaryKey, text as pgText } from "drizzle-orm/pg-core";
import { integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

// For queries of users and for drizzle-kit, which drops tables that it does not know. The engine creates them itself;
// test/tables.test.ts compares the two.

/** Failed items in SQLite, for reading with Drizzle and for joins in `select`. */
export const sqliteCycleAttempts = sqliteTable(
  "tidemark_cycle_attempts",
  {
    cycle: text("cycle").notNull(),
    phase: text("phase").notNull(),
    item: text("item").notNull(),
    version: text("version").notNull(),
    failures: integer("failures").notNull(),
    nextMs: integer("next_ms").notNull(),
    isQuarantined: integer("is_quarantined").notNull(),
    error: text("error").notNull(),
    updatedMs: integer("updated_ms").notNull(),
  },
  (table) => [primaryKey({ columns: [table.cycle, table.phase, table.item] })],
);

/** Tasks in SQLite, for reading with Drizzle. */
export const sqliteTasks = sqliteTable(
  "tidemark_tasks",
  {
    queue: text("queue").notNull(),
    id: text("id").notNull(),
    seq: integer("seq").notNull(),
    kind: text("kind").notNull(),
    payload: text("payload").notNull(),
    state: text("state").notNull(),
    attempts: integer("attempts").notNull(),
    nextMs: integer("next_ms").notNull(),
    result: text("result"),
    error: text("error"),
    createdMs: integer("created_ms").notNull(),
    endedMs: integer("ended_ms"),
  },
  (table) => [primaryKey({ columns: [table.queue, table.id] })],
);

/** Failed items in PostgreSQL, for reading with Drizzle and for joins in `select`. */
export const postgresCycleAttempts = pgTable(
  "tidemark_cycle_attempts",
  {
    cycle: pgText("cycle").notNull(),
    phase: pgText("phase").notNull(),
    item: pgText("item").notNull(),
    version: pgText("version").notNull(),
    failures: pgInteger("failures").notNull(),
    nextMs: bigint("next_ms", { mode: "number" }).notNull(),
    isQuarantined: pgInteger("is_quarantined").notNull(),
    error: pgText("error").notNull(),
    updatedMs: bigint("updated_ms", { mode: "number" }).notNull(),
  },
  (table) => [pgPrimaryKey({ columns: [table.cycle, table.phase, table.item] })],
);

/** Tasks in PostgreSQL, for reading with Drizzle. */
export const postgresTasks = pgTable(
  "tidemark_tasks",
  {
    queue: pgText("queue").notNull(),
    id: pgText("id").notNull(),
    seq: bigint("seq", { mode: "number" }).notNull(),
    kind: pgText("kind").notNull(),
    payload: pgText("payload").notNull(),
    state: pgText("state").notNull(),
    attempts: pgInteger("attempts").notNull(),
    nextMs: bigint("next_ms", { mode: "number" }).notNull(),
    result: pgText("result"),
    error: pgText("error"),
    createdMs: bigint("created_ms", { mode: "number" }).notNull(),
    endedMs: bigint("ended_ms", { mode: "number" }),
  },
  (table) => [pgPrimaryKey({ columns: [table.queue, table.id] })],
);
