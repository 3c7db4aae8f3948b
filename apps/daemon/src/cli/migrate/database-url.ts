import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { OpenMigrationsOptions } from "@tidemark/migrate";
import { DaemonError } from "../../daemon-error.ts";
import { rememberSecret } from "../../redact.ts";

/** A database, as the command line names it. */
export interface DatabaseAddress {
  readonly dialect: "sqlite" | "postgresql" | "mysql";
  /** Without user and password: it may be printed. */
  readonly label: string;
  /** A path for SQLite, else the whole URL. */
  readonly location: string;
}

/** A database that answers. */
export interface OpenedDatabase {
  readonly address: DatabaseAddress;
  /** As `@tidemark/migrate` takes it. */
  readonly database: OpenMigrationsOptions["database"];
  close(): Promise<void>;
}

const examples = "For example: app.db, postgres://user@host/database, or mysql://user@host/database.";

/** @throws {DaemonError} `USAGE`; no message has the password. */
export function parseDatabaseUrl(
  given: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): DatabaseAddress {
  const text = given ?? env["TIDEMARK_DATABASE"] ?? "";
  if (text === "") {
    throw new DaemonError("USAGE", "--database is missing, and so is TIDEMARK_DATABASE.", { fix: examples });
  }
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined:
      return sqliteAt(text);
    case "sqlite":
    case "file":
      return sqliteAt(
        text.startsWith("file:///") ? fileURLToPath(text) : text.replace(/^(sqlite|file):(\/\/(?=\/))?/i, ""),
      );
    case "postgres":
    case "postgresql":
      return serverAt("postgresql", text);
    case "mysql":
    case "mariadb":
      return serverAt("mysql", text.replace(/^mariadb:/i, "mysql:"));
    default:
      throw new DaemonError("USAGE", `--database must be a file or a postgres or mysql URL, got one of ${scheme}.`, {
        fix: examples,
      });
  }
}

function sqliteAt(path: string): DatabaseAddress {
  const location = resolve(path);
  return { dialect: "sqlite", label: path, location };
}

function serverAt(dialect: "postgresql" | "mysql", text: string): DatabaseAddress {
  // Without a host it is a socket, which a URL proper cannot say.
  const withHost = URL.canParse(text) ? text : text.replace("@/", "@localhost/");
  const url = URL.parse(withHost);
  const secret = (value: string | null) => {
    if (value === null || value === "") return;
    rememberSecret(value);
    try {
      rememberSecret(decodeURIComponent(value));
    } catch {
      // Not encoded as a URL is: then it is as it stands.
    }
  };
  if (url === null) {
    // What cannot be taken apart is not shown: the password is somewhere in it.
    throw new DaemonError("USAGE", `--database is no URL that can be read, although it begins as one of ${dialect}.`, {
      fix: `Encode what is special in user and password, such as @ as %40 and / as %2F. ${examples}`,
    });
  }
  secret(url.password);
  secret(url.searchParams.get("password"));
  const host = url.searchParams.get("host") ?? (url.host || "localhost");
  // `pg` takes it as it stands, and mysql2 does not.
  const location = dialect === "mysql" ? withHost : text;
  return { dialect, label: `${url.protocol}//${host}${url.pathname}`, location };
}

/**
 * Connects once, so that a wrong address or password is told at once and for what it is.
 *
 * @param timeoutMs how long a connection may take
 *
 * @throws {DaemonError} `UNREACHABLE`, `DATABASE`
 */
export async function openDatabaseAt(address: DatabaseAddress, timeoutMs = 10_000): Promise<OpenedDatabase> {
  switch (address.dialect) {
    case "sqlite":
      return openFile(address);
    case "postgresql":
      return openPostgres(address, timeoutMs);
    case "mysql":
      return openMysql(address, timeoutMs);
  }
}

function openFile(address: DatabaseAddress): OpenedDatabase {
  const { location, label } = address;
  if (!existsSync(location) || !statSync(location).isFile()) {
    throw new DaemonError("DATABASE", `Expected a SQLite database at ${label}, and there is no such file.`, {
      fix: `Say where it is with --database or TIDEMARK_DATABASE. ${examples}`,
    });
  }
  return { address, database: { dialect: "sqlite", file: location }, close: async () => {} };
}

async function openPostgres(address: DatabaseAddress, timeoutMs: number): Promise<OpenedDatabase> {
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({ connectionString: address.location, max: 3, connectionTimeoutMillis: timeoutMs });
  // An idle connection that breaks is replaced; whoever uses one hears of it there.
  pool.on("error", () => {});
  try {
    await pool.query("select 1");
  } catch (error) {
    await pool.end();
    throw unreachable(address, error);
  }
  return { address, database: { dialect: "postgresql", client: pool }, close: () => pool.end() };
}

async function openMysql(address: DatabaseAddress, timeoutMs: number): Promise<OpenedDatabase> {
  const { createPool } = await import("mysql2/promise");
  const pool = createPoolOf(createPool, address, timeoutMs);
  try {
    await pool.query("select 1");
  } catch (error) {
    await pool.end();
    throw unreachable(address, error);
  }
  return { address, database: { dialect: "mysql", client: pool }, close: () => pool.end() };
}

/** mysql2 reads the address at once, and refuses options of the URL that it knows and cannot use. */
function createPoolOf<P>(
  create: (options: { uri: string; connectionLimit: number; connectTimeout: number }) => P,
  { location, label }: DatabaseAddress,
  timeoutMs: number,
): P {
  try {
    return create({ uri: location, connectionLimit: 3, connectTimeout: timeoutMs });
  } catch (error) {
    const because = error instanceof Error ? error.message : String(error);
    throw new DaemonError("USAGE", `--database at ${label} cannot be used: ${because}.`, {
      cause: error,
      fix: `Encode what is special in user and password, such as % as %25. ${examples}`,
    });
  }
}

function unreachable({ label }: DatabaseAddress, error: unknown): DaemonError {
  const { code } = error as { readonly code?: unknown };
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  const because = first instanceof Error && first.message !== "" ? first.message : String(code);
  return new DaemonError("UNREACHABLE", `The database at ${label} does not let us in: ${because}`, {
    cause: error,
    fix: "Check that it runs, and the host, user, password and name of --database or TIDEMARK_DATABASE.",
  });
}
