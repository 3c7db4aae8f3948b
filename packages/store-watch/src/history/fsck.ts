import { systemClock } from "@tidemark/clock";
import type Database from "better-sqlite3";
import type { FsckFinding, FsckReport } from "../history-types.ts";
import { type Check, checksOf } from "./fsck-checks.ts";

/** Findings shown per check; a broken database breaks a rule many times. */
const maxPerCheck = 20;

const checks: readonly Check[] = [
  ...checksOf({
    isDeleted: "(o.is_deleted = 1)",
    isResumable: "json_extract(s.capabilities, '$.resumable')",
    hex: (column) => `quote(${column})`,
  }),
  {
    invariant: "SQLITE",
    query: `SELECT 'row ' || coalesce(rowid, '?') || ' of ' || "table" || ' points at a missing row of ' || parent FROM pragma_foreign_key_check`,
  },
];

/** Proves V1 to V9 over a whole database, on one snapshot of it, with what SQLite says about itself. */
export function checkDatabase(db: Database.Database): FsckReport {
  const startedMs = systemClock.monotonic();
  const findings: FsckFinding[] = [];
  // A damaged file fails in the middle of any query: that is a finding too.
  const attempt = <T>(otherwise: T, query: () => T): T => {
    try {
      return query();
    } catch (error) {
      findings.push({ invariant: "SQLITE", message: error instanceof Error ? error.message : String(error) });
      return otherwise;
    }
  };
  const count = (query: string) => attempt(0, () => db.prepare<[], number>(query).pluck().get() as number);
  db.exec("BEGIN");
  try {
    const integrity = attempt([], () => db.pragma("integrity_check(20)") as { readonly integrity_check: string }[]);
    for (const { integrity_check: message } of integrity) {
      if (message !== "ok") findings.push({ invariant: "SQLITE", message });
    }
    for (const { invariant, query } of checks) {
      const messages = attempt([], () => db.prepare<[], string | null>(`${query} LIMIT ${maxPerCheck}`).pluck().all());
      // Null: the row is so broken that it cannot be named.
      for (const message of messages) findings.push({ invariant, message: message ?? "a row is broken" });
    }
    const versions = count("SELECT count(*) FROM versions NOT INDEXED");
    const keys = count("SELECT count(*) FROM objects WHERE is_deleted = 0");
    return {
      isClean: findings.length === 0,
      findings,
      versions,
      keys,
      durationMs: systemClock.monotonic() - startedMs,
    };
  } finally {
    attempt(undefined, () => db.exec("ROLLBACK"));
  }
}
