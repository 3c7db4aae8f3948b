import { type Column, getTableName, type SQL, sql, type Table } from "drizzle-orm";
import { MySqlDialect } from "drizzle-orm/mysql-core";
import { isAway } from "../away.ts";
import { type BookStyle, missingBooks } from "../book-ddl.ts";
import type { SqlConnection, SqlExecutor, SqlQuery, SqlValue } from "../connection.ts";
import { decodeWithDrizzle } from "../decode.ts";
import type { ChunkParts } from "../chunk-in-one.ts";
import type { Dialect, SqlFailure } from "../dialect.ts";
import { slot } from "./mysql-client.ts";

const dialect = new MySqlDialect();

export const mysqlDialect: Dialect = {
  name: "mysql",
  toQuery,
  nameOf: (column) => column.name,
  keyAfter: (key, values) => compared(key, values, ">", ">"),
  keyUpTo: (key, values) => compared(key, values, "<", "<="),
  keyValue,
  selectKey: (column) => (isNumbered(column) ? sql`cast(${column} as unsigned)` : sql`${column}`),
  select: (column) => sql`${column}`,
  fromDriver,
  isUnchanged: (column, selected) =>
    isPlain(column) ? sql`${column} <=> ${selected}` : sql`${inBytes(sql`${column}`)} <=> ${inBytes(selected)}`,
  isSame,
  assignsInTurn: true,
  together,
  hasOneWriter: false,
  insertNew: { verb: sql`insert ignore into`, suffix: sql`` },
  explain: ({ sql: text, params }) => ({ sql: `explain ${text}`, params }),
  lockSuffix: sql.raw(" for update"),
  // Not unix_timestamp(now(3)), which repeats an hour of local time in autumn.
  now: sql.raw("(timestampdiff(microsecond, '1970-01-01', utc_timestamp(3)) div 1000)"),
  classify: classifyMysqlError,
  columnNames,
  prepare,
  faultOfKey,
  estimateRows,
};

function toQuery(statement: SQL): SqlQuery {
  const { sql: text, params } = statement.toQuery({
    casing: (dialect as unknown as { readonly casing: never }).casing,
    escapeName: dialect.escapeName.bind(dialect),
    escapeParam: () => slot,
    escapeString: dialect.escapeString.bind(dialect),
  });
  return { sql: text, params };
}

/** A block of MariaDB. Its variables have names that no column has: one of the same name would be hidden. */
function together({ runs, isRun, isHeld, effect, books, next, answer }: ChunkParts): SQL {
  const done = sql.raw("tidemark_done");
  return sql`begin not atomic
    declare tidemark_held int default 0;
    declare tidemark_done bigint default 0;
    start transaction;
    select count(*) into tidemark_held from ${runs} where ${isHeld} for update;
    if tidemark_held = 1 then
      ${effect()};
      set tidemark_done = row_count();
      update ${runs} set ${books(done)} where ${isHeld};
    end if;
    select ${answer(done)} from ${runs} ${next} where ${isRun} and tidemark_held = 1;
    commit;
  end`;
}

/** Row values are compared all the same, but no index is ranged over with them: a > x or (a = x and (b > y or …)). */
function compared(key: readonly Column[], values: readonly SqlValue[], first: "<" | ">", last: "<=" | ">"): SQL {
  const [column, ...others] = key;
  const [value, ...otherValues] = values;
  if (column === undefined) throw new Error("a key has at least one column");
  const bound = keyValue(column, sql`${sql.param(value)}`);
  if (others.length === 0) return sql`${column} ${sql.raw(last)} ${bound}`;
  return sql`(${column} ${sql.raw(first)} ${bound} or (${column} = ${bound} and ${compared(others, otherValues, first, last)}))`;
}

const typeOf = (column: Column) => column.getSQLType().toLowerCase();

/** What is in the order of its members' numbers, but compared with a text by what they are called. */
const isNumbered = (column: Column) => /^(enum|set)\b/.test(typeOf(column));

/** A decimal is compared with text as floating point. */
function keyValue(column: Column, value: SQL): SQL {
  return /^(decimal|numeric)/.test(typeOf(column)) ? sql`cast(${value} as decimal(65, 30))` : value;
}

