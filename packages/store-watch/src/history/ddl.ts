import { viewsOf, viewStatementsOf } from "./views.ts";

/** "TMrk": what `file` and SQLite itself show of a Tidemark history. */
export const applicationId = 0x544d726b;

/** How a version came to be known, as stored. */
export const viaCodes = { stream: 1, snapshot: 2, sweep: 3, retry: 4, peer: 5, merge: 6 } as const;

/** The kind of streams whose versions come from several origins. */
export const graphKind = "graph";

const tables = `
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
CREATE TABLE origins (id INTEGER PRIMARY KEY, name TEXT NOT NULL, CONSTRAINT origins_name_unique UNIQUE (name)) STRICT;
CREATE TABLE streams (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  description TEXT NOT NULL,
  scope TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  epoch INTEGER,
  cursor TEXT,
  keys INTEGER NOT NULL DEFAULT 0,
  versions INTEGER NOT NULL DEFAULT 0,
  gaps INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0,
  floor INTEGER NOT NULL DEFAULT 0,
  last_commit_at INTEGER,
  CONSTRAINT streams_name_unique UNIQUE (name)
) STRICT;
CREATE TABLE epochs (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  identity TEXT NOT NULL,
  began_at INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX epochs_by_stream ON epochs (stream);
CREATE TABLE objects (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  key BLOB NOT NULL,
  head INTEGER NOT NULL REFERENCES versions (pos),
  is_deleted INTEGER NOT NULL,
  seen TEXT,
  CONSTRAINT objects_by_key UNIQUE (stream, key)
) STRICT;
CREATE TABLE versions (
  pos INTEGER PRIMARY KEY,
  object INTEGER NOT NULL REFERENCES objects (id),
  batch INTEGER NOT NULL REFERENCES batches (id),
  origin INTEGER NOT NULL DEFAULT 1 REFERENCES origins (id),
  gen INTEGER NOT NULL,
  epoch INTEGER NOT NULL REFERENCES epochs (id),
  parent INTEGER,
  level INTEGER NOT NULL,
  via INTEGER NOT NULL,
  version TEXT NOT NULL,
  attributes TEXT,
  source_time INTEGER,
  value BLOB,
  kind TEXT GENERATED ALWAYS AS (iif(value IS NULL, 'delete', 'put')) VIRTUAL
) STRICT;
CREATE INDEX versions_by_object ON versions (object, pos);
CREATE TABLE edges (
  child INTEGER NOT NULL REFERENCES versions (pos),
  parent INTEGER NOT NULL,
  PRIMARY KEY (child, parent)
) STRICT;
CREATE TABLE conflicts (
  object INTEGER NOT NULL REFERENCES objects (id),
  head INTEGER NOT NULL REFERENCES versions (pos),
  PRIMARY KEY (object, head)
) STRICT;
CREATE TABLE batches (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  epoch INTEGER NOT NULL REFERENCES epochs (id),
  cursor TEXT NOT NULL,
  first_pos INTEGER NOT NULL,
  count INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  source_time INTEGER,
  kind INTEGER NOT NULL
) STRICT;
CREATE TABLE commits (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  epoch INTEGER NOT NULL REFERENCES epochs (id),
  cursor TEXT NOT NULL,
  position INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  committed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX commits_by_time ON commits (committed_at);
CREATE INDEX commits_by_cursor ON commits (stream, epoch, cursor);
CREATE TABLE gaps (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  epoch INTEGER REFERENCES epochs (id),
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  from_cursor TEXT,
  to_cursor TEXT,
  position INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_stream ON gaps (stream);
CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL REFERENCES streams (id),
  key BLOB NOT NULL,
  value BLOB,
  version TEXT,
  attributes TEXT,
  source_time INTEGER,
  epoch INTEGER NOT NULL REFERENCES epochs (id),
  cursor TEXT NOT NULL,
  position INTEGER NOT NULL,
  error TEXT NOT NULL,
  at INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'open',
  resolution TEXT
) STRICT;
CREATE INDEX quarantine_by_key ON quarantine (stream, key);
CREATE TABLE consumers (name TEXT PRIMARY KEY NOT NULL, position INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
`;

