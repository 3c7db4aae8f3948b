import { realpathSync } from "node:fs";
import Database from "better-sqlite3";
import { StoreError } from "../store-error.ts";

/** `PRAGMA user_version` of files that this release writes. */
const schemaVersion = 2;

/** `PRAGMA application_id`: tells our files from everybody else's. */
const applicationId = 0x544d_5331;

/**
 * Version 1. `changes` is the log and the history: one row per changed key and transaction, ids in commit order. `keys` points at the
 * newest change of each key. A row of `transactions` maps a revision to the last id up to it; the rows from the floor on
 * are kept.
 */
const tables = `
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
`;

/**
 * Version 2. `size` is the bytes of key and value, 0 for a deleted key, and NULL for one that version 1 wrote last: the
 * migration of `../migrations.ts` counts those while the store is used. The sums over all that are counted are in `meta`.
 */
const sizes = `
  ALTER TABLE keys ADD COLUMN size INTEGER;
  INSERT INTO meta (name, value) VALUES ('live_keys', 0), ('live_bytes', 0),
    ('sizes_known', NOT EXISTS (SELECT 1 FROM keys));
`;

export interface NewStore {
  readonly storeId: string;
  readonly incarnation: string;
}

/**
 * Opens the file for writing and creates what is missing.
 *
 * @throws StoreError `FILE_UNUSABLE` for a folder that is missing or not writable and for a file of somebody else,
 * `SCHEMA_NEWER` for a file of a later release, `STORE_LOCKED` while another program has locked it for longer than 5 s.
 */
export function openForWriting(file: string, created: NewStore): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(file);
    checkIdentity(database, file);
    database.pragma("journal_mode = WAL");
    // Acknowledged means on disk: the log is synced with every commit.
    database.pragma("synchronous = FULL");
    database.pragma("journal_size_limit = 67108864");
    upgrade(database, created);
    return database;
  } catch (error) {
    database?.close();
    throw asOpenError(error, file);
  }
}

export function openForReading(file: string): Database.Database {
  try {
    const database = new Database(file, { fileMustExist: true });
    database.pragma("query_only = ON");
    return database;
  } catch (error) {
    throw asOpenError(error, file);
  }
}

/**
 * Makes this process the only one that has the store open, until the returned function is called or the process ends,
 * however it ends: the lock is SQLite's own on a file beside the store.
 *
 * @throws StoreError `STORE_LOCKED` while somebody else has it.
 */
export function lockStore(file: string): () => void {
  let lock: Database.Database | undefined;
  try {
    lock = new Database(`${placeOf(file)}.lock`, { timeout: 0 });
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    lock?.close();
    if (isBusy(error)) {
      throw new StoreError(
        "STORE_LOCKED",
        `${file} is open already, here or in another process. Close that one, or use its address instead of its file`,
        { cause: error, retryable: true },
      );
    }
    throw asOpenError(error, file);
  }
  const held = lock;
  return () => {
    held.close();
  };
}

/** Where the file is, whatever links lead there: SQLite follows them, too. */
function placeOf(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    // It is still to be made.
    return file;
  }
}

function checkIdentity(database: Database.Database, file: string): void {
  const id = database.pragma("application_id", { simple: true }) as number;
  const version = database.pragma("user_version", { simple: true }) as number;
  const tables = database.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() as number;
  if (tables === 0 && id === 0) return;
  if (id !== applicationId) {
    throw new StoreError(
      "FILE_UNUSABLE",
      `${file} is a SQLite database, but not one of a Tidemark store. Choose another file`,
    );
  }
  if (version > schemaVersion) {
    throw new StoreError(
      "SCHEMA_NEWER",
      `${file} has schema ${version}, this release knows up to ${schemaVersion}. Update @tidemark/watch-server`,
    );
  }
}

/** Creates what is missing. None of it depends on how much there is. */
function upgrade(database: Database.Database, created: NewStore): void {
  const steps = database.transaction(() => {
    const version = database.pragma("user_version", { simple: true }) as number;
    if (version >= schemaVersion) return;
    if (version < 1) create(database, created);
    if (version < 2) database.exec(sizes);
    database.pragma(`user_version = ${schemaVersion}`);
  });
  steps.immediate();
}

function create(database: Database.Database, created: NewStore): void {
  database.exec(tables);
  const set = database.prepare("INSERT INTO meta (name, value) VALUES (?, ?)");
  set.run("store_id", created.storeId);
  set.run("floor", 0);
  set.run("removed_change", 0);
  // Revision 0 is the empty store; its incarnation tells it from every other empty store.
  database.prepare("INSERT INTO incarnations (first_revision, name) VALUES (0, ?)").run(created.incarnation);
  database.prepare("INSERT INTO transactions (revision, committed_at_ms, last_change) VALUES (0, 0, 0)").run();
  database.pragma(`application_id = ${applicationId}`);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Database.SqliteError ? error.code : undefined;
}

function isBusy(error: unknown): boolean {
  return codeOf(error)?.startsWith("SQLITE_BUSY") === true;
}

function asOpenError(error: unknown, file: string): StoreError {
  if (StoreError.is(error)) return error;
  if (isBusy(error)) {
    return new StoreError(
      "STORE_LOCKED",
      `${file} is in use by another program, a SQLite tool perhaps. Try again once that is done`,
      { cause: error, retryable: true },
    );
  }
  const hint =
    codeOf(error) === "SQLITE_NOTADB"
      ? "it is no SQLite database"
      : "does its folder exist, and may this user write there?";
  return new StoreError("FILE_UNUSABLE", `cannot open ${file}: ${hint}`, { cause: error });
}
