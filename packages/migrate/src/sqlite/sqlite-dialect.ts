import { type Column, getTableName, type SQL, sql, type Table } from "drizzle-orm";
import { SQLiteSyncDialect } from "drizzle-orm/sqlite-core";
import { type BookStyle, missingBooks } from "../book-ddl.ts";
import type { SqlConnection, SqlExecutor, SqlValue } from "../connection.ts";
import { decodeWithDrizzle } from "../decode.ts";
import type { Dialect, SqlFailure } from "../dialect.ts";
import { bindable } from "./sqlite-client.ts";

const dialect = new SQLiteSyncDialect();

const tuple = (parts: readonly SQL[]) =>
  parts.length === 1 ? sql`${parts[0]}` : sql`(${sql.join([...parts], sql`, `)})`;
const columnsOf = (key: readonly Column[]) => tuple(key.map((column) => sql`${column}`));
const paramsOf = (values: readonly SqlValue[]) => tuple(values.map((value) => sql`${sql.param(value)}`));

export const sqliteDialect: Dialect = {
  name: "sqlite",
  toQuery(statement) {
    const { sql: text, params } = dialect.sqlToQuery(statement);
    return { sql: text, params };
  },
  nameOf: (column) => column.name,
  keyAfter: (key, values) => sql`${columnsOf(key)} > ${paramsOf(values)}`,
  keyUpTo: (key, values) => sql`${columnsOf(key)} <= ${paramsOf(values)}`,
  keyValue: (_, value) => value,
  selectKey: (column) => sql`${column}`,
  select: (column) => sql`${column}`,
  fromDriver: decodeWithDrizzle,
  isUnchanged,
  isSame: isUnchanged,
  assignsInTurn: false,
  hasOneWriter: true,
  countsPastBound: true,
  dataVersion: { sql: "pragma data_version", params: [] },
  insertNew: { verb: sql`insert into`, suffix: sql` on conflict do nothing` },
  bindable,
  // Not `explain`: its rows are read from the schema as it was when the statement was prepared, and that memory is freed
  // when the schema changes. A kept statement then crashes the process.
  explain: ({ sql: text, params }) => ({ sql: `explain query plan ${text}`, params }),
  // `begin immediate` has locked out every other writer already.
  lockSuffix: sql.raw(""),
  // Processes that share the file share the machine.
  now: undefined,
  classify: classifySqliteError,
  columnNames,
  prepare,
  faultOfKey,
  isRowNumber,
  estimateRows,
};

// The column's own collation may take A for a.
function isUnchanged(column: Column, value: SQL): SQL {
  return sql`${column} collate binary is ${value}`;
}

/** better-sqlite3 says `SQLITE_BUSY_SNAPSHOT` in `code`; node:sqlite has the number in `errcode`. */
export function classifySqliteError(error: unknown): SqlFailure {
  const { code, errcode } = error as { readonly code?: unknown; readonly errcode?: unknown };
  const primary = typeof errcode === "number" ? errcode & 0xff : undefined;
  const name = typeof code === "string" ? code : "";
  const is = (prefix: string, number: number) =>
    primary === number || (primary === undefined && name.startsWith(prefix));
  if (is("SQLITE_BUSY", 5) || is("SQLITE_LOCKED", 6)) return "retry";
  if (is("SQLITE_INTERRUPT", 9)) return "split";
  if (is("SQLITE_CONSTRAINT", 19) || is("SQLITE_MISMATCH", 20) || is("SQLITE_TOOBIG", 18)) return "poison";
  // What an expression could not compute, such as json('{') or abs(-9223372036854775808), is of the row too. So is a
  // wrong column name, which ends the same way: the quarantine is full.
  if (is("SQLITE_ERROR", 1)) return "poison";
  return "fatal";
}

async function prepare(connection: SqlConnection): Promise<void> {
  if ((await missing(connection)).length === 0) return;
  // Asked again under the lock: of many processes that start at once, one creates.
  await connection.transaction("write", async (executor) => {
    for (const statement of await missing(executor)) await executor.execute({ sql: statement, params: [] });
  });
}

