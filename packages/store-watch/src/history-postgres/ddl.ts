import { viewsOf, viewStatementsOf } from "../history/views.ts";

// Without foreign keys and unique keys of objects: there is one writer, fsck proves both, and an index over whole keys
// would refuse those above 2,700 bytes. Text that is compared has the collation "C", which is the order of its bytes.
const tables = `
CREATE TABLE origins (id bigint PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE streams (
  id bigint PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  kind text NOT NULL,
  description text NOT NULL,
  scope text NOT NULL,
  capabilities text NOT NULL,
  epoch bigint,
  cursor text COLLATE "C",
  keys bigint NOT NULL DEFAULT 0,
  versions bigint NOT NULL DEFAULT 0,
  gaps bigint NOT NULL DEFAULT 0,
  quarantined bigint NOT NULL DEFAULT 0,
  floor bigint NOT NULL DEFAULT 0,
  last_commit_at bigint
);
CREATE TABLE epochs (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  identity text NOT NULL,
  began_at bigint NOT NULL,
  reason text NOT NULL
);
CREATE INDEX epochs_by_stream ON epochs (stream);
CREATE TABLE objects (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  key bytea NOT NULL,
  head bigint NOT NULL,
  is_deleted boolean NOT NULL,
  seen text COLLATE "C"
) WITH (fillfactor = 85);
CREATE INDEX objects_by_key ON objects (stream, substr(key, 1, 1000));
CREATE TABLE versions (
  pos bigint PRIMARY KEY,
  object bigint NOT NULL,
  batch bigint NOT NULL,
  origin bigint NOT NULL DEFAULT 1,
  gen bigint NOT NULL,
  epoch bigint NOT NULL,
  parent bigint,
  level bigint NOT NULL,
  via smallint NOT NULL,
  version text COLLATE "C" NOT NULL,
  attributes text,
  source_time bigint,
  value bytea
);
CREATE INDEX versions_by_object ON versions (object, pos);
CREATE TABLE batches (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  epoch bigint NOT NULL,
  cursor text COLLATE "C" NOT NULL,
  first_pos bigint NOT NULL,
  count bigint NOT NULL,
  committed_at bigint NOT NULL,
  source_time bigint,
  kind smallint NOT NULL
);
CREATE TABLE commits (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  epoch bigint NOT NULL,
  cursor text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  batch bigint NOT NULL,
  committed_at bigint NOT NULL
);
CREATE INDEX commits_by_time ON commits (committed_at, id);
CREATE INDEX commits_by_cursor ON commits (stream, epoch, cursor, id);
CREATE INDEX commits_by_position ON commits (position);
CREATE TABLE gaps (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  epoch bigint,
  reason text NOT NULL,
  detail text NOT NULL,
  from_cursor text,
  to_cursor text,
  position bigint NOT NULL,
  at bigint NOT NULL
);
CREATE INDEX gaps_by_stream ON gaps (stream);
CREATE TABLE quarantine (
  id bigint PRIMARY KEY,
  stream bigint NOT NULL,
  key bytea NOT NULL,
  value bytea,
  version text COLLATE "C",
  attributes text,
  source_time bigint,
  epoch bigint NOT NULL,
  cursor text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  error text NOT NULL,
  at bigint NOT NULL,
  state text NOT NULL DEFAULT 'open',
  resolution text
);
CREATE INDEX quarantine_by_key ON quarantine (stream, substr(key, 1, 1000));
CREATE TABLE consumers (name text PRIMARY KEY, position bigint NOT NULL, updated_at bigint NOT NULL);
CREATE TABLE stage (
  stream bigint NOT NULL,
  part bigint NOT NULL,
  frames bigint NOT NULL,
  words bytea NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (stream, part)
);
CREATE TABLE writer (
  id smallint PRIMARY KEY CHECK (id = 1),
  fence bigint NOT NULL,
  tx bigint NOT NULL,
  session text NOT NULL,
  owner text NOT NULL,
  expires_at timestamptz NOT NULL
);
INSERT INTO writer VALUES (1, 0, 0, '', '', '-infinity');
CREATE FUNCTION shown(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
BEGIN
  RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN others THEN
  RETURN 'X''' || upper(encode(bytes, 'hex')) || '''';
END $body$;
`;

// Of graphs. `id` counts batches in the order in which they came.
const graphTables = `
CREATE INDEX versions_by_generation ON versions (origin, gen) WHERE origin <> 1;
CREATE TABLE edges (child bigint NOT NULL, parent bigint NOT NULL, PRIMARY KEY (child, parent));
CREATE INDEX edges_by_parent ON edges (parent);
CREATE TABLE conflicts (object bigint NOT NULL, head bigint NOT NULL, PRIMARY KEY (object, head));
CREATE TABLE links (
  origin bigint NOT NULL,
  gen bigint NOT NULL,
  object bigint NOT NULL,
  child bigint NOT NULL,
  parent bigint NOT NULL,
  PRIMARY KEY (origin, gen)
);
CREATE INDEX links_by_parent ON links (parent);
CREATE TABLE generations (
  id bigint PRIMARY KEY,
  origin bigint NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  stream bigint NOT NULL,
  batch bigint,
  stamp_ms bigint NOT NULL,
  stamp_counter bigint NOT NULL
);
CREATE INDEX generations_by_origin ON generations (origin, first);
CREATE INDEX generations_by_stamp ON generations (stream, stamp_ms, stamp_counter);
CREATE TABLE inbox (
  stream bigint NOT NULL,
  origin text NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  data bytea NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (stream, origin, first)
);
CREATE TABLE mirrored (stream bigint PRIMARY KEY, source bigint NOT NULL, position bigint NOT NULL);
CREATE TABLE mirrors (
  object bigint PRIMARY KEY,
  shown bigint,
  store_version text COLLATE "C",
  epoch bigint,
  refused bigint
);
CREATE TABLE intents (
  object bigint NOT NULL,
  version bigint NOT NULL,
  written text COLLATE "C",
  is_unknown boolean NOT NULL,
  PRIMARY KEY (object, version)
);
CREATE TABLE dirty (object bigint PRIMARY KEY);
CREATE TABLE announcements (origin bigint NOT NULL, gen bigint NOT NULL, vector text NOT NULL, PRIMARY KEY (origin, gen));
CREATE TABLE horizons (origin bigint PRIMARY KEY, stream bigint NOT NULL, generation bigint NOT NULL);
CREATE TABLE relics (version bigint PRIMARY KEY, since bigint NOT NULL);
CREATE TABLE snapshot_parts (stream bigint NOT NULL, part bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (stream, part));
`;

// As on SQLite.
const lostWrites = `
ALTER TABLE intents ADD COLUMN expected text COLLATE "C", ADD COLUMN bound text COLLATE "C", ADD COLUMN epoch bigint;
`;

/** What brings a schema from one version to the next: the first creates everything, later ones only add. */
export const schemaSteps: readonly string[] = [tables, graphTables, lostWrites];

const time = (column: string) =>
  `to_char(to_timestamp(${column} / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** For people with any PostgreSQL tool. Functions are found when a view is made, so it works whatever the search path is. */
export const views = viewsOf({ shown: (column) => `shown(${column})`, time });

export const viewStatements = viewStatementsOf(views);
