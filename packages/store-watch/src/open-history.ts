import type { Clock, Rng } from "@tidemark/clock";
import { openHistory as openSqliteHistory } from "./history/history.ts";
import type { History, HistoryOptions, PostgresHistoryOptions } from "./history-types.ts";

/**
 * Opens the history in a SQLite file, or in a PostgreSQL database where `database` names one, and creates or upgrades it
 * first. It is the only one that writes there until it is closed; any number of other programs may read.
 *
 * @throws {StoreWatchError} `OPTIONS_INVALID`, `DATABASE_UNREADABLE`, `DATABASE_LOCKED`, `SCHEMA_NEWER`
 */
export async function openHistory(
  options: (HistoryOptions | PostgresHistoryOptions) & { readonly clock?: Clock; readonly rng?: Rng },
): Promise<History> {
  if (!("database" in options)) return openSqliteHistory(options);
  // Only then: the driver and drizzle are large. The driver first, because drizzle needs it, and whoever has none is told.
  const { loadDriver } = await import("./history-postgres/driver.ts");
  const driver = await loadDriver();
  const { openPostgresHistory } = await import("./history-postgres/history.ts");
  return openPostgresHistory({ ...options, driver });
}
