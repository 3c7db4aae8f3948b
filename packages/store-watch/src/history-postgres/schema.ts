import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  customType,
  index,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
} from "drizzle-orm/pg-core";
import { givenText, keptText } from "./any-text.ts";

// The tables as drizzle sees them. `ddl.ts` creates them (with collations, which drizzle cannot say), a test holds both
// together. What the columns mean is said in `history/schema.ts`.

const number = (name: string) => bigint(name, { mode: "number" });
const bytes = customType<{ data: Buffer }>({ dataType: () => "bytea" });
const anyText = customType<{ data: string; driverData: string }>({
  dataType: () => "text",
  toDriver: keptText,
  fromDriver: givenText,
});

export const meta = pgTable("meta", { key: text("key").primaryKey(), value: text("value").notNull() });

export const origins = pgTable("origins", { id: number("id").primaryKey(), name: text("name").notNull().unique() });

export const streams = pgTable("streams", {
  id: number("id").primaryKey(),
  name: text("name").notNull().unique(),
  kind: text("kind").notNull(),
  description: text("description").notNull(),
  scope: text("scope").notNull(),
  capabilities: text("capabilities").notNull(),
  epoch: number("epoch"),
  cursor: text("cursor"),
  keys: number("keys").notNull().default(0),
  versions: number("versions").notNull().default(0),
  gaps: number("gaps").notNull().default(0),
  quarantined: number("quarantined").notNull().default(0),
  floor: number("floor").notNull().default(0),
  lastCommitAt: number("last_commit_at"),
});

export const epochs = pgTable(
  "epochs",
  {
    id: number("id").primaryKey(),
    stream: number("stream").notNull(),
    identity: text("identity").notNull(),
    beganAt: number("began_at").notNull(),
    reason: text("reason").notNull(),
  },
  (table) => [index("epochs_by_stream").on(table.stream)],
);

/** Long keys do not fit into an index: it has what they start with. */
export const keyStart = (key: unknown) => sql`substr(${key}, 1, 1000)`;

export const objects = pgTable(
  "objects",
  {
    id: number("id").primaryKey(),
    stream: number("stream").notNull(),
    key: bytes("key").notNull(),
    head: number("head").notNull(),
    isDeleted: boolean("is_deleted").notNull(),
    seen: text("seen"),
  },
  (table) => [index("objects_by_key").on(table.stream, keyStart(table.key))],
);

export const versions = pgTable(
  "versions",
  {
    pos: number("pos").primaryKey(),
    object: number("object").notNull(),
    batch: number("batch").notNull(),
    origin: number("origin").notNull().default(1),
    gen: number("gen").notNull(),
    epoch: number("epoch").notNull(),
    parent: number("parent"),
    level: number("level").notNull(),
    via: smallint("via").notNull(),
    version: text("version").notNull(),
    attributes: anyText("attributes"),
    sourceTime: number("source_time"),
    value: bytes("value"),
  },
  (table) => [
    index("versions_by_object").on(table.object, table.pos),
    index("versions_by_generation").on(table.origin, table.gen).where(sql`origin <> 1`),
  ],
);

export const edges = pgTable(
  "edges",
  { child: number("child").notNull(), parent: number("parent").notNull() },
  (table) => [primaryKey({ columns: [table.child, table.parent] }), index("edges_by_parent").on(table.parent)],
);

export const conflicts = pgTable(
  "conflicts",
  { object: number("object").notNull(), head: number("head").notNull() },
  (table) => [primaryKey({ columns: [table.object, table.head] })],
);

export const batches = pgTable("batches", {
  id: number("id").primaryKey(),
  stream: number("stream").notNull(),
  epoch: number("epoch").notNull(),
  cursor: text("cursor").notNull(),
  firstPos: number("first_pos").notNull(),
  count: number("count").notNull(),
  committedAt: number("committed_at").notNull(),
  sourceTime: number("source_time"),
  kind: smallint("kind").notNull(),
});

export const commits = pgTable(
  "commits",
  {
    id: number("id").primaryKey(),
    stream: number("stream").notNull(),
    epoch: number("epoch").notNull(),
    cursor: text("cursor").notNull(),
    position: number("position").notNull(),
    batch: number("batch").notNull(),
    committedAt: number("committed_at").notNull(),
  },
  (table) => [
    index("commits_by_time").on(table.committedAt, table.id),
    index("commits_by_cursor").on(table.stream, table.epoch, table.cursor, table.id),
    index("commits_by_position").on(table.position),
  ],
);

