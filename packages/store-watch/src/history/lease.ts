import { hostname } from "node:os";
import { systemClock } from "@tidemark/clock";
import Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";
import { sqliteCode } from "./sqlite-errors.ts";

/**
 * The right to write a history. It is a lock that SQLite holds on a small file beside the database, so it ends with its
 * process, however that ends, and nothing has to be cleaned up. Readers of the database do not see it.
 */
export interface Lease {
  release(): void;
}

/** @throws {StoreWatchError} `DATABASE_LOCKED` naming the process that has it. */
export function takeLease(file: string): Lease {
  const db = new Database(`${file}-lock`, { timeout: 0 });
  try {
    db.pragma("journal_mode = DELETE");
    db.exec("BEGIN IMMEDIATE");
    db.exec("CREATE TABLE IF NOT EXISTS owner (pid INTEGER, host TEXT, since TEXT)");
    db.exec("DELETE FROM owner");
    db.prepare("INSERT INTO owner VALUES (?, ?, ?)").run(
      process.pid,
      hostname(),
      new Date(systemClock.now()).toISOString(),
    );
    db.exec("COMMIT");
    // Reserved, not exclusive: others can still read who owns it.
    db.exec("BEGIN IMMEDIATE");
  } catch (error) {
    const owner = ownerOf(db);
    db.close();
    if (sqliteCode(error)?.startsWith("SQLITE_BUSY") !== true) throw error;
    throw new StoreWatchError(
      "DATABASE_LOCKED",
      `${file} is written by ${owner} already; stop that one, or give this one a file of its own`,
      { retryable: true },
    );
  }
  return { release: () => db.close() };
}

function ownerOf(db: Database.Database): string {
  try {
    const row = db.prepare("SELECT pid, host, since FROM owner").get() as
      | { pid: number; host: string; since: string }
      | undefined;
    if (row !== undefined) return `process ${row.pid} on ${row.host} (since ${row.since})`;
  } catch {
    // The other one is just writing it.
  }
  return "another process";
}
