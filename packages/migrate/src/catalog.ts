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
      return sql`select column_name::text from information_schema.columns
        where table_name = ${table} and table_schema = ${schema ?? sql`current_schema()`}`;
    case "mysql":
      return sql`select column_name from information_schema.columns
        where table_schema = database() and table_name = ${table}`;
  }
}
