import { StoreWatchError } from "../errors.ts";
import type { PostgresHistoryOptions } from "../history-types.ts";

const postgresDefaults = { schema: "tidemark", leaseMs: 10_000, readers: 4, synchronous: "normal" } as const;

const maxReaders = 16;
const minLeaseMs = 1000;
const maxLeaseMs = 600_000;

const invalid = (message: string) => new StoreWatchError("OPTIONS_INVALID", message);

export interface ResolvedPostgresOptions {
  readonly url: string;
  readonly schema: string;
  readonly leaseMs: number;
  readonly waitMs: number;
  readonly readers: number;
  readonly isDurable: boolean;
  /** The database for people, without user and password. */
  readonly where: string;
}

/** @throws {StoreWatchError} `OPTIONS_INVALID`; a URL is never repeated, because it may have a password. */
export function resolvePostgresOptions(options: PostgresHistoryOptions): ResolvedPostgresOptions {
  const { database } = options;
  const schema = options.schema ?? postgresDefaults.schema;
  const leaseMs = options.leaseMs ?? postgresDefaults.leaseMs;
  const waitMs = options.waitMs ?? 0;
  const readers = options.readers ?? postgresDefaults.readers;
  const synchronous = options.synchronous ?? postgresDefaults.synchronous;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema) || schema.startsWith("pg_")) {
    throw invalid(
      `schema must be a name of a-z, 0-9 and _ that does not begin with pg_, got ${JSON.stringify(schema)}`,
    );
  }
  if (!Number.isInteger(leaseMs) || leaseMs < minLeaseMs || leaseMs > maxLeaseMs) {
    throw invalid(`leaseMs must be a whole number in [${minLeaseMs}, ${maxLeaseMs}], got ${leaseMs}`);
  }
  if (!Number.isFinite(waitMs) || waitMs < 0) throw invalid(`waitMs must be a number of at least 0, got ${waitMs}`);
  if (!Number.isInteger(readers) || readers < 1 || readers > maxReaders) {
    throw invalid(`readers must be a whole number in [1, ${maxReaders}], got ${readers}`);
  }
  if (synchronous !== "normal" && synchronous !== "full") {
    throw invalid(`synchronous must be "normal" or "full", got ${JSON.stringify(synchronous)}`);
  }
  const parsed = typeof database === "string" && URL.canParse(database) ? new URL(database) : undefined;
  if (parsed === undefined || !/^postgres(ql)?:$/.test(parsed.protocol)) {
    throw invalid("database must be a URL that begins with postgres:// or postgresql://, got something else");
  }
  const host = parsed.searchParams.get("host") ?? parsed.host;
  const where = `the history in schema ${schema} of PostgreSQL ${host}${parsed.pathname}`;
  return { url: database, schema, leaseMs, waitMs, readers, isDurable: synchronous === "full", where };
}