/** Columns whose equality is that of their bytes, or of numbers. */
function isPlain(column: Column): boolean {
  return /^((tiny|small|medium|big)?int|serial|boolean|bool|double|float|real|binary|varbinary|(tiny|medium|long)?blob|bit)\b/.test(
    typeOf(column),
  );
}

const inBytes = (value: SQL) => sql`cast(convert(${value} using utf8mb4) as binary)`;

/** What an assignment would round, pad or cut is so before it is compared. */
function isSame(column: Column, value: SQL): SQL {
  const type = typeOf(column);
  const decimal = /^(?:decimal|numeric)(\(.*\))?/.exec(type);
  if (decimal !== null) return sql`${column} <=> cast(${value} as decimal${sql.raw(decimal[1] ?? "(10, 0)")})`;
  const time = /^(datetime|timestamp|date|time)\b(\(\d\))?/.exec(type);
  if (time !== null) {
    const [, kind = "", fraction = ""] = time;
    return sql`${column} <=> cast(${value} as ${sql.raw(kind.replace("timestamp", "datetime") + fraction)})`;
  }
  const scale = /^(?:float|double|real)\(\d+, ?(\d+)\)/.exec(type)?.[1];
  const rounded = scale === undefined ? value : sql`round(${value}, ${sql.raw(scale)})`;
  if (type.startsWith("float")) return sql`${column} <=> cast(${rounded} as float)`;
  if (/^((tiny|small|medium|big)?int|serial)\b/.test(type)) {
    return sql`${column} <=> cast(${value} as ${sql.raw(/unsigned|serial/.test(type) ? "unsigned" : "signed")})`;
  }
  const padded = /^binary\(\d+\)/.exec(type)?.[0];
  if (padded !== undefined) return sql`${column} <=> cast(${value} as ${sql.raw(padded)})`;
  if (isPlain(column)) return sql`${column} <=> ${rounded}`;
  // It gives no spaces back that a value ends with.
  const kept = (text: SQL) => inBytes(/^char\b/.test(type) ? sql`trim(trailing ' ' from ${text})` : text);
  return sql`${kept(sql`${column}`)} <=> ${kept(value)}`;
}

function fromDriver(column: Column, value: SqlValue): unknown {
  if (value instanceof Uint8Array) return decodeWithDrizzle(column, Buffer.from(value));
  // MariaDB keeps JSON as text, and Drizzle leaves it to the driver.
  if (column.dataType === "json" && typeof value === "string") {
    return decodeWithDrizzle(column, JSON.parse(value) as SqlValue);
  }
  const isTooBig = typeof value === "bigint" && !Number.isSafeInteger(Number(value));
  return isTooBig && column.dataType !== "bigint" ? value : decodeWithDrizzle(column, value);
}

/** Lock wait, deadlock, changed since it was read, too many connections, a node that is out of its cluster, and what kills a connection. */
const passing = new Set([1205, 1213, 1020, 1040, 1203, 1226, 1047, 1053, 1927, 2006, 2013, 4031]);
/** What the server stopped because it took too long. */
const slow = new Set([1969, 3024, 1317, 3170]);
/** What a row, or a value made of one, is refused for and has no SQLSTATE of its own. */
const ofRow = new Set([1242, 1264, 1265, 1292, 1364, 1365, 1366, 1406, 1411, 1525, 1690, 3819, 4025, 3140, 3141, 4038]);

/** By number, which mysql2 has in `errno`. */
export function classifyMysqlError(error: unknown): SqlFailure {
  if (isAway(error)) return "retry";
  const { errno, sqlState } = error as { readonly errno?: unknown; readonly sqlState?: unknown };
  if (typeof errno !== "number") return "fatal";
  if (passing.has(errno)) return "retry";
  if (slow.has(errno)) return "split";
  const state = typeof sqlState === "string" ? sqlState : "";
  if (ofRow.has(errno) || /^(22|23|45)/.test(state)) return "poison";
  return "fatal";
}

