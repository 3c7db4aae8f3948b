import { PGlite } from "@electric-sql/pglite";
import { openPostgres } from "@tidemark/migrate/internal";
import { type Link, numeric } from "./address.ts";

let shared: Promise<PGlite> | undefined;

/** PostgreSQL in this process, behind what the engine uses of a pool of `pg`. It has one connection: no test of locks. */
export async function linkToPglite(): Promise<Link> {
  const db = await (shared ??= PGlite.create());
  // To start one takes seconds, so the tests of a file share it, one after the other, and each finds it empty.
  await db.exec("rollback; drop schema public cascade; create schema public; drop schema if exists drizzle cascade");
  const text = (value: string) => value;
  const asText = new Proxy({}, { get: () => text, has: () => true }) as Record<number, (value: string) => string>;
  const session = {
    async query(config: { readonly text: string; readonly values: string[] }) {
      const { text: statement, values } = config;
      const command = statement.trim().split(/\s/)[0]?.toUpperCase() ?? "";
      if (values.length === 0 && statement.includes(";")) {
        await db.exec(statement);
        return { command, rowCount: 0, rows: [], fields: [] };
      }
      const options = { rowMode: "array", parsers: asText, serializers: asText } as const;
      const { rows, fields, affectedRows = 0 } = await db.query(statement, values, options);
      return { command, rowCount: affectedRows, rows: rows as unknown[], fields };
    },
    on: () => undefined,
    off: () => undefined,
    release: () => undefined,
  };
  const client = { totalCount: 1, connect: async () => session };
  const database = { dialect: "postgresql", client } as const;
  return {
    database,
    open: async () => openPostgres(database),
    async query(statement) {
      const { rows } = await db.query(statement, [], { rowMode: "array" });
      return (rows as unknown[][]).map((row) => row.map(numeric));
    },
    end: async () => {},
  };
}
