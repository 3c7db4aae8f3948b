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

/** What brings a schema from one version to the next: the first creates everything, later ones only add. */
export const schemaSteps: readonly string[] = [tables];

const time = (column: string) =>
  `to_char(to_timestamp(${column} / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
const kind = (row: string) => `CASE WHEN ${row}.value IS NULL THEN 'delete' ELSE 'put' END`;
const via =
  "CASE v.via WHEN 1 THEN 'stream' WHEN 2 THEN 'snapshot' WHEN 3 THEN 'sweep' WHEN 4 THEN 'retry' WHEN 5 THEN 'peer' ELSE 'merge' END";

// Functions are found by name when a view is made, so the views work whatever the reader's search path is.
const versionColumns = `
  s.name AS stream,
  shown(o.key) AS key_text,
  shown(v.value) AS value_text,
  v.version AS version,
  v.pos AS position,
  ${time("b.committed_at")} AS committed_at,
  ${time("v.source_time")} AS source_time,
  ${kind("v")} AS kind,
  ${via} AS via,
  v.parent AS parent,
  v.level AS level,
  v.batch AS batch,
  b.cursor AS cursor,
  e.identity AS epoch,
  v.attributes AS attributes,
  o.key AS key,
  v.value AS value,
  b.committed_at AS committed_at_ms,
  v.source_time AS source_time_ms`;

const versionJoins = `
  JOIN streams s ON s.id = o.stream
  JOIN batches b ON b.id = v.batch
  JOIN epochs e ON e.id = v.epoch`;

/** For people with any PostgreSQL tool; the same names and columns as on SQLite. */
export const views: Readonly<Record<string, string>> = {
  current: `SELECT ${versionColumns}
    FROM objects o JOIN versions v ON v.pos = o.head ${versionJoins} WHERE NOT o.is_deleted`,
  deleted: `SELECT ${versionColumns}
    FROM objects o JOIN versions v ON v.pos = o.head ${versionJoins} WHERE o.is_deleted`,
  history: `SELECT ${versionColumns}
    FROM versions v JOIN objects o ON o.id = v.object ${versionJoins}`,
  changes: `SELECT v.pos AS position, ${time("b.committed_at")} AS committed_at, s.name AS stream,
      CASE WHEN v.value IS NULL THEN 'removed' WHEN p.value IS NOT NULL THEN 'changed'
        WHEN v.parent IS NULL OR p.pos IS NOT NULL THEN 'added' ELSE 'changed' END AS change,
      shown(o.key) AS key_text, shown(p.value) AS before_text, shown(v.value) AS after_text,
      v.version AS version, b.cursor AS cursor, v.batch AS batch, o.key AS key, p.value AS before, v.value AS after
    FROM versions v JOIN objects o ON o.id = v.object ${versionJoins} LEFT JOIN versions p ON p.pos = v.parent`,
  gap_log: `SELECT g.id AS id, s.name AS stream, g.reason AS reason, g.detail AS detail, g.from_cursor AS from_cursor,
      g.to_cursor AS to_cursor, g.position AS position, e.identity AS epoch, ${time("g.at")} AS at
    FROM gaps g JOIN streams s ON s.id = g.stream LEFT JOIN epochs e ON e.id = g.epoch`,
  quarantine_log: `SELECT q.id AS id, s.name AS stream, q.state AS state, shown(q.key) AS key_text,
      ${kind("q")} AS kind, q.version AS version, q.error AS error, q.resolution AS resolution,
      q.cursor AS cursor, e.identity AS epoch, ${time("q.at")} AS at, q.key AS key, q.value AS value
    FROM quarantine q JOIN streams s ON s.id = q.stream JOIN epochs e ON e.id = q.epoch`,
  stream_status: `SELECT s.name AS stream, s.kind AS kind, s.description AS description, e.identity AS epoch,
      s.cursor AS cursor, s.keys AS keys, s.versions AS versions, s.gaps AS gaps, s.quarantined AS quarantined,
      s.floor AS floor, ${time("s.last_commit_at")} AS last_commit_at
    FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`,
};

export const viewStatements: string = Object.entries(views)
  .map(([name, query]) => `DROP VIEW IF EXISTS ${name};\nCREATE VIEW ${name} AS ${query};`)
  .join("\n");