const style: BookStyle = {
  quote: dialect.escapeName.bind(dialect),
  // Text of any length has no default in MySQL.
  typeOf: ({ type, default: value }) => (type === "text" && value !== undefined ? "varchar(1000)" : typeNames[type]),
  keyTypeOf(type, name) {
    if (type === "serial") return "bigint not null auto_increment primary key";
    // An index of InnoDB has at most 3072 bytes.
    return name === "name" ? "varchar(120) not null" : "varchar(640) not null";
  },
  tail: " engine = InnoDB default character set utf8mb4 collate utf8mb4_bin",
};
const typeNames = { text: "longtext", integer: "bigint", real: "double" } as const;

const booksLock = "tidemark_migrations";

async function prepare(connection: SqlConnection): Promise<void> {
  if ((await missing(connection)).length === 0) return;
  // A statement that makes a table commits, so a lock of the session holds off others that start at once. In a
  // transaction only so that it is one session.
  await connection.transaction("write", async (executor) => {
    const lock = await executor.execute(toQuery(sql`select get_lock(${booksLock}, 30)`));
    if (Number(lock.rows[0]?.[0]) !== 1) {
      throw Object.assign(new Error("somebody else makes the books for more than 30 s"), { errno: 1205 });
    }
    try {
      for (const statement of await missing(executor)) await executor.execute({ sql: statement, params: [] });
    } finally {
      await executor.execute(toQuery(sql`select release_lock(${booksLock})`));
    }
  });
}

const missing = (executor: SqlExecutor) => missingBooks(style, (table) => columnNames(executor, table));

async function columnNames(executor: SqlExecutor, table: string): Promise<string[]> {
  const { rows } = await executor.execute(
    toQuery(sql`select column_name from information_schema.columns
      where table_schema = database() and table_name = ${table}`),
  );
  return rows.map(([name]) => String(name));
}

async function faultOfKey(
  executor: SqlExecutor,
  table: Table,
  columns: readonly string[],
): Promise<string | undefined> {
  const name = getTableName(table);
  const at = sql`table_schema = ${schemaOf(table)} and table_name = ${name}`;
  const select = async (statement: SQL) => (await executor.execute(toQuery(statement))).rows;
  const info = await select(
    sql`select column_name, is_nullable, data_type from information_schema.columns where ${at}`,
  );
  if (info.length === 0) return `the database has no table "${name}"`;
  const wanted = columns.map((column) => column.toLowerCase());
  for (const column of wanted) {
    const found = info.find(([known]) => String(known).toLowerCase() === column);
    if (found === undefined) return `the table "${name}" has no column "${column}"`;
    if (found[1] !== "NO") {
      return `the key column "${column}" of "${name}" may be NULL, which a cursor cannot pass; declare it NOT NULL`;
    }
    if (found[2] === "float") return `the key column "${column}" of "${name}" is a float, which is not read exactly`;
  }
  const parts = await select(
    sql`select index_name, column_name, sub_part from information_schema.statistics where ${at} and non_unique = 0`,
  );
  const indexes = Map.groupBy(parts, ([index]) => String(index));
  const isUnique = [...indexes.values()].some((index) =>
    // An expression has no name, and a prefix says nothing about the rest.
    index.every(([, column, prefix]) => prefix === null && wanted.includes(String(column).toLowerCase())),
  );
  if (isUnique) return undefined;
  return `no primary key or unique index of "${name}" lies within (${columns.join(", ")}), so rows could share a key`;
}

async function estimateRows(executor: SqlExecutor, table: Table): Promise<number | undefined> {
  const { rows } = await executor.execute(
    toQuery(sql`select table_rows from information_schema.tables
      where table_schema = ${schemaOf(table)} and table_name = ${getTableName(table)}`),
  );
  const found = Number(rows[0]?.[0] ?? 0);
  return found > 0 ? found : undefined;
}

function schemaOf(table: Table): SQL {
  const schema = (table as unknown as Record<symbol, string | undefined>)[Symbol.for("drizzle:Schema")];
  return schema === undefined ? sql`database()` : sql`${schema}`;
}
