// Where a database of the tests is, in a form that fits on a command line. Without vitest: processes of their own load it.

import type { OpenMigrationsOptions } from "@tidemark/migrate";
import { type openMysql, type openPostgres, openSqlite } from "@tidemark/migrate/internal";

type Database = ReturnType<typeof openMysql>;

export type Address =
  | { readonly dialect: "sqlite"; readonly file: string }
  | {
      readonly dialect: "postgresql";
      readonly driver: "pg" | "postgres";
      readonly folder: string;
      readonly name: string;
    }
  | { readonly dialect: "mysql"; readonly socket: string; readonly name: string };

export interface Link {
  /** As users give it. */
  readonly database: OpenMigrationsOptions["database"];
  /** As engines get it. */
  open(): Promise<Database>;
  /** Runs one statement beside the engine; every number comes as a number. */
  query(text: string): Promise<unknown[][]>;
  end(): Promise<void>;
}

/** How long a process that is stopped in a transaction keeps from others what it holds. */
interface Limits {
  readonly idleTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly statementTimeoutMs?: number;
}

/** A busy machine stops processes as well, so only those that tests stop are given up soon. */
export const limitsOf = {
  patient: { idleTimeoutMs: 60_000, lockTimeoutMs: 500, statementTimeoutMs: 60_000 },
  stopped: { idleTimeoutMs: 300, lockTimeoutMs: 500 },
} as const satisfies Record<string, Limits>;

export function linkTo(address: Address, limits: Limits = limitsOf.patient): Promise<Link> {
  switch (address.dialect) {
    case "sqlite":
      return linkToSqlite(address.file);
    case "postgresql":
      return address.driver === "pg"
        ? linkToPg(address.folder, address.name, limits)
        : linkToPostgres(address.folder, address.name, limits);
    case "mysql":
      return linkToMysql(address.socket, address.name, limits);
  }
}

async function linkToSqlite(file: string): Promise<Link> {
  const { default: Sqlite } = await import("better-sqlite3");
  const db = new Sqlite(file);
  db.pragma("busy_timeout = 20000");
  const database = { dialect: "sqlite", file, busyTimeoutMs: 20_000 } as const;
  return {
    database,
    open: () => openSqlite(database),
    async query(text) {
      const statement = db.prepare(text);
      return statement.reader ? (statement.raw().all() as unknown[][]) : (void statement.run(), []);
    },
    end: async () => void db.close(),
  };
}

async function linkToPg(folder: string, name: string, limits: Limits): Promise<Link> {
  const { default: pg } = await import("pg");
  const { openPostgres: open } = await import("@tidemark/migrate/internal");
  const client = new pg.Pool({ host: folder, user: "postgres", database: name, max: 3 });
  client.on("error", () => {});
  const database = { dialect: "postgresql", client, ...limits } as const;
  return {
    database,
    open: async () => (open satisfies typeof openPostgres)(database),
    async query(text) {
      const { rows } = await client.query({ text, rowMode: "array" });
      return (rows as unknown[][]).map((row) => row.map(numeric));
    },
    end: () => client.end(),
  };
}

async function linkToPostgres(folder: string, name: string, limits: Limits): Promise<Link> {
  const { default: postgres } = await import("postgres");
  const { openPostgres: open } = await import("@tidemark/migrate/internal");
  const client = postgres({ host: folder, user: "postgres", database: name, max: 3, onnotice: () => {} });
  const database = { dialect: "postgresql", client, ...limits } as const;
  return {
    database,
    open: async () => open(database),
    query: async (text) => (await client.unsafe(text).values()).map((row) => row.map(numeric)),
    // It waits for ever for a transaction whose connection was lost.
    end: () => client.end({ timeout: 1 }),
  };
}

async function linkToMysql(socket: string, name: string, limits: Limits): Promise<Link> {
  const { createPool } = await import("mysql2/promise");
  const { openMysql: open } = await import("@tidemark/migrate/internal");
  const client = createPool({ socketPath: socket, user: "root", database: name, connectionLimit: 8 });
  const database = { dialect: "mysql", client, ...limits } as const;
  return {
    database,
    open: async () => open(database),
    async query(text) {
      const [rows] = await client.query({ sql: text, rowsAsArray: true });
      return Array.isArray(rows) ? (rows as unknown[][]).map((row) => row.map(numeric)) : [];
    },
    end: () => client.end(),
  };
}

/** Drivers give a bigint as text. */
export function numeric(value: unknown): unknown {
  return typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
}
