import { type Column, is, type SQL, sql, type Table } from "drizzle-orm";
import { PgArray, PgDialect } from "drizzle-orm/pg-core";
import { isAway } from "../away.ts";
import { type BookStyle, missingBooks } from "../book-ddl.ts";
import type { SqlConnection, SqlExecutor, SqlValue } from "../connection.ts";
import { decodeWithDrizzle } from "../decode.ts";
import { type ArrayText, parseArray } from "./postgres-array.ts";
import { bytesOf, toText } from "./postgres-literals.ts";
import type { ChunkParts } from "../chunk-in-one.ts";
import type { Dialect, JoinedUpdate, SqlFailure } from "../dialect.ts";

const dialect = new PgDialect();

const tuple = (parts: readonly SQL[]) =>
  parts.length === 1 ? sql`${parts[0]}` : sql`(${sql.join([...parts], sql`, `)})`;
const columnsOf = (key: readonly Column[]) => tuple(key.map((column) => sql`${column}`));
const paramsOf = (values: readonly SqlValue[]) => tuple(values.map((value) => sql`${sql.param(value)}`));
// As a whole: there are types such as interval and int4range.
const isInteger = (column: Column) =>
  /^(smallint|integer|bigint|int[248]?|(small|big)?serial)$/.test(column.getSQLType());

/** The time of the statement is that of the message it came in. */
const sinceMs = sql`(extract(epoch from clock_timestamp() - statement_timestamp()) * 1000)::float8`;

export const postgresDialect: Dialect = {
  name: "postgresql",
  toQuery(statement) {
    const { sql: text, params } = dialect.sqlToQuery(statement);
    return { sql: text, params };
  },
  nameOf: (column) => column.name,
  keyAfter: (key, values) => sql`${columnsOf(key)} > ${paramsOf(values)}`,
  keyUpTo: (key, values) => sql`${columnsOf(key)} <= ${paramsOf(values)}`,
  // A parameter has the type of the column it is compared with.
  keyValue: (_, value) => value,
  selectKey: (column) => (isInteger(column) ? sql`${column}` : sql`${column}::text`),
  select: textOf,
  fromDriver,
  // As text, because json and xml know no equality; and byte for byte, because collations need not.
  isUnchanged: (column, selected) => sql`${textOf(column)} collate "C" is not distinct from ${selected}`,
  isSame,
  assignsInTurn: false,
  hasOneWriter: false,
  insertNew: { verb: sql`insert into`, suffix: sql` on conflict do nothing` },
  together,
  updateJoined,
  sent: toText,
  explain: ({ sql: text, params }) => ({ sql: `explain ${text}`, params }),
  // Blocks neither foreign keys that point here nor readers.
  lockSuffix: sql.raw(" for no key update"),
  now: sql`(extract(epoch from clock_timestamp()) * 1000)::bigint`,
  sinceMs,
  classify: classifyPostgresError,
  columnNames,
  prepare,
  faultOfKey,
  estimateRows,
};

function together({ runs, isHeld, withinMs, effect, books, next, answer }: ChunkParts): SQL {
  const done = sql`(select n from counted)`;
  // Asked once: what was begun is finished.
  const begins = withinMs === undefined ? isHeld : sql`${isHeld} and ${sinceMs} <= ${withinMs}`;
  return sql`with held as (select 1 from ${runs} where ${begins} for no key update),
    effect as (${effect(sql`exists (select 1 from held)`)} returning 1),
    counted as (select count(*) as n from effect)
    update ${runs} set ${books(done)} from held ${next} where ${isHeld} returning ${answer(done)}`;
}

/** What an UPDATE is joined to cannot be missing, so the rows themselves are joined to it before. */
function updateJoined({ table, key, sets, groups, inRange, where }: JoinedUpdate): SQL {
  return sql`update ${table} set ${sets} from (select ${key} as tidemark_key, tidemark_groups.* from ${table}
      left join (${groups}) tidemark_groups on tidemark_parent = ${key} where ${inRange}) tidemark_found
    where tidemark_key = ${key} and ${where}`;
}

/** As drivers are given it. For two types that is not what a cast gives, which adds a mask, or takes away spaces. */
function textOf(column: Column): SQL {
  const type = column.getSQLType();
  if (type === "inet") return sql`textin(inet_out(${column}))`;
  if (/^(char|character|bpchar)(\(\d+\))?$/.test(type)) return sql`textin(bpcharout(${column}))`;
  return sql`${column}::text`;
}

/** Types that know no equality, or another one than that of what was written: of areas, or of letters large and small. */
const incomparable = /^(point|line|lseg|box|path|polygon|circle|xml|citext)$/;

/** Types of the server that a value is turned into as an assignment would; others are compared as they are. */
const castable =
  /^(smallint|integer|bigint|numeric|real|double precision|boolean|text|varchar|char|date|time|timestamp|interval|uuid|json|jsonb|bytea|inet|cidr|macaddr)\b/;

function isSame(column: Column, value: SQL): SQL {
  const type = column.getSQLType().replace("bigserial", "bigint").replace("smallserial", "smallint");
  const declared = type.replace(/^serial/, "integer");
  if (incomparable.test(declared)) {
    return sql`${column}::text collate "C" is not distinct from cast(cast(${value} as ${sql.raw(declared)}) as text)`;
  }
  if (!castable.test(declared)) return sql`${column} is not distinct from ${value}`;
  // Rounded and padded like the column's own.
  const assigned = sql`cast(${value} as ${sql.raw(declared)})`;
  if (/^json\b/.test(declared)) return sql`${column}::jsonb is not distinct from ${assigned}::jsonb`;
  if (/^(text|varchar|char)/.test(declared)) return sql`${column} is not distinct from ${assigned} collate "C"`;
  return sql`${column} is not distinct from ${assigned}`;
}