// Of graphs. A version there is found by origin and generation, and links take generations, too.
const graphTables = `
CREATE UNIQUE INDEX versions_by_generation ON versions (origin, gen) WHERE origin <> 1;
CREATE INDEX edges_by_parent ON edges (parent);
CREATE TABLE links (
  origin INTEGER NOT NULL REFERENCES origins (id),
  gen INTEGER NOT NULL,
  object INTEGER NOT NULL REFERENCES objects (id),
  child INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  PRIMARY KEY (origin, gen)
) STRICT;
CREATE INDEX links_by_parent ON links (parent);
CREATE TABLE generations (
  origin INTEGER NOT NULL REFERENCES origins (id),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  stream INTEGER NOT NULL REFERENCES streams (id),
  batch INTEGER,
  stamp_ms INTEGER NOT NULL,
  stamp_counter INTEGER NOT NULL,
  PRIMARY KEY (origin, first)
) STRICT;
CREATE INDEX generations_by_stamp ON generations (stream, stamp_ms, stamp_counter);
CREATE TABLE inbox (
  stream INTEGER NOT NULL REFERENCES streams (id),
  origin TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  data BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (stream, origin, first)
) STRICT;
CREATE TABLE mirrored (
  stream INTEGER PRIMARY KEY REFERENCES streams (id),
  source INTEGER NOT NULL REFERENCES streams (id),
  position INTEGER NOT NULL
) STRICT;
CREATE TABLE mirrors (
  object INTEGER PRIMARY KEY REFERENCES objects (id),
  shown INTEGER REFERENCES versions (pos),
  store_version TEXT,
  epoch INTEGER REFERENCES epochs (id),
  refused INTEGER
) STRICT;
CREATE TABLE intents (
  object INTEGER NOT NULL REFERENCES objects (id),
  version INTEGER NOT NULL REFERENCES versions (pos),
  written TEXT,
  is_unknown INTEGER NOT NULL,
  PRIMARY KEY (object, version)
) STRICT;
CREATE TABLE dirty (object INTEGER PRIMARY KEY REFERENCES objects (id)) STRICT;
`;

// Of the pruning of graphs: what the sites said that they have, what was pruned, and what goes with it.
const retentionTables = `
CREATE TABLE announcements (
  origin INTEGER NOT NULL REFERENCES origins (id),
  gen INTEGER NOT NULL,
  vector TEXT NOT NULL,
  PRIMARY KEY (origin, gen)
) STRICT;
CREATE TABLE horizons (
  origin INTEGER PRIMARY KEY REFERENCES origins (id),
  stream INTEGER NOT NULL REFERENCES streams (id),
  generation INTEGER NOT NULL
) STRICT;
CREATE TABLE relics (version INTEGER PRIMARY KEY REFERENCES versions (pos), since INTEGER NOT NULL) STRICT;
CREATE TABLE snapshot_parts (
  stream INTEGER NOT NULL REFERENCES streams (id),
  part INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (stream, part)
) STRICT;
`;

// Of writes to a store whose answer was lost. Of those that are there when it is added nobody knows what they expected.
const lostWrites = `
ALTER TABLE intents ADD COLUMN expected TEXT;
ALTER TABLE intents ADD COLUMN bound TEXT;
ALTER TABLE intents ADD COLUMN epoch INTEGER REFERENCES epochs (id);
`;

/**
 * What brings a database from one schema version to the next: the first creates everything, later ones only add.
 * `PRAGMA user_version` counts them.
 */
export const schemaSteps: readonly string[] = [tables, graphTables, retentionTables, lostWrites];

// Bytes as text a tool can show: X'…' where a 0x00 or 0xff says that they are no text.
const shown = (column: string) =>
  `CASE WHEN instr(${column}, x'00') OR instr(${column}, x'ff') THEN quote(${column}) ELSE CAST(${column} AS TEXT) END`;
const time = (column: string) => `strftime('%Y-%m-%dT%H:%M:%fZ', ${column} / 1000.0, 'unixepoch')`;

/** For people with any SQLite tool. Made anew whenever the schema version changes. */
export const views = viewsOf({ shown, time });

export const viewStatements = viewStatementsOf(views);
