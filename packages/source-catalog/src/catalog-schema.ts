/** What is in a state file, beside the books of the cycle. */
export const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS feeds (
    feed TEXT PRIMARY KEY, config TEXT NOT NULL, probe TEXT, etag TEXT, success_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS entries (
    feed TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, listing TEXT NOT NULL, since_ms INTEGER NOT NULL,
    -- What is shown: the listing as of the last hydration, and what that got. NULL: never hydrated.
    shown TEXT, detail TEXT, detail_version TEXT, status TEXT, digest TEXT,
    PRIMARY KEY (feed, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS entries_to_hydrate ON entries (feed) WHERE detail_version IS NOT version;
  CREATE TABLE IF NOT EXISTS published (
    tenant TEXT NOT NULL, feed TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL,
    digest TEXT, value TEXT, error TEXT, raw TEXT, seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, feed, id)
  ) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX IF NOT EXISTS published_by_seq ON published (seq);
`;
export const formatVersion = 1;
