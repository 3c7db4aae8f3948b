import { bigint, doublePrecision, pgTable, primaryKey, text } from "drizzle-orm/pg-core";
import { bookTables } from "../bookkeeping.ts";

// For queries of users and for drizzle-kit; see ../tables.ts.

/** The engine's row for each migration, for reading with Drizzle. The engine creates it. */
export const pgMigrations = pgTable(bookTables.runs, {
  name: text("name").primaryKey(),
  definitionHash: text("definition_hash").notNull().default(""),
  body: text("body").notNull().default(""),
  tableName: text("table_name").notNull().default(""),
  state: text("state").notNull().default("registered"),
  runNo: bigint("run_no", { mode: "number" }).notNull().default(1),
  pass: text("pass").notNull().default("copy"),
  fence: bigint("fence", { mode: "number" }).notNull().default(0),
  owner: text("owner"),
  leaseExpiresAt: bigint("lease_expires_at", { mode: "number" }),
  heartbeatAt: bigint("heartbeat_at", { mode: "number" }),
  heartbeatMs: bigint("heartbeat_ms", { mode: "number" }).notNull().default(0),
  beat: bigint("beat", { mode: "number" }).notNull().default(0),
  cursor: text("cursor"),
  bound: text("bound"),
  isBounded: bigint("is_bounded", { mode: "number" }).notNull().default(0),
  isExhausted: bigint("is_exhausted", { mode: "number" }).notNull().default(0),
  total: bigint("total", { mode: "number" }),
  totalKind: text("total_kind").notNull().default("pending"),
  rowsDone: bigint("rows_done", { mode: "number" }).notNull().default(0),
  rowsChanged: bigint("rows_changed", { mode: "number" }).notNull().default(0),
  rowsQuarantined: bigint("rows_quarantined", { mode: "number" }).notNull().default(0),
  chunks: bigint("chunks", { mode: "number" }).notNull().default(0),
  spentMs: doublePrecision("spent_ms").notNull().default(0),
  yieldedMs: doublePrecision("yielded_ms").notNull().default(0),
  throttleReason: text("throttle_reason"),
  tuning: text("tuning"),
  errorCode: text("error_code"),
  error: text("error"),
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
export const pgMigrationQuarantine = pgTable(
  bookTables.quarantine,
  {
    name: text("name").notNull(),
    rowKey: text("row_key").notNull(),
    runNo: bigint("run_no", { mode: "number" }).notNull().default(0),
    error: text("error").notNull().default(""),
    attempts: bigint("attempts", { mode: "number" }).notNull().default(1),
    state: text("state").notNull().default("held"),
    firstAt: bigint("first_at", { mode: "number" }).notNull().default(0),
    lastAt: bigint("last_at", { mode: "number" }).notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.name, table.rowKey] })],
);

/** Everything that happened to migrations, in order. The engine creates it. */
export const pgMigrationEvents = pgTable(bookTables.events, {
  id: bigint("id", { mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
  name: text("name").notNull().default(""),
  runNo: bigint("run_no", { mode: "number" }).notNull().default(0),
  at: bigint("at", { mode: "number" }).notNull().default(0),
  type: text("type").notNull().default(""),
  detail: text("detail"),
  owner: text("owner"),
  fence: bigint("fence", { mode: "number" }).notNull().default(0),
});
