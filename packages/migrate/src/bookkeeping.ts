/** The tables the engine keeps its books in. */
export const bookTables = {
  runs: "tidemark_migrations",
  quarantine: "tidemark_migration_quarantine",
  events: "tidemark_migration_events",
} as const;

type BookType = "text" | "integer" | "real";

/** A column: its type, and what it is where nothing was said; undefined: NULL. */
export interface BookColumn {
  readonly type: BookType;
  readonly default?: string | number;
}

const text = { type: "text" } as const satisfies BookColumn;
const integer = { type: "integer" } as const satisfies BookColumn;
const counter = { type: "integer", default: 0 } as const satisfies BookColumn;

// Additive for ever: a column is never renamed or dropped and a new one has a default or may be NULL, so that an older
// version goes on working beside a newer one while a fleet is being upgraded.

/** One row for each migration. Times are ms since the epoch. */
export const runColumns = {
  definition_hash: { type: "text", default: "" },
  body: { type: "text", default: "" },
  table_name: { type: "text", default: "" },
  state: { type: "text", default: "registered" },
  run_no: { type: "integer", default: 1 },
  /** `copy`, or `repair` after a verification that failed. */
  pass: { type: "text", default: "copy" },
  /** The token of the lease: whoever has another number writes nothing. */
  fence: counter,
  owner: text,
  lease_expires_at: integer,
  heartbeat_at: integer,
  heartbeat_ms: counter,
  /** Grows with every sign of life: tells one apart from the last when clocks jump. */
  beat: counter,
  cursor: text,
  bound: text,
  is_bounded: counter,
  is_exhausted: counter,
  total: integer,
  /** `pending`, `exact`, `estimate` or `none`. */
  total_kind: { type: "text", default: "pending" },
  rows_done: counter,
  rows_changed: counter,
  rows_quarantined: counter,
  chunks: counter,
  spent_ms: { type: "real", default: 0 },
  yielded_ms: { type: "real", default: 0 },
  throttle_reason: text,
  /** JSON: knobs of the definition that were changed since. */
  tuning: text,
  error_code: text,
  error: text,
  registered_at: counter,
  started_at: integer,
  ended_at: integer,
  updated_at: counter,
  /** Where the window of the rate began, and the one before it: when, and how many rows were finished then. */
  rate_at: integer,
  rate_rows: integer,
  rate_before_at: integer,
  rate_before_rows: integer,
} as const satisfies Readonly<Record<string, BookColumn>>;

/** One row for each row of a table that could not be migrated. */
const quarantineColumns = {
  run_no: counter,
  error: { type: "text", default: "" },
  attempts: { type: "integer", default: 1 },
  /** `held`, or `skipped` by an operator. */
  state: { type: "text", default: "held" },
  first_at: counter,
  last_at: counter,
} as const satisfies Readonly<Record<string, BookColumn>>;

/** One row for each thing that happened; never changed, never deleted. */
const eventColumns = {
  run_no: counter,
  at: counter,
  type: { type: "text", default: "" },
  /** JSON. */
  detail: text,
  owner: text,
  fence: counter,
} as const satisfies Readonly<Record<string, BookColumn>>;

/** A table of the books: how it starts, and the columns it has or gets. */
export interface BookTable {
  readonly name: string;
  /** The key, which cannot be added later. */
  readonly identity: readonly { readonly name: string; readonly type: BookType | "serial" }[];
  readonly columns: Readonly<Record<string, BookColumn>>;
}

export const books = [
  { name: bookTables.runs, identity: [{ name: "name", type: "text" }], columns: runColumns },
  {
    name: bookTables.quarantine,
    identity: [
      { name: "name", type: "text" },
      { name: "row_key", type: "text" },
    ],
    columns: quarantineColumns,
  },
  {
    name: bookTables.events,
    identity: [{ name: "id", type: "serial" }],
    columns: { name: { type: "text", default: "" }, ...eventColumns },
  },
] as const satisfies readonly BookTable[];
