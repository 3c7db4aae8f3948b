import { statSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
import { applicationId, schemaSteps, viewStatements } from "./ddl.ts";
import { sqliteCode } from "./sqlite-errors.ts";

/** KiB that a connection's page cache may take. */
const writerCacheKib = 8 * 1024;
const readerCacheKib = 4 * 1024;
/** Pages in the WAL after which a commit copies it back itself. The writer does so earlier, between two commits. */
const checkpointPages = 16_384;

const pragmaNumber = (db: Database.Database, name: string) => db.pragma(name, { simple: true }) as number;

/**
 * Opens the database for its writer and creates or upgrades it.
 *
 * @throws {StoreWatchError} `DATABASE_UNREADABLE`, `SCHEMA_NEWER`
 */
export function openWriterDatabase(
  file: string,
  synchronous: "normal" | "full",
  steps: readonly string[] = schemaSteps,
): Database.Database {
  const db = openFile(file, {});
  try {
    // First: a file that is no database shows itself here.
    const application = pragmaNumber(db, "application_id");
    checkIdentity(db, file, application);
    db.pragma("journal_mode = WAL");
    db.pragma(`synchronous = ${synchronous === "full" ? "FULL" : "NORMAL"}`);
    db.pragma(`cache_size = -${writerCacheKib}`);
    db.pragma(`wal_autocheckpoint = ${checkpointPages}`);
    db.pragma(`journal_size_limit = ${64 * 1024 * 1024}`);
    db.pragma("busy_timeout = 5000");
    // The writer makes no dangling reference and fsck checks all of them; enforcing them costs a lookup per row.
    db.pragma("foreign_keys = OFF");
    upgradeSchema(db, file, steps);
    return db;
  } catch (error) {
    db.close();
    throw openError(file, error);
  }
}

/** Opens the database for reading only. @throws {StoreWatchError} `DATABASE_UNREADABLE` */
export function openReaderDatabase(file: string): Database.Database {
  const db = openFile(file, { readonly: true, fileMustExist: true });
  db.pragma(`cache_size = -${readerCacheKib}`);
  db.pragma("busy_timeout = 5000");
  db.pragma("query_only = ON");
  return db;
}

/** Applies the steps that the database does not have yet, all or none. @throws {StoreWatchError} `SCHEMA_NEWER` */
function upgradeSchema(db: Database.Database, file: string, steps: readonly string[]): void {
  const version = checkVersion(db, file, steps);
  if (version === steps.length) return;
  db.transaction(() => {
    for (const step of steps.slice(version)) db.exec(step);
    db.exec(viewStatements);
    db.pragma(`application_id = ${applicationId}`);
    db.pragma(`user_version = ${steps.length}`);
  }).exclusive();
}

/**
 * Looks at a file without changing anything, so that what is wrong with it is said before the lease makes a file beside.
 *
 * @throws {StoreWatchError} `DATABASE_UNREADABLE`, `SCHEMA_NEWER`
 */
export function checkFile(file: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  const folder = statSync(dirname(file), { throwIfNoEntry: false });
  if (folder?.isDirectory() !== true || found?.isDirectory() === true) throw openError(file, new Error("no file"));
  if (found === undefined || found.size === 0) return;
  const db = openFile(file, { readonly: true });
  try {
    checkIdentity(db, file, pragmaNumber(db, "application_id"));
    checkVersion(db, file, schemaSteps);
  } catch (error) {
    throw openError(file, error);
  } finally {
    db.close();
  }
}

function checkVersion(db: Database.Database, file: string, steps: readonly string[]): number {
  const version = pragmaNumber(db, "user_version");
  if (version <= steps.length) return version;
  throw new StoreWatchError(
    "SCHEMA_NEWER",
    `${file} has schema version ${version}, this Tidemark knows up to ${steps.length}; ` +
      "start the newer Tidemark that wrote it, or restore the backup from before",
  );
}

function openFile(file: string, options: Database.Options): Database.Database {
  try {
    return new Database(file, options);
  } catch (error) {
    throw openError(file, error);
  }
}

function checkIdentity(db: Database.Database, file: string, application: number): void {
  if (application === applicationId) return;
  const tables = db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() as number;
  if (tables === 0) return;
  throw new StoreWatchError(
    "DATABASE_UNREADABLE",
    `${file} is a SQLite database of another program; give the history a file of its own`,
  );
}

/** The error of a database that could not be opened, with what to do about it. */
export function openError(file: string, error: unknown): StoreWatchError {
  if (StoreWatchError.is(error)) return error;
  const code = sqliteCode(error);
  const because = error instanceof Error ? error.message : String(error);
  const unreadable = (message: string) => new StoreWatchError("DATABASE_UNREADABLE", message, { cause: error });
  if (code === "SQLITE_NOTADB")
    return unreadable(`${file} is not a SQLite database; move it away or name another file`);
  const folder = dirname(file);
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isFolder) return unreadable(`the folder ${folder} of the history's file does not exist; create it first`);
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory() === true) {
    return unreadable(`${file} is a folder; name a file for the history`);
  }
  if (code?.startsWith("SQLITE_CORRUPT") === true) {
    return unreadable(`${file} is damaged (${because}); restore a backup`);
  }
  return unreadable(`${file} cannot be opened for writing (${because}); check its permissions and those of its folder`);
}
