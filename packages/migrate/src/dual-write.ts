import { createHash } from "node:crypto";
import { getTableColumns, getTableName, type SQL, sql } from "drizzle-orm";
import { PgDialect } from "drizzle-orm/pg-core";
import { columnOf, type Migration } from "./definition.ts";
import type { Dialect } from "./dialect.ts";
import { MigrateError } from "./migrate-error.ts";
import { slot, withLiterals } from "./mysql/mysql-client.ts";
import { mysqlDialect } from "./mysql/mysql-dialect.ts";
import { mentionsColumn } from "./sql-mentions.ts";

/** How new and changed rows get what a migration gives to the old ones. */
export interface DualWriteOptions {
  /** For a body that is not SQL: the same as an expression for each column that is written. */
  readonly set?: Readonly<Record<string, SQL>>;
  /**
   * Property names of the columns the expressions read. A change of one of them computes the row again.
   * @default those the expressions name, as Drizzle columns or in their text
   */
  readonly inputs?: readonly string[];
}

/** Statements for a file of Drizzle, one each. */
export interface DualWrite {
  /** Creates the triggers; from then on old versions of the application write the new columns too. */
  readonly up: readonly string[];
  /** Drops them, once every version writes the columns itself. */
  readonly down: readonly string[];
}

/**
 * Writes the triggers that compute a migration's columns for rows that are inserted, or whose inputs change, while it
 * runs and until the whole fleet writes them itself. An INSERT that gives a value to a column that may be NULL keeps it,
 * so that a newer application wins. Rows of other tables that an expression reads are not watched.
 *
 * @throws {MigrateError} `DEFINITION_INVALID` where there is no expression, or nothing says what it reads
 */
export function dualWrite(migration: Migration, dialect: Dialect["name"], options: DualWriteOptions = {}): DualWrite {
  const { body, name } = migration;
  const given = options.set === undefined ? (body.type === "set" ? [...body.set] : []) : Object.entries(options.set);
  if (given.length === 0) {
    throw invalid(name, "a trigger is SQL; give `set` with an expression for each column that the body writes");
  }
  const columns = getTableColumns(migration.table);
  const inputs =
    options.inputs ??
    Object.keys(columns).filter((property) => {
      return given.some(([, value]) => mentionsColumn(value, columnOf(migration, property)));
    });
  const reads = inputs
    .filter((property) => !migration.key.includes(property))
    .map((each) => columnOf(migration, each).name);
  const written = given.map(([property, value]) => {
    const column = columnOf(migration, property);
    const isValue = typeof value !== "object" || value === null || !("getSQL" in value);
    return {
      name: column.name,
      isNullable: !column.notNull,
      value: isValue ? sql`${sql.param(value, column)}` : sql`${value}`,
    };
  });
  const loop = written.find((column) => reads.includes(column.name));
  if (loop !== undefined)
    throw invalid(name, `"${loop.name}" is computed from itself, which a trigger would do again and again`);
  const trigger = {
    id: idOf(name),
    table: getTableName(migration.table),
    schema: (migration.table as unknown as Record<symbol, string | undefined>)[Symbol.for("drizzle:Schema")],
    all: Object.values(columns).map((column) => column.name),
    key: migration.key.map((property) => columnOf(migration, property).name),
    where: migration.where,
    reads,
    written,
  };
  switch (dialect) {
    case "sqlite":
      return onSqlite(trigger);
    case "postgresql":
      return onPostgres(trigger);
    case "mysql":
      return onMysql(trigger);
  }
}

/** The names of servers have 63 characters and more, and two of the triggers two more. One that is cut has to stay its own. */
function idOf(name: string): string {
  const id = `tidemark_${name.replaceAll(/[^\w]/g, "_")}`;
  if (id.length <= 55) return id;
  return `${id.slice(0, 46)}_${createHash("sha256").update(name).digest("hex").slice(0, 8)}`;
}

interface Trigger {
  readonly id: string;
  readonly table: string;
  readonly schema: string | undefined;
  readonly all: readonly string[];
  readonly key: readonly string[];
  readonly where: SQL | undefined;
  readonly reads: readonly string[];
  readonly written: readonly {
    readonly name: string;
    /** Only then an INSERT shows whether it gave a value. */
    readonly isNullable: boolean;
    readonly value: SQL;
  }[];
}

const standard = (name: string) => `"${name.replaceAll('"', '""')}"`;
const backtick = (name: string) => `\`${name.replaceAll("`", "``")}\``;

/** A name as it is where the trigger is, which is where the table is. */
const placed = (quote: (name: string) => string, schema: string | undefined, name: string) =>
  schema === undefined ? quote(name) : `${quote(schema)}.${quote(name)}`;

/** The row as it will be has the name of the table, without its schema. */
function ofRow(quote: (name: string) => string, { schema, table }: Trigger, text: string): string {
  return schema === undefined ? text : text.replaceAll(`${placed(quote, schema, table)}.`, `${quote(table)}.`);
}

/** An expression with its values in it, as the connection would send them. */
function inlined(value: SQL, bytes: (hex: string) => string): string {
  const dialect = new PgDialect();
  const { sql: text, params } = sql`${value}`.toQuery({
    casing: (dialect as unknown as { readonly casing: never }).casing,
    escapeName: standard,
    escapeParam: () => slot,
    escapeString: dialect.escapeString.bind(dialect),
  });
  const parts = text.split(slot);
  return parts.map((part, index) => (index === 0 ? part : literal(params[index - 1], bytes) + part)).join("");
}

