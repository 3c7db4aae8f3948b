import type { OpenMigrationsOptions } from "@tidemark/migrate";
import type { ServerAddress } from "./sql-server.ts";

/** One connection to a server, and what migrations are opened with. */
export interface ServerLink extends AsyncDisposable {
  readonly database: OpenMigrationsOptions["database"];
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
    const texts = new Map<string, string>();
    return {
      database: { dialect: "postgresql", client: pool },
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
  const pool = createPool({ socketPath: socket, user: "root", database: name, connectionLimit: 3 });
  return {
    database: { dialect: "mysql", client: pool },
    async query(text, values = []) {
      const [result] = await pool.query({ sql: text, values: [...values], rowsAsArray: true });
      if (Array.isArray(result)) return { rows: result as unknown[][], changes: 0 };
      return { rows: [], changes: result.affectedRows };
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}
