import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock } from "@tidemark/clock";
import type { MigrationStatus } from "@tidemark/migrate";
import { createTopicClient } from "@tidemark/topic";
import type { Client } from "pg";
import { type OpenedDatabase, openDatabaseAt, parseDatabaseUrl } from "../../cli/migrate/database-url.ts";
import type { DatabaseSettings } from "../../config/database-settings.ts";
import type { MigrationDatabaseSettings } from "../../config/migrations-settings.ts";
import type { SiteSettings } from "../../config/site-settings.ts";
import { DaemonError } from "../../daemon-error.ts";
import { remotePeer } from "../sites/peers.ts";
import type { Check, CheckOptions } from "./check.ts";

interface Answer {
  readonly version: string;
  readonly has_schema: boolean;
  /** Whether tables can be made in it; null without a schema. */
  readonly may_use: boolean | null;
  readonly may_create: boolean;
}

/** Connects as the daemon would, and looks whether it could keep a history there. */
export async function checkDatabase(settings: DatabaseSettings, { timeoutMs }: CheckOptions): Promise<string> {
  const { url, schema, shown } = settings;
  const { Client } = (await import("pg")).default;
  const client = new Client({ connectionString: url, connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs });
  // A connection that breaks later says so here, too; the query tells.
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<Answer>(
      `SELECT current_setting('server_version') AS version,
        EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS has_schema,
        (SELECT has_schema_privilege(oid, 'USAGE, CREATE') FROM pg_namespace WHERE nspname = $1) AS may_use,
        has_database_privilege(current_database(), 'CREATE') AS may_create`,
      [schema],
    );
    const [answer] = rows;
    if (answer === undefined || (!answer.has_schema && !answer.may_create)) {
      throw new DaemonError("DATABASE", `${shown}: this user may not create the schema.`, {
        fix: `Let the owner of the database run CREATE SCHEMA ${schema} AUTHORIZATION the-user.`,
      });
    }
    if (answer.may_use === false) {
      throw new DaemonError("DATABASE", `${shown}: this user may not use the schema.`, {
        fix: `Let its owner run GRANT USAGE, CREATE ON SCHEMA ${schema} TO the-user, or set \`history.schema\`.`,
      });
    }
    const state = answer.has_schema ? await writerOf(client, schema) : ", the schema will be made";
    return `${shown}: PostgreSQL ${answer.version}${state}`;
  } catch (error) {
    if (DaemonError.is(error)) throw error;
    const { message, code } = error as { readonly message?: string; readonly code?: string };
    throw new DaemonError("DATABASE", `${shown} does not answer: ${message || code || "no reason given"}.`, {
      cause: error,
      fix: "Check `history.database`: host, port, user and password, and whether the server lets this machine in.",
    });
  } finally {
    await client.end().catch(() => {});
  }
}

/** Who has the right to write a history now. */
async function writerOf(client: Client, schema: string): Promise<string> {
  const known = await client.query<{ readonly is_there: boolean }>("SELECT to_regclass($1) IS NOT NULL AS is_there", [
    `${schema}.writer`,
  ]);
  if (known.rows[0]?.is_there !== true) return "";
  const { rows } = await client.query<{ readonly owner: string }>(
    `SELECT owner FROM ${schema}.writer WHERE expires_at > clock_timestamp()`,
  );
  return rows[0] === undefined ? "" : `, written by ${rows[0].owner} now`;
}

/** Whether the topics of a group are there. */
export async function checkTopics(site: SiteSettings, { timeoutMs, signal }: CheckOptions): Promise<string> {
  const client = createTopicClient(site.topics, {
    callTimeoutMs: timeoutMs,
    ...(site.token !== undefined && { credentials: { token: site.token } }),
  });
  try {
    const { partitions } = await client.describeTopic(site.topic, { signal });
    return `the topic ${site.topic} has ${partitions.length === 1 ? "one partition" : `${partitions.length} partitions`}`;
  } catch (error) {
    if ((error as { readonly status?: unknown }).status === "SCHEME_ERROR")
      return `the topic ${site.topic} will be made`;
    throw new DaemonError(
      "UNREACHABLE",
      `The topics of group ${site.group} do not answer: ${(error as Error).message}`,
      {
        cause: error,
        fix: "Check `topics` and `token` of the site, and whether the service runs.",
      },
    );
  } finally {
    await client.close();
  }
}

/** Whether another daemon of the group would answer what a site asks it. */
export async function checkPeer(url: string, site: SiteSettings, { timeoutMs, signal }: CheckOptions): Promise<string> {
  try {
    const late = AbortSignal.timeout(timeoutMs);
    await remotePeer(url, site.group, site.peersToken).missing({}, AbortSignal.any([signal, late]));
    return `${url} has the group ${site.group}`;
  } catch (error) {
    signal.throwIfAborted();
    const { code, rawMessage } = ConnectError.from(error);
    const isRefused = code === Code.Unauthenticated || code === Code.PermissionDenied;
    throw new DaemonError("UNREACHABLE", `${url} does not help the site ${site.name}: ${rawMessage}`, {
      cause: error,
      fix: isRefused
        ? "Check `peersToken` of the site: over there it must have the right to read."
        : "Check `peers` of the site, and whether that daemon runs and has a site of the same group.",
    });
  }
}

async function readStatuses(database: OpenedDatabase["database"], clock: Clock): Promise<readonly MigrationStatus[]> {
  const { openMigrationReader } = await import("@tidemark/migrate");
  const reader = await openMigrationReader({ database, clock });
  try {
    return await reader.list();
  } finally {
    await reader.close();
  }
}

/** Connects as the daemon would, reads how its migrations stand, and loads the definitions. Writes nothing. */
export async function checkMigrations(
  { url, folder }: MigrationDatabaseSettings,
  { clock, timeoutMs, signal }: CheckOptions,
): ReturnType<Check> {
  const address = parseDatabaseUrl(url);
  const opened = await openDatabaseAt(address, timeoutMs).catch((error: unknown) => {
    if (!DaemonError.is(error)) throw error;
    throw new DaemonError(error.code, error.problem, {
      cause: error,
      fix: "Check `url` of `migrations`, whether that database runs, and whether it lets this machine and user in.",
    });
  });
  try {
    const statuses = await readStatuses(opened.database, clock);
    signal.throwIfAborted();
    const known = `${address.label} answers, with ${statuses.length} migrations`;
    if (folder === undefined) return known;
    const { lintMigrations } = await import("@tidemark/migrate/lint");
    const { definitions, findings } = await lintMigrations({ paths: [folder], database: opened.database, clock });
    if (definitions === 0) {
      throw new DaemonError("DATABASE", `${address.label}: there is no definition in ${folder}.`, {
        fix: "Name the folder or module that exports what `defineMigration()` makes.",
      });
    }
    if (findings.length === 0) return `${known}, ${definitions} definitions`;
    const { rule, message } = findings[0] ?? {};
    return {
      warning: `${known}, ${definitions} definitions, and lint finds ${findings.length}: ${rule}: ${message}`,
      fix: `See \`tidemark migrate lint ${folder}\`.`,
    };
  } catch (error) {
    if (DaemonError.is(error)) throw error;
    const message = (error as Error).message.replace(/^\[[A-Z_]+\] /, "");
    throw new DaemonError("DATABASE", `${address.label}: ${message}`, {
      cause: error,
      fix: "Check `url` and `folder` of `migrations`.",
    });
  } finally {
    await opened.close();
  }
}
