import { DaemonError } from "../daemon-error.ts";
import { rememberSecret } from "../redact.ts";
import type { HistoryConfig } from "./config.ts";
import { configDefaults } from "./defaults.ts";
import { type Environment, readSecret } from "./secrets.ts";

/** A database that has the history, in place of a file in the data folder. */
export interface DatabaseSettings {
  /** With user and password. */
  readonly url: string;
  readonly schema: string;
  readonly leaseMs: number;
  /** Host and database, without user, password and parameters. */
  readonly place: string;
  /** What may be printed: that, and the schema. */
  readonly shown: string;
}

/** PostgreSQL cuts longer names. */
const maxSchemaLength = 63;

/** @throws {DaemonError} `CONFIG_INVALID`, without a word of the URL: one that is mistyped may still have the password. */
export function databaseOf(config: HistoryConfig | undefined, env: Environment): DatabaseSettings | undefined {
  const { database, schema = configDefaults.schema, leaseMs = configDefaults.leaseMs } = config ?? {};
  if (database === undefined) {
    if (config?.schema === undefined && config?.leaseMs === undefined) return undefined;
    throw new DaemonError("CONFIG_INVALID", "`history.schema` and `history.leaseMs` are for a database.", {
      fix: 'Add `history.database: { env: "NAME" }` with a URL such as postgres://user:password@host/name, or leave them out.',
    });
  }
  const text = readSecret(database, "history.database", env).trim();
  rememberSecret(/:([^:@/]*)@/.exec(text.replace(/^\w+:/, ""))?.[1]);
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "postgres:" && url.protocol !== "postgresql:")) {
    throw new DaemonError("CONFIG_INVALID", "`history.database` is not a URL of PostgreSQL.", {
      fix: "Write it as postgres://user:password@host:5432/name, with special characters in the password percent-encoded; a socket's folder is ?host=/folder behind it.",
    });
  }
  rememberSecret(decode(url.password));
  rememberSecret(url.searchParams.get("password") ?? undefined);
  const host = url.searchParams.get("host") ?? (url.host || "localhost");
  return inSchema({ url: text, leaseMs, place: `postgres://${host}${url.pathname}` }, schema);
}

/**
 * Where the other side of a mirror is kept: in the same database, so that both sides go over to a daemon that stands by.
 *
 * @throws {DaemonError} `CONFIG_INVALID` when its schema would have no valid name.
 */
export function mirrorDatabaseOf(database: DatabaseSettings, mirror: string): DatabaseSettings {
  const schema = `${database.schema}_mirror_${mirror.replaceAll(/[.-]/g, "_")}`;
  if (schema.length > maxSchemaLength) {
    throw new DaemonError(
      "CONFIG_INVALID",
      `The other side of the mirror ${JSON.stringify(mirror)} would be in schema ${schema}, which is longer than ${maxSchemaLength}.`,
      { fix: "Give the mirror a shorter `name`, or the history a shorter `history.schema`." },
    );
  }
  return inSchema(database, schema);
}

function inSchema(database: Omit<DatabaseSettings, "schema" | "shown">, schema: string): DatabaseSettings {
  const { url, leaseMs, place } = database;
  return { url, leaseMs, place, schema, shown: `${place}, schema ${schema}` };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