function literal(value: unknown, bytes: (hex: string) => string): string {
  if (value === null || value === undefined) return "null";
  if (value instanceof Uint8Array) return bytes(Buffer.from(value).toString("hex"));
  // Two minuses begin a comment.
  if (typeof value === "number" || typeof value === "bigint") return value < 0 ? `(${value})` : String(value);
  if (typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : value instanceof Date ? value.toISOString() : JSON.stringify(value);
  return `'${text.replaceAll("'", "''")}'`;
}

// SQLite has no BEFORE trigger that changes the row, so the row is written once more; by its key.
function onSqlite({ id, table, key, where, reads, written }: Trigger): DualWrite {
  const text = (value: SQL) => inlined(value, (hex) => `x'${hex}'`);
  const isRow = key.map((name) => `${standard(name)} = new.${standard(name)}`).join(" and ");
  const condition = where === undefined ? "" : ` and (${text(where)})`;
  const assignments = (isInsert: boolean) =>
    written.map(({ name, isNullable, value }) => {
      const column = standard(name);
      return `${column} = ${isInsert && isNullable ? `coalesce(new.${column}, (${text(value)}))` : `(${text(value)})`}`;
    });
  const update = (isInsert: boolean) =>
    `update ${standard(table)} set ${assignments(isInsert).join(", ")} where ${isRow}${condition};`;
  const on = (suffix: string, event: string, isInsert: boolean) =>
    `create trigger ${standard(id + suffix)} after ${event} on ${standard(table)} begin ${update(isInsert)} end`;
  const changes = reads.length === 0 ? [] : [on("_u", `update of ${reads.map(standard).join(", ")}`, false)];
  return {
    up: [on("_i", "insert", true), ...changes],
    down: ["_i", "_u"].map((suffix) => `drop trigger if exists ${standard(id + suffix)}`),
  };
}

// The row as it will be stands in for the table, so that expressions are the same as in an UPDATE.
function onPostgres(trigger: Trigger): DualWrite {
  const { id, table, schema, where, reads, written } = trigger;
  const text = (value: SQL) =>
    ofRow(
      standard,
      trigger,
      inlined(value, (hex) => `'\\x${hex}'::bytea`),
    );
  const condition = where === undefined ? "" : ` where (${text(where)})`;
  const lines = written.map(({ name, isNullable, value }) => {
    const column = `new.${standard(name)}`;
    const chosen = `(select (${text(value)}) from (select new.*) as ${standard(table)}${condition})`;
    const isMatching =
      where === undefined ? "" : ` and exists (select from (select new.*) as ${standard(table)}${condition})`;
    const isOpen = isNullable ? `(tg_op = 'UPDATE' or ${column} is null)` : "true";
    return `if ${isOpen}${isMatching} then ${column} := ${chosen}; end if;`;
  });
  const name = standard(id);
  const on = placed(standard, schema, table);
  const compute = placed(standard, schema, id);
  const changes = reads.length === 0 ? "" : ` or update of ${reads.map(standard).join(", ")}`;
  return {
    up: [
      `create function ${compute}() returns trigger language plpgsql as $tidemark$ begin ${lines.join(" ")} return new; end $tidemark$`,
      `create trigger ${name} before insert${changes} on ${on} for each row execute function ${compute}()`,
    ],
    down: [`drop trigger if exists ${name} on ${on}`, `drop function if exists ${compute}()`],
  };
}

// The same; but the columns have to be listed, and an UPDATE says itself whether an input changed.
function onMysql(trigger: Trigger): DualWrite {
  const { id, table, schema, all, where, reads, written } = trigger;
  const text = (value: SQL) => ofRow(backtick, trigger, withLiterals(mysqlDialect.toQuery(value)));
  const row = `(select ${all.map((name) => `new.${backtick(name)} as ${backtick(name)}`).join(", ")}) as ${backtick(table)}`;
  const condition = where === undefined ? "" : ` where (${text(where)})`;
  const lines = (isInsert: boolean) =>
    written.map(({ name, isNullable, value }) => {
      const column = `new.${backtick(name)}`;
      const guards = [
        ...(isInsert && isNullable ? [`${column} is null`] : []),
        ...(where === undefined ? [] : [`exists (select 1 from ${row}${condition})`]),
      ];
      const assign = `set ${column} = (select (${text(value)}) from ${row}${condition});`;
      return guards.length === 0 ? assign : `if ${guards.join(" and ")} then ${assign} end if;`;
    });
  const isChanged = reads.map((name) => `not (new.${backtick(name)} <=> old.${backtick(name)})`).join(" or ");
  const create = (suffix: string, event: string, statements: string) =>
    `create trigger ${placed(backtick, schema, id + suffix)} before ${event} on ${placed(backtick, schema, table)} for each row begin ${statements} end`;
  const changes =
    reads.length === 0 ? [] : [create("_u", "update", `if ${isChanged} then ${lines(false).join(" ")} end if;`)];
  return {
    up: [create("_i", "insert", lines(true).join(" ")), ...changes],
    down: ["_i", "_u"].map((suffix) => `drop trigger if exists ${placed(backtick, schema, id + suffix)}`),
  };
}

function invalid(name: string, message: string): MigrateError {
  return new MigrateError("DEFINITION_INVALID", `migration "${name}": ${message}`);
}
