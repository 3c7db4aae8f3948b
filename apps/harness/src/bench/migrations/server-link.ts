import { readFileSync } from "node:fs";
import type { OpenMigrationsOptions } from "@tidemark/migrate";
import { ServerQueue } from "./server-queue.ts";
import type { ServerAddress } from "./sql-server.ts";

/** One connection to a server, and what migrations are opened with. */
export interface ServerLink extends AsyncDisposable {
  readonly database: OpenMigrationsOptions["database"];
  /** Of the sessions of this link, whoever opened them, and of this process. */
  readonly queue: ServerQueue;
  /** With `?` for parameters. Resolves with the rows, or the number of those changed. */
  query(
    text: string,
    values?: readonly number[],
  ): Promise<{ readonly rows: readonly (readonly unknown[])[]; readonly changes: number }>;
}

/** Where autocommit is on, as in both. */
export async function linkTo({ server, socket, name }: ServerAddress): Promise<ServerLink> {
  if (server === "postgres") {
    const { default: pg } = await import("pg");
    const pool = new pg.Pool({ host: socket, user: "postgres", database: name, max: 2 });
    // A server that ends tells those who are idle, too.
    pool.on("error", () => {});
    const queue = new ServerQueue();
    pool.on("connect", (client) => queue.addProcess((client as unknown as { readonly processID: number }).processID));
    const texts = new Map<string, string>();
    return {
      database: { dialect: "postgresql", client: pool },
      queue,
      async query(text, values = []) {
        const known = texts.get(text);
        let index = 0;
        const numbered = known ?? text.replaceAll("?", () => `$${++index}`);
        texts.set(text, numbered);
        const result = await pool.query({ text: numbered, values: [...values], rowMode: "array" });
        return { rows: result.rows as unknown[][], changes: result.rowCount ?? 0 };
      },
      [Symbol.asyncDispose]: () => pool.end(),
    };
  }
  const { createPool } = await import("mysql2/promise");
  const pool = createPool({ socketPath: socket, user: "root", database: name, connectionLimit: 10 });
  const queue = new ServerQueue();
  const query: ServerLink["query"] = async (text, values = []) => {
    const [result] = await pool.query({ sql: text, values: [...values], rowsAsArray: true });
    if (Array.isArray(result)) return { rows: result as unknown[][], changes: 0 };
    return { rows: [], changes: result.affectedRows };
  };
  const watch = async (session: number) => {
    const { rows } = await query(`select @@pid_file, tid from information_schema.processlist where id = ?`, [session]);
    for (const [file, thread] of rows) queue.addThread(Number(readFileSync(String(file), "utf8")), Number(thread));
  };
  // A pool that is closed meanwhile has nobody to watch any more.
  pool.pool.on("connection", ({ threadId }) => void watch(threadId).catch(() => {}));
  return {
    database: { dialect: "mysql", client: pool },
    queue,
    query,
    [Symbol.asyncDispose]: () => pool.end(),
  };
}
