import Database from "better-sqlite3";
import { storeFile } from "./support.ts";

/** What the release with version 1 of the schema made. */
const version1 = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE incarnations (first_revision INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
  CREATE TABLE transactions (
    revision INTEGER PRIMARY KEY,
    committed_at_ms INTEGER NOT NULL,
    last_change INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB
  ) STRICT;
  CREATE INDEX changes_by_key ON changes (key);
  CREATE TABLE keys (key BLOB PRIMARY KEY, head INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO meta VALUES ('store_id', 'made-by-version-1'), ('floor', 0), ('removed_change', 0);
  INSERT INTO incarnations VALUES (0, 'first');
  INSERT INTO transactions VALUES (0, 0, 0);
  PRAGMA application_id = 0x544d5331;
  PRAGMA user_version = 1;
`;

/** A file of version 1 with so many keys, `k0` and so on, each put in a transaction of its own; every tenth is deleted again. */
export function earlierRelease(count: number, file: string = storeFile()): string {
  const db = new Database(file);
  try {
    db.pragma("journal_mode = WAL");
    db.exec(version1);
    db.exec(`
      WITH RECURSIVE n (i) AS (SELECT 0 WHERE ${count} > 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ${count})
      INSERT INTO changes SELECT i + 1, i + 1, i + 1, 1, CAST('k' || i AS BLOB), CAST('value ' || i AS BLOB) FROM n;
      INSERT INTO changes SELECT ${count} + row_number() OVER (ORDER BY id), ${count} + row_number() OVER (ORDER BY id), 0, 0, key, NULL
        FROM changes WHERE id % 10 = 0;
      INSERT INTO transactions SELECT revision, 1700000000000 + revision, id FROM changes;
      INSERT INTO keys SELECT key, max(id) FROM changes GROUP BY key;
    `);
  } finally {
    db.close();
  }
  return file;
}