/** Text, as the server wrote it, into what Drizzle's decoders get from its drivers. */
function fromDriver(column: Column, value: SqlValue): unknown {
  if (typeof value !== "string") return decodeWithDrizzle(column, value);
  const type = column.getSQLType();
  if (is(column, PgArray)) return elementsOf(column as PgArray<never, never>, parseArray(value));
  if (type.endsWith("]")) return decodeWithDrizzle(column, value);
  // As text, and in the text of an array.
  if (type === "boolean") return decodeWithDrizzle(column, value === "true" || value === "t");
  if (type === "bytea") return decodeWithDrizzle(column, bytesOf(value));
  if (isInteger(column)) {
    const big = BigInt(value);
    // The decoder of numbers would round it.
    return Number.isSafeInteger(Number(big)) || column.dataType === "bigint" ? decodeWithDrizzle(column, big) : big;
  }
  if (type === "real" || type === "double precision") return decodeWithDrizzle(column, Number(value));
  return decodeWithDrizzle(column, value);
}

/** Not by Drizzle, which takes a NULL for text and leaves booleans to its driver. */
function elementsOf({ baseColumn }: { readonly baseColumn: Column }, elements: ArrayText): unknown[] {
  return elements.map((element) => {
    if (element === null) return null;
    if (typeof element === "string") return fromDriver(baseColumn, element);
    // A column may be declared with fewer dimensions than its arrays have.
    return elementsOf(is(baseColumn, PgArray) ? (baseColumn as PgArray<never, never>) : { baseColumn }, element);
  });
}

/** By SQLSTATE, which every driver has in `code`. */
export function classifyPostgresError(error: unknown): SqlFailure {
  if (isAway(error)) return "retry";
  const { code: state } = error as { readonly code?: unknown };
  if (typeof state !== "string" || state.length !== 5) return "fatal";
  // Serialisation, deadlock, lock timeout, too many connections, shutdown, idling for too long, which a process does that
  // was stopped; and whatever happened to the connection.
  if (["40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57P05", "25P03"].includes(state)) return "retry";
  if (state.startsWith("08")) return "retry";
  // A statement, or a transaction, that took too long.
  if (state === "57014" || state === "25P04") return "split";
  // Data, constraints, subqueries with too many rows, what a trigger raised, views with a check, and limits of a row.
  if (["22", "23", "54"].includes(state.slice(0, 2)) || ["21000", "P0001", "44000"].includes(state)) return "poison";
  return "fatal";
}

/** Held while the books are made, so that of processes that start at once one does. Any number, as long as it stays. */
const booksLock = 7_308_900_121;

const style: BookStyle = {
  quote: dialect.escapeName.bind(dialect),
  typeOf: ({ type }) => typeNames[type],
  keyTypeOf: (type) => (type === "serial" ? "bigint generated always as identity primary key" : "text not null"),
  tail: "",
};
const typeNames = { text: "text", integer: "bigint", real: "double precision" } as const;

async function prepare(connection: SqlConnection): Promise<void> {
  if ((await missing(connection)).length === 0) return;
  await connection.transaction("write", async (executor) => {
    await executor.execute({ sql: `select pg_advisory_xact_lock(${booksLock})`, params: [] });
    for (const statement of await missing(executor)) await executor.execute({ sql: statement, params: [] });
  });
}

const missing = (executor: SqlExecutor) => missingBooks(style, (table) => columnNames(executor, table));

async function columnNames(executor: SqlExecutor, table: string): Promise<string[]> {
  const text = "select attname from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";
  const { rows } = await executor.execute({ sql: text, params: [dialect.escapeName(table)] });
  return rows.map(([name]) => String(name));
}

async function faultOfKey(
  executor: SqlExecutor,
  table: Table,
  columns: readonly string[],
): Promise<string | undefined> {
  const name = quotedName(table);
  const select = async (text: string) => (await executor.execute({ sql: text, params: [name] })).rows;
  const info = await select(
    `select attnum, attname, attnotnull::int from pg_attribute
      where attrelid = to_regclass($1) and attnum > 0 and not attisdropped`,
  );
  if (info.length === 0) return `the database has no table ${name}`;
  const numbers: number[] = [];
  for (const column of columns) {
    const found = info.find(([, known]) => known === column);
    if (found === undefined) return `the table ${name} has no column "${column}"`;
    if (Number(found[2]) === 0) {
      return `the key column "${column}" of ${name} may be NULL, which a cursor cannot pass; declare it NOT NULL`;
    }
    numbers.push(Number(found[0]));
  }
  const indexes = await select(
    `select array_to_string(indkey[0:indnkeyatts - 1], ' ') from pg_index
      where indrelid = to_regclass($1) and indisunique and indisvalid and indimmediate and indpred is null`,
  );
  // A part that is an expression has the number 0, which is of no column.
  const isUnique = indexes.some(([parts]) => {
    return String(parts)
      .split(" ")
      .every((part) => numbers.includes(Number(part)));
  });
  if (isUnique) return undefined;
  return `no primary key or unique index of ${name} lies within (${columns.join(", ")}), so rows could share a key`;
}

async function estimateRows(executor: SqlExecutor, table: Table): Promise<number | undefined> {
  const text = "select reltuples::bigint from pg_class where oid = to_regclass($1)";
  const [row] = (await executor.execute({ sql: text, params: [quotedName(table)] })).rows;
  const rows = Number(row?.[0] ?? -1);
  return rows > 0 ? rows : undefined;
}

function quotedName(table: Table): string {
  return dialect.sqlToQuery(sql`${table}`).sql;
}
