import { join } from "node:path";
import { sqliteState, type SqliteTransaction, type StateStore } from "@tidemark/reconcile";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { DaemonError } from "../../daemon-error.ts";
import type { RecordedAudit } from "./upkeep-types.ts";

const schema = `
  CREATE TABLE IF NOT EXISTS audits (
    stream TEXT PRIMARY KEY,
    -- When the last audit that came to a result ended, or when the stream was first seen.
    settled_ms INTEGER NOT NULL,
    report TEXT
  ) STRICT;
`;

/** What upkeep has to know after a restart. Losing the file costs one audit of each stream a little earlier or later. */
export class UpkeepBooks {
  readonly store: StateStore<SqliteTransaction>;
  readonly #client: Database.Database;

  /** @throws {DaemonError} `DATA_DIR` */
  constructor(folder: string) {
    const file = join(folder, "upkeep.db");
    try {
      this.#client = new Database(file);
      this.#client.pragma("journal_mode = WAL");
      this.#client.pragma("synchronous = NORMAL");
      this.#client.exec(schema);
    } catch (error) {
      throw new DaemonError("DATA_DIR", `${file} cannot be used: ${(error as Error).message}.`, {
        cause: error,
        fix: "Check the file and its rights; it can be removed without losing anything but the dates of audits.",
      });
    }
    this.store = sqliteState(drizzle({ client: this.#client }));
  }

  /** When the stream was last known to be right; a stream that is new here is so now. */
  settledMs(stream: string, nowMs: number): number {
    this.#client.prepare("INSERT OR IGNORE INTO audits VALUES (?, ?, NULL)").run(stream, nowMs);
    return (
      this.#client.prepare<[string], number>("SELECT settled_ms FROM audits WHERE stream = ?").pluck().get(stream) ??
      nowMs
    );
  }

  record(report: RecordedAudit, isSettled: boolean): void {
    const { stream, atMs } = report;
    this.settledMs(stream, atMs);
    const text = JSON.stringify(report, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
    );
    this.#client.prepare("UPDATE audits SET report = ? WHERE stream = ?").run(text, stream);
    if (isSettled) this.#client.prepare("UPDATE audits SET settled_ms = ? WHERE stream = ?").run(atMs, stream);
  }

  reports(): readonly RecordedAudit[] {
    const rows = this.#client
      .prepare<[], string>("SELECT report FROM audits WHERE report IS NOT NULL ORDER BY stream")
      .pluck()
      .all();
    return rows.map((row) => {
      const report = JSON.parse(row) as Omit<RecordedAudit, "differences"> & {
        readonly differences: readonly { readonly key: string; readonly kind: "missing" | "extra" | "changed" }[];
      };
      const differences = report.differences.map(({ key, kind }) => ({ key: Buffer.from(key, "base64"), kind }));
      return { ...report, differences };
    });
  }

  close(): void {
    this.#client.close();
  }
}
