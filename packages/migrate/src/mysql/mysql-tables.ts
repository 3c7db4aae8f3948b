import { bigint, double, longtext, mysqlTable, primaryKey, varchar } from "drizzle-orm/mysql-core";
import { bookTables } from "../bookkeeping.ts";

// For queries of users and for drizzle-kit; see ../tables.ts.

/** The engine's row for each migration, for reading with Drizzle. The engine creates it. */
export const mysqlMigrations = mysqlTable(bookTables.runs, {
  name: varchar("name", { length: 120 }).primaryKey(),
  definitionHash: varchar("definition_hash", { length: 1000 }).notNull().default(""),
  body: varchar("body", { length: 1000 }).notNull().default(""),
  tableName: varchar("table_name", { length: 1000 }).notNull().default(""),
  state: varchar("state", { length: 1000 }).notNull().default("registered"),
  runNo: bigint("run_no", { mode: "number" }).notNull().default(1),
  pass: varchar("pass", { length: 1000 }).notNull().default("copy"),
  fence: bigint("fence", { mode: "number" }).notNull().default(0),
  owner: longtext("owner"),
  leaseExpiresAt: bigint("lease_expires_at", { mode: "number" }),
  heartbeatAt: bigint("heartbeat_at", { mode: "number" }),
  heartbeatMs: bigint("heartbeat_ms", { mode: "number" }).notNull().default(0),
  beat: bigint("beat", { mode: "number" }).notNull().default(0),
  cursor: longtext("cursor"),
  bound: longtext("bound"),
  isBounded: bigint("is_bounded", { mode: "number" }).notNull().default(0),
  isExhausted: bigint("is_exhausted", { mode: "number" }).notNull().default(0),
  total: bigint("total", { mode: "number" }),
  totalKind: varchar("total_kind", { length: 1000 }).notNull().default("pending"),
  rowsDone: bigint("rows_done", { mode: "number" }).notNull().default(0),
  rowsChanged: bigint("rows_changed", { mode: "number" }).notNull().default(0),
  rowsQuarantined: bigint("rows_quarantined", { mode: "number" }).notNull().default(0),
  chunks: bigint("chunks", { mode: "number" }).notNull().default(0),
  spentMs: double("spent_ms").notNull().default(0),
  yieldedMs: double("yielded_ms").notNull().default(0),
  throttleReason: longtext("throttle_reason"),
  tuning: longtext("tuning"),
  errorCode: longtext("error_code"),
  error: longtext("error"),
  registeredAt: bigint("registered_at", { mode: "number" }).notNull().default(0),
  startedAt: bigint("started_at", { mode: "number" }),
  endedAt: bigint("ended_at", { mode: "number" }),
  updatedAt: bigint("updated_at", { mode: "number" }).notNull().default(0),
  rateAt: bigint("rate_at", { mode: "number" }),
  rateRows: bigint("rate_rows", { mode: "number" }),
  rateBeforeAt: bigint("rate_before_at", { mode: "number" }),
  rateBeforeRows: bigint("rate_before_rows", { mode: "number" }),
});

/** Rows that could not be migrated. The engine creates it. */
export const mysqlMigrationQuarantine = mysqlTable(
  bookTables.quarantine,
  {
    name: varchar("name", { length: 120 }).notNull(),
    rowKey: varchar("row_key", { length: 640 }).notNull(),
    runNo: bigint("run_no", { mode: "number" }).notNull().default(0),
    error: varchar("error", { length: 1000 }).notNull().default(""),
    attempts: bigint("attempts", { mode: "number" }).notNull().default(1),
    state: varchar("state", { length: 1000 }).notNull().default("held"),
    firstAt: bigint("first_at", { mode: "number" }).notNull().default(0),
    lastAt: bigint("last_at", { mode: "number" }).notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.name, table.rowKey] })],
);

/** Everything that happened to migrations, in order. The engine creates it. */
export const mysqlMigrationEvents = mysqlTable(bookTables.events, {
  id: bigint("id", { mode: "number" }).primaryKey().autoincrement(),
  name: varchar("name", { length: 1000 }).notNull().default(""),
  runNo: bigint("run_no", { mode: "number" }).notNull().default(0),
  at: bigint("at", { mode: "number" }).notNull().default(0),
  type: varchar("type", { length: 1000 }).notNull().default(""),
  detail: longtext("detail"),
  owner: longtext("owner"),
  fence: bigint("fence", { mode: "number" }).notNull().default(0),
});
