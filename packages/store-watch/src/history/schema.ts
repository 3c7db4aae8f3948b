import { sql } from "drizzle-orm";
import {
  type AnySQLiteColumn,
  blob,
  index,
  integer,
  primaryKey,
  sqliteTable,
  text,
  unique,
  uniqueIndex,
} from "drizzle-orm/sqlite-core";

// The tables as drizzle sees them. `ddl.ts` creates them (STRICT, which drizzle cannot say), a test holds both together.

const bytes = (name: string) => blob(name, { mode: "buffer" });

/** Facts about this database: `origin` is its identity. */
export const meta = sqliteTable("meta", {
  key: text("key").primaryKey(),
  value: text("value").notNull(),
});

/** Whose log records there are. 1 is this database. */
export const origins = sqliteTable("origins", {
  id: integer("id").primaryKey(),
  name: text("name").notNull().unique(),
});

export const streams = sqliteTable("streams", {
  id: integer("id").primaryKey(),
  name: text("name").notNull().unique(),
  kind: text("kind").notNull(),
  description: text("description").notNull(),
  scope: text("scope").notNull(),
  capabilities: text("capabilities").notNull(),
  /** Undefined until a snapshot or a reset named one. */
  epoch: integer("epoch"),
  cursor: text("cursor"),
  /** Live keys. */
  keys: integer("keys").notNull().default(0),
  versions: integer("versions").notNull().default(0),
  gaps: integer("gaps").notNull().default(0),
  /** Open ones. */
  quarantined: integer("quarantined").notNull().default(0),
  /** Superseded versions at or below this position may have been pruned. */
  floor: integer("floor").notNull().default(0),
  lastCommitAt: integer("last_commit_at"),
});

