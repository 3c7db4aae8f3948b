import { PGlite, type Results } from "@electric-sql/pglite";
import { openPostgres } from "@tidemark/migrate/internal";
import { type Link, numeric } from "./address.ts";

let shared: Promise<PGlite> | undefined;

/** As `pg` gives it. */
function toResult(statement: string, { rows, fields, affectedRows = 0 }: Results) {
  const command = statement.trim().split(/\s/)[0]?.toUpperCase() ?? "";
  return { command, rowCount: affectedRows, rows: rows as unknown[], fields };
}

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
      const options = { rowMode: "array", parsers: asText, serializers: asText } as const;
      // Several statements at once have an answer each, of which the last one counts.
      if (values.length === 0 && statement.includes(";")) {
        const answers = await db.exec(statement, options);
        return answers.map((answer) => toResult("", answer));
      }
      return toResult(statement, await db.query(statement, values, options));
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
