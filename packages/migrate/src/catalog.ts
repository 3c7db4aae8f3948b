import { type SQL, sql } from "drizzle-orm";
import type { SqlExecutor } from "./connection.ts";
import type { Database } from "./dialect.ts";

/** The columns of a table, or none: there is no such table. `schema` is of PostgreSQL alone. */
export async function columnsIn(
  database: Database,
  table: string,
  executor?: SqlExecutor,
  schema?: string,
): Promise<string[]> {
  const { rows } = await database.execute(statementOf(database, table, schema), executor);
  return rows.map(([name]) => String(name));
}

function statementOf({ dialect }: Database, table: string, schema: string | undefined): SQL {
  switch (dialect.name) {
    case "sqlite":
      return sql`select name from pragma_table_info(${table})`;
    case "postgresql":
      // Where no schema is named the table is looked for along the search path, as in every other statement.
      return schema === undefined
        ? sql`select attname::text from pg_attribute
            where attrelid = to_regclass(quote_ident(${table})) and attnum > 0 and not attisdropped`
        : sql`select column_name::text from information_schema.columns
            where table_name = ${table} and table_schema = ${schema}`;
    case "mysql":
      return sql`select column_name from information_schema.columns
        where table_schema = database() and table_name = ${table}`;
  }
}