export const epochs = sqliteTable(
  "epochs",
  {
    id: integer("id").primaryKey(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    identity: text("identity").notNull(),
    beganAt: integer("began_at").notNull(),
    reason: text("reason").notNull(),
  },
  (table) => [index("epochs_by_stream").on(table.stream)],
);

/** One per key of a stream, for good: a deleted one keeps its tombstone as head. */
export const objects = sqliteTable(
  "objects",
  {
    id: integer("id").primaryKey(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    key: bytes("key").notNull(),
    head: integer("head")
      .notNull()
      .references((): AnySQLiteColumn => versions.pos),
    isDeleted: integer("is_deleted").notNull(),
    /** The greatest version that the source gave in the head's epoch; null: it is the head's. */
    seen: text("seen"),
  },
  (table) => [unique("objects_by_key").on(table.stream, table.key)],
);

/** A version row is its log record. Superseded ones are pruned, the newest of an object never is. */
export const versions = sqliteTable(
  "versions",
  {
    pos: integer("pos").primaryKey(),
    object: integer("object")
      .notNull()
      .references(() => objects.id),
    batch: integer("batch")
      .notNull()
      .references(() => batches.id),
    origin: integer("origin")
      .notNull()
      .default(1)
      .references(() => origins.id),
    gen: integer("gen").notNull(),
    epoch: integer("epoch")
      .notNull()
      .references(() => epochs.id),
    /** The version before it; it may have been pruned. */
    parent: integer("parent"),
    level: integer("level").notNull(),
    via: integer("via").notNull(),
    version: text("version").notNull(),
    attributes: text("attributes"),
    sourceTime: integer("source_time"),
    value: bytes("value"),
    kind: text("kind").generatedAlwaysAs(sql`(iif(value IS NULL, 'delete', 'put'))`, { mode: "virtual" }),
  },
  (table) => [
    index("versions_by_object").on(table.object, table.pos),
    uniqueIndex("versions_by_generation").on(table.origin, table.gen).where(sql`origin <> 1`),
  ],
);

/** Second and further parents. Empty as long as every stream is linear. */
export const edges = sqliteTable(
  "edges",
  {
    child: integer("child")
      .notNull()
      .references(() => versions.pos),
    parent: integer("parent").notNull(),
  },
  (table) => [primaryKey({ columns: [table.child, table.parent] }), index("edges_by_parent").on(table.parent)],
);

/** Heads besides `objects.head` while a conflict is open. Empty as long as every stream is linear. */
export const conflicts = sqliteTable(
  "conflicts",
  {
    object: integer("object")
      .notNull()
      .references(() => objects.id),
    head: integer("head")
      .notNull()
      .references(() => versions.pos),
  },
  (table) => [primaryKey({ columns: [table.object, table.head] })],
);

/** One per transaction of the source that made a version: positions [first_pos, first_pos + count). */
export const batches = sqliteTable("batches", {
  id: integer("id").primaryKey(),
  stream: integer("stream")
    .notNull()
    .references(() => streams.id),
  epoch: integer("epoch")
    .notNull()
    .references(() => epochs.id),
  cursor: text("cursor").notNull(),
  firstPos: integer("first_pos").notNull(),
  count: integer("count").notNull(),
  committedAt: integer("committed_at").notNull(),
  sourceTime: integer("source_time"),
  kind: integer("kind").notNull(),
});

/**
 * One per transaction of ours and epoch, with its last batch: what time and cursor lookups search, so that the many
 * more `batches` need no index.
 */
export const commits = sqliteTable(
  "commits",
  {
    id: integer("id").primaryKey(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    epoch: integer("epoch")
      .notNull()
      .references(() => epochs.id),
    cursor: text("cursor").notNull(),
    position: integer("position").notNull(),
    batch: integer("batch").notNull(),
    committedAt: integer("committed_at").notNull(),
  },
  (table) => [
    index("commits_by_time").on(table.committedAt),
    index("commits_by_cursor").on(table.stream, table.epoch, table.cursor),
  ],
);

export const gaps = sqliteTable(
  "gaps",
  {
    id: integer("id").primaryKey(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    epoch: integer("epoch").references(() => epochs.id),
    reason: text("reason").notNull(),
    detail: text("detail").notNull(),
    fromCursor: text("from_cursor"),
    toCursor: text("to_cursor"),
    position: integer("position").notNull(),
    at: integer("at").notNull(),
  },
  (table) => [index("gaps_by_stream").on(table.stream)],
);

export const quarantine = sqliteTable(
  "quarantine",
  {
    id: integer("id").primaryKey(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    key: bytes("key").notNull(),
    value: bytes("value"),
    version: text("version"),
    attributes: text("attributes"),
    sourceTime: integer("source_time"),
    epoch: integer("epoch")
      .notNull()
      .references(() => epochs.id),
    cursor: text("cursor").notNull(),
    /** The last position before it. */
    position: integer("position").notNull(),
    error: text("error").notNull(),
    at: integer("at").notNull(),
    state: text("state").notNull().default("open"),
    resolution: text("resolution"),
  },
  (table) => [index("quarantine_by_key").on(table.stream, table.key)],
);

export const consumers = sqliteTable("consumers", {
  name: text("name").primaryKey(),
  position: integer("position").notNull(),
  updatedAt: integer("updated_at").notNull(),
});

/** Graphs: one version takes the place of another without a new one. A link is a log record, with a generation of its own. */
export const links = sqliteTable(
  "links",
  {
    origin: integer("origin")
      .notNull()
      .references(() => origins.id),
    gen: integer("gen").notNull(),
    object: integer("object")
      .notNull()
      .references(() => objects.id),
    child: integer("child").notNull(),
    parent: integer("parent").notNull(),
  },
  (table) => [primaryKey({ columns: [table.origin, table.gen] }), index("links_by_parent").on(table.parent)],
);

/** Graphs: one per batch of an origin, with its generations [first, last] and when it was made. */
export const generations = sqliteTable(
  "generations",
  {
    origin: integer("origin")
      .notNull()
      .references(() => origins.id),
    first: integer("first").notNull(),
    last: integer("last").notNull(),
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    /** Null: it made no version, only links. */
    batch: integer("batch"),
    stampMs: integer("stamp_ms").notNull(),
    stampCounter: integer("stamp_counter").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.origin, table.first] }),
    index("generations_by_stamp").on(table.stream, table.stampMs, table.stampCounter),
  ],
);

/** Graphs: batches of other origins that came before something that they build on. */
export const inbox = sqliteTable(
  "inbox",
  {
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    origin: text("origin").notNull(),
    first: integer("first").notNull(),
    last: integer("last").notNull(),
    data: bytes("data").notNull(),
    at: integer("at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.origin, table.first] })],
);

/** Graphs whose values are those of a watched store: how far the store's stream was taken over. */
export const mirrored = sqliteTable("mirrored", {
  stream: integer("stream")
    .primaryKey()
    .references(() => streams.id),
  source: integer("source")
    .notNull()
    .references(() => streams.id),
  position: integer("position").notNull(),
});

/** What the store is known to show of a key, and under which version of its own. */
export const mirrors = sqliteTable("mirrors", {
  object: integer("object")
    .primaryKey()
    .references(() => objects.id),
  /** Null: nothing of the graph. */
  shown: integer("shown").references(() => versions.pos),
  /** Null: the store was never seen to have the key. */
  storeVersion: text("store_version"),
  /** In which epoch of the store. */
  epoch: integer("epoch").references(() => epochs.id),
  /** The store refused a write when its stream was taken over up to here: something is on its way. */
  refused: integer("refused"),
});

/** Versions that may have been written to the store: recorded before they are. */
export const intents = sqliteTable(
  "intents",
  {
    object: integer("object")
      .notNull()
      .references(() => objects.id),
    version: integer("version")
      .notNull()
      .references(() => versions.pos),
    /** The store's version of it, until the store's stream has brought it. Null: not known to be written. */
    written: text("written"),
    /** An attempt to write it ended without a result. */
    isUnknown: integer("is_unknown").notNull(),
    /** The store's version that the attempt expected. Null: nothing to be there, or an attempt from before this was kept. */
    expected: text("expected"),
    /** An attempt without a result was made up to here in the store, or never will be. Null: one with a result, or not known. */
    bound: text("bound"),
    /** The store's epoch of `written` or `bound`. */
    epoch: integer("epoch").references(() => epochs.id),
  },
  (table) => [primaryKey({ columns: [table.object, table.version] })],
);

/** Keys of mirrored graphs whose heads moved since the store was last compared. */
export const dirty = sqliteTable("dirty", {
  object: integer("object")
    .primaryKey()
    .references(() => objects.id),
});

/** Graphs: what an origin said that it has, as JSON: the name of each site and its last generation. */
export const announcements = sqliteTable(
  "announcements",
  {
    origin: integer("origin")
      .notNull()
      .references(() => origins.id),
    gen: integer("gen").notNull(),
    vector: text("vector").notNull(),
  },
  (table) => [primaryKey({ columns: [table.origin, table.gen] })],
);

/** Graphs: up to this generation of an origin only versions that nothing took the place of are kept. */
export const horizons = sqliteTable("horizons", {
  origin: integer("origin")
    .primaryKey()
    .references(() => origins.id),
  stream: integer("stream")
    .notNull()
    .references(() => streams.id),
  generation: integer("generation").notNull(),
});

/** Graphs: versions below the horizon whose place was taken, there until nothing needs them. */
export const relics = sqliteTable("relics", {
  version: integer("version")
    .primaryKey()
    .references(() => versions.pos),
  /** Whoever reads as of this position or later sees what took its place. */
  since: integer("since").notNull(),
});

/** Graphs: what has come of another site's snapshot, which is taken over when all of it has. */
export const snapshotParts = sqliteTable(
  "snapshot_parts",
  {
    stream: integer("stream")
      .notNull()
      .references(() => streams.id),
    part: integer("part").notNull(),
    data: bytes("data").notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.part] })],
);