export const gaps = pgTable(
  "gaps",
  {
    id: number("id").primaryKey(),
    stream: number("stream").notNull(),
    epoch: number("epoch"),
    reason: text("reason").notNull(),
    detail: text("detail").notNull(),
    fromCursor: text("from_cursor"),
    toCursor: text("to_cursor"),
    position: number("position").notNull(),
    at: number("at").notNull(),
  },
  (table) => [index("gaps_by_stream").on(table.stream)],
);

export const quarantine = pgTable(
  "quarantine",
  {
    id: number("id").primaryKey(),
    stream: number("stream").notNull(),
    key: bytes("key").notNull(),
    value: bytes("value"),
    version: text("version"),
    attributes: anyText("attributes"),
    sourceTime: number("source_time"),
    epoch: number("epoch").notNull(),
    cursor: text("cursor").notNull(),
    position: number("position").notNull(),
    error: text("error").notNull(),
    at: number("at").notNull(),
    state: text("state").notNull().default("open"),
    resolution: text("resolution"),
  },
  (table) => [index("quarantine_by_key").on(table.stream, keyStart(table.key))],
);

export const consumers = pgTable("consumers", {
  name: text("name").primaryKey(),
  position: number("position").notNull(),
  updatedAt: number("updated_at").notNull(),
});

export const links = pgTable(
  "links",
  {
    origin: number("origin").notNull(),
    gen: number("gen").notNull(),
    object: number("object").notNull(),
    child: number("child").notNull(),
    parent: number("parent").notNull(),
  },
  (table) => [primaryKey({ columns: [table.origin, table.gen] }), index("links_by_parent").on(table.parent)],
);

export const generations = pgTable(
  "generations",
  {
    /** In the order in which batches came here. */
    id: number("id").primaryKey(),
    origin: number("origin").notNull(),
    first: number("first").notNull(),
    last: number("last").notNull(),
    stream: number("stream").notNull(),
    batch: number("batch"),
    stampMs: number("stamp_ms").notNull(),
    stampCounter: number("stamp_counter").notNull(),
  },
  (table) => [
    index("generations_by_origin").on(table.origin, table.first),
    index("generations_by_stamp").on(table.stream, table.stampMs, table.stampCounter),
  ],
);

export const inbox = pgTable(
  "inbox",
  {
    stream: number("stream").notNull(),
    origin: text("origin").notNull(),
    first: number("first").notNull(),
    last: number("last").notNull(),
    data: bytes("data").notNull(),
    at: number("at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.origin, table.first] })],
);

export const mirrored = pgTable("mirrored", {
  stream: number("stream").primaryKey(),
  source: number("source").notNull(),
  position: number("position").notNull(),
});

export const mirrors = pgTable("mirrors", {
  object: number("object").primaryKey(),
  shown: number("shown"),
  storeVersion: text("store_version"),
  epoch: number("epoch"),
  refused: number("refused"),
});

export const intents = pgTable(
  "intents",
  {
    object: number("object").notNull(),
    version: number("version").notNull(),
    written: text("written"),
    isUnknown: boolean("is_unknown").notNull(),
    expected: text("expected"),
    bound: text("bound"),
    epoch: number("epoch"),
  },
  (table) => [primaryKey({ columns: [table.object, table.version] })],
);

export const dirty = pgTable("dirty", { object: number("object").primaryKey() });

export const announcements = pgTable(
  "announcements",
  { origin: number("origin").notNull(), gen: number("gen").notNull(), vector: text("vector").notNull() },
  (table) => [primaryKey({ columns: [table.origin, table.gen] })],
);

export const horizons = pgTable("horizons", {
  origin: number("origin").primaryKey(),
  stream: number("stream").notNull(),
  generation: number("generation").notNull(),
});

export const relics = pgTable("relics", {
  version: number("version").primaryKey(),
  since: number("since").notNull(),
});

export const snapshotParts = pgTable(
  "snapshot_parts",
  { stream: number("stream").notNull(), part: number("part").notNull(), data: bytes("data").notNull() },
  (table) => [primaryKey({ columns: [table.stream, table.part] })],
);

/** Frames of groups whose boundary has not come yet, as they were packed. */
export const stage = pgTable(
  "stage",
  {
    stream: number("stream").notNull(),
    part: number("part").notNull(),
    frames: number("frames").notNull(),
    words: bytes("words").notNull(),
    data: bytes("data").notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.part] })],
);

/** The right to write: one row. `tx` counts the transactions of all writers. */
export const writer = pgTable("writer", {
  id: smallint("id").primaryKey(),
  fence: number("fence").notNull(),
  tx: number("tx").notNull(),
  session: text("session").notNull(),
  owner: text("owner").notNull(),
  expiresAt: timestamp("expires_at", { withTimezone: true }).notNull(),
});
