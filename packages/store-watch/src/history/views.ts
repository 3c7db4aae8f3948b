/** Where the dialects differ. */
export interface ViewDialect {
  /** Bytes as text that a tool can show: in hex where they are no text. */
  readonly shown: (column: string) => string;
  /** Milliseconds since the Unix epoch as text. */
  readonly time: (column: string) => string;
}

const kind = (row: string) => `CASE WHEN ${row}.value IS NULL THEN 'delete' ELSE 'put' END`;
const via =
  "CASE v.via WHEN 1 THEN 'stream' WHEN 2 THEN 'snapshot' WHEN 3 THEN 'sweep' WHEN 4 THEN 'retry' WHEN 5 THEN 'peer' ELSE 'merge' END";

const versionJoins = `
  JOIN streams s ON s.id = o.stream
  JOIN batches b ON b.id = v.batch
  JOIN epochs e ON e.id = v.epoch`;

/** For people with any tool, by their names; the README describes them. The same columns on every database. */
export function viewsOf({ shown, time }: ViewDialect): Readonly<Record<string, string>> {
  const versionColumns = `
  s.name AS stream,
  ${shown("o.key")} AS key_text,
  ${shown("v.value")} AS value_text,
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
  return {
    current: `SELECT ${versionColumns}
      FROM objects o JOIN versions v ON v.pos = o.head ${versionJoins} WHERE NOT o.is_deleted`,
    deleted: `SELECT ${versionColumns}
      FROM objects o JOIN versions v ON v.pos = o.head ${versionJoins} WHERE o.is_deleted`,
    history: `SELECT ${versionColumns}
      FROM versions v JOIN objects o ON o.id = v.object ${versionJoins}`,
    changes: `SELECT v.pos AS position, ${time("b.committed_at")} AS committed_at, s.name AS stream,
        CASE WHEN v.value IS NULL THEN 'removed' WHEN p.value IS NOT NULL THEN 'changed'
          WHEN v.parent IS NULL OR p.pos IS NOT NULL THEN 'added' ELSE 'changed' END AS change,
        ${shown("o.key")} AS key_text, ${shown("p.value")} AS before_text, ${shown("v.value")} AS after_text,
        v.version AS version, b.cursor AS cursor, v.batch AS batch, o.key AS key, p.value AS before, v.value AS after
      FROM versions v JOIN objects o ON o.id = v.object ${versionJoins} LEFT JOIN versions p ON p.pos = v.parent`,
    gap_log: `SELECT g.id AS id, s.name AS stream, g.reason AS reason, g.detail AS detail, g.from_cursor AS from_cursor,
        g.to_cursor AS to_cursor, g.position AS position, e.identity AS epoch, ${time("g.at")} AS at
      FROM gaps g JOIN streams s ON s.id = g.stream LEFT JOIN epochs e ON e.id = g.epoch`,
    quarantine_log: `SELECT q.id AS id, s.name AS stream, q.state AS state, ${shown("q.key")} AS key_text,
        ${kind("q")} AS kind, q.version AS version, q.error AS error, q.resolution AS resolution,
        q.cursor AS cursor, e.identity AS epoch, ${time("q.at")} AS at, q.key AS key, q.value AS value
      FROM quarantine q JOIN streams s ON s.id = q.stream JOIN epochs e ON e.id = q.epoch`,
    stream_status: `SELECT s.name AS stream, s.kind AS kind, s.description AS description, e.identity AS epoch,
        s.cursor AS cursor, s.keys AS keys, s.versions AS versions, s.gaps AS gaps, s.quarantined AS quarantined,
        s.floor AS floor, ${time("s.last_commit_at")} AS last_commit_at
      FROM streams s LEFT JOIN epochs e ON e.id = s.epoch`,
  };
}

/** To be run whenever the schema version changes. */
export function viewStatementsOf(views: Readonly<Record<string, string>>): string {
  return Object.entries(views)
    .map(([name, query]) => `DROP VIEW IF EXISTS ${name};\nCREATE VIEW ${name} AS ${query};`)
    .join("\n");
}