const style: BookStyle = {
  quote: dialect.escapeName.bind(dialect),
  typeOf: ({ type }) => type,
  keyTypeOf: (type) => (type === "serial" ? "integer primary key autoincrement" : `${type} not null`),
  tail: "",
};

const missing = (executor: SqlExecutor) => missingBooks(style, (table) => columnNames(executor, table));

async function columnNames(executor: SqlExecutor, table: string): Promise<string[]> {
  const { rows } = await executor.execute({ sql: "select name from pragma_table_info(?)", params: [table] });
  return rows.map(([name]) => String(name));
}

async function faultOfKey(executor: SqlExecutor, of: Table, columns: readonly string[]): Promise<string | undefined> {
  const table = getTableName(of);
  const select = async (text: string, ...params: unknown[]) => (await executor.execute({ sql: text, params })).rows;
  const wanted = new Set(columns.map((name) => name.toLowerCase()));
  const info = await select("select name, pk, lower(type) from pragma_table_info(?)", table);
  if (info.length === 0) return `the database has no table "${table}"`;
  const known = new Set(info.map(([name]) => String(name).toLowerCase()));
  const unknown = columns.find((name) => !known.has(name.toLowerCase()));
  if (unknown !== undefined) return `the table "${table}" has no column "${unknown}"`;

  const primary = info.filter(([, pk]) => Number(pk) > 0).map(([name]) => String(name).toLowerCase());
  const indexes = await select(`select name from pragma_index_list(?) where "unique" = 1 and partial = 0`, table);
  const unique = [primary];
  for (const [index] of indexes) {
    // An index over an expression has a NULL for its name: it says nothing about columns.
    const parts = await select("select name from pragma_index_info(?)", index);
    unique.push(parts.map(([name]) => (name === null ? "\0" : String(name).toLowerCase())));
  }
  const isUnique = unique.some((parts) => parts.length > 0 && parts.every((name) => wanted.has(name)));
  if (!isUnique) {
    return `no primary key or unique index of "${table}" lies within (${columns.join(", ")}), so rows could share a key`;
  }
  // A primary key of SQLite may be NULL unless it is an integer or declared otherwise.
  for (const column of columns) {
    const name = dialect.escapeName(column);
    const nulls = await select(`select 1 from ${dialect.escapeName(table)} where ${name} is null limit 1`);
    if (nulls.length > 0)
      return `the key column "${column}" of "${table}" is NULL in some row, which a cursor cannot pass`;
  }
  return undefined;
}

/** Whether the column is the rowid under another name. */
async function isRowNumber(executor: SqlExecutor, table: Table, column: string): Promise<boolean> {
  const select = async (text: string) => (await executor.execute({ sql: text, params: [getTableName(table)] })).rows;
  const info = await select("select lower(name), lower(type) from pragma_table_info(?) where pk > 0");
  if (info.length !== 1 || info[0]?.[0] !== column.toLowerCase() || info[0][1] !== "integer") return false;
  // A table without rowids has an index for its primary key, and so has `integer primary key desc`, which may hold anything.
  return (await select("select 1 from pragma_index_list(?) where origin = 'pk'")).length === 0;
}

async function estimateRows(executor: SqlExecutor, table: Table): Promise<number | undefined> {
  const text = "select 1 from sqlite_schema where name = 'sqlite_stat1'";
  if ((await executor.execute({ sql: text, params: [] })).rows.length === 0) return undefined;
  const sample = "select stat from sqlite_stat1 where tbl = ? and stat is not null";
  const { rows } = await executor.execute({ sql: sample, params: [getTableName(table)] });
  // The first number of an index: it has fewer rows than the table where it is partial.
  const counts = rows.map(([stat]) => Number(String(stat).split(" ")[0])).filter((count) => count > 0);
  return counts.length === 0 ? undefined : Math.max(...counts);
}
