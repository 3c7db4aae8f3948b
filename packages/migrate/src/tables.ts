import { integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { bookTables } from "./bookkeeping.ts";

// For queries of users and for drizzle-kit, which drops tables it does not know. The engine creates and upgrades them
// itself; test/tables.test.ts compares the two.

/** The engine's row for each migration, for reading with Drizzle. The engine creates it. */
export const sqliteMigrations = sqliteTable(bookTables.runs, {
  name: text("name").primaryKey(),
  definitionHash: text("definition_hash").notNull().default(""),
  body: text("body").notNull().default(""),
  tableName: text("table_name").notNull().default(""),
  state: text("state").notNull().default("registered"),
  runNo: integer("run_no").notNull().default(1),
  pass: text("pass").notNull().default("copy"),
  fence: integer("fence").notNull().default(0),
  owner: text("owner"),
  leaseExpiresAt: integer("lease_expires_at"),
  heartbeatAt: integer("heartbeat_at"),
  heartbeatMs: integer("heartbeat_ms").notNull().default(0),
  beat: integer("beat").notNull().default(0),
  cursor: text("cursor"),
  bound: text("bound"),
  isBounded: integer("is_bounded").notNull().default(0),
  isExhausted: integer("is_exhausted").notNull().default(0),
  total: integer("total"),
  totalKind: text("total_kind").notNull().default("pending"),
  rowsDone: integer("rows_done").notNull().default(0),
  rowsChanged: integer("rows_changed").notNull().default(0),
  rowsQuarantined: integer("rows_quarantined").notNull().default(0),
  chunks: integer("chunks").notNull().default(0),
  spentMs: real("spent_ms").notNull().default(0),
  yieldedMs: real("yielded_ms").notNull().default(0),
  throttleReason: text("throttle_reason"),
  tuning: text("tuning"),
  errorCode: text("error_code"),
  error: text("error"),
  registeredAt: integer("registered_at").notNull().default(0),
  startedAt: integer("started_at"),
  endedAt: integer("ended_at"),
  updatedAt: integer("updated_at").notNull().default(0),
  rateAt: integer("rate_at"),
  rateRows: integer("rate_rows"),
  rateBeforeAt: integer("rate_before_at"),
  rateBeforeRows: integer("rate_before_rows"),
});

/** Rows that could not be migrated. The engine creates it. */
export const sqliteMigrationQuarantine = sqliteTable(
  bookTables.quarantine,
  {
    name: text("name").notNull(),
    rowKey: text("row_key").notNull(),
    runNo: integer("run_no").notNull().default(0),
    error: text("error").notNull().default(""),
    attempts: integer("attempts").notNull().default(1),
    state: text("state").notNull().default("held"),
    firstAt: integer("first_at").notNull().default(0),
    lastAt: integer("last_at").notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.name, table.rowKey] })],
);

/** Everything that happened to migrations, in order. The engine creates it. */
export const sqliteMigrationEvents = sqliteTable(bookTables.events, {
  id: integer("id").primaryKey({ autoIncrement: true }),
  name: text("name").notNull().default(""),
  runNo: integer("run_no").notNull().default(0),
  at: integer("at").notNull().default(0),
  type: text("type").notNull().default(""),
  detail: text("detail"),
  owner: text("owner"),
  fence: integer("fence").notNull().default(0),
});
