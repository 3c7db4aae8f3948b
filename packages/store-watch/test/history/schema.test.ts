import Database from "better-sqlite3";
import { getTableConfig, type SQLiteTable } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { schemaSteps, viewStatements, views } from "../../src/history/ddl.ts";
import * as schema from "../../src/history/schema.ts";

const tables = Object.values(schema) as SQLiteTable[];

function created(): Database.Database {
  const db = new Database(":memory:");
  for (const step of schemaSteps) db.exec(step);
  db.exec(viewStatements);
  return db;
}

interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly notnull: number;
  readonly dflt_value: string | null;
  readonly pk: number;
  readonly hidden: number;
}

test("the statements create exactly the tables and columns that drizzle knows", () => {
  const db = created();
  const names = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .pluck()
    .all();
  expect(names).toEqual(tables.map((table) => getTableConfig(table).name).sort());
  for (const table of tables) {
    const config = getTableConfig(table);
    const columns = db.pragma(`table_xinfo(${config.name})`) as ColumnInfo[];
    const composite = config.primaryKeys.flatMap((key) => key.columns.map((column) => column.name));
    const inSql = columns.map(({ name, type, notnull, dflt_value, pk, hidden }) => ({
      name,
      type,
      // SQLite does not report it for an INTEGER PRIMARY KEY, which can hold no null.
      isRequired: notnull === 1 || pk > 0,
      default: dflt_value,
      isKey: pk > 0,
      isGenerated: hidden === 2,
    }));
    const inDrizzle = config.columns.map((column) => ({
      name: column.name,
      type: column.getSQLType().toUpperCase(),
      isRequired: column.notNull || column.primary,
      default:
        column.default === undefined
          ? null
          : typeof column.default === "string"
            ? `'${column.default}'`
            : String(column.default),
      isKey: column.primary || composite.includes(column.name),
      isGenerated: column.generated !== undefined,
    }));
    expect({ table: config.name, columns: inSql }).toEqual({ table: config.name, columns: inDrizzle });
  }
});

test("the statements create exactly the indexes, unique constraints and references that drizzle knows", () => {
  const db = created();
  for (const table of tables) {
    const config = getTableConfig(table);
    const columnsOf = (index: string) =>
      (db.pragma(`index_info(${index})`) as { name: string }[]).map(({ name }) => name).join();
    const indexes = db.pragma(`index_list(${config.name})`) as { name: string; unique: number; origin: string }[];
    const inSql = indexes
      .filter(({ origin }) => origin !== "pk")
      .map(({ name, unique, origin }) => `${origin === "c" ? name : ""} ${unique} ${columnsOf(name)}`);
    const inDrizzle = [
      ...config.indexes.map(({ config: { name, unique, columns } }) => {
        const names = columns.map((column) => (column as { name: string }).name);
        return `${name} ${unique ? 1 : 0} ${names.join()}`;
      }),
      ...config.uniqueConstraints.map(({ columns }) => ` 1 ${columns.map(({ name }) => name).join()}`),
      ...config.columns.filter(({ isUnique }) => isUnique).map(({ name }) => ` 1 ${name}`),
    ];
    expect({ table: config.name, indexes: inSql.sort() }).toEqual({ table: config.name, indexes: inDrizzle.sort() });

    const keys = db.pragma(`foreign_key_list(${config.name})`) as { from: string; table: string; to: string }[];
    const references = config.foreignKeys.map((key) => {
      const { columns, foreignTable, foreignColumns } = key.reference();
      return `${columns[0]?.name} ${getTableConfig(foreignTable).name} ${foreignColumns[0]?.name}`;
    });
    expect({ table: config.name, keys: keys.map((key) => `${key.from} ${key.table} ${key.to}`).sort() }).toEqual({
      table: config.name,
      keys: references.sort(),
    });
  }
});

test("every table is strict and every view can be selected from", () => {
  const db = created();
  const lists = db.pragma("table_list") as { name: string; type: string; strict: number }[];
  const loose = lists.filter(
    ({ name, type, strict }) => type === "table" && !name.startsWith("sqlite_") && strict !== 1,
  );
  expect(loose).toEqual([]);
  for (const view of Object.keys(views)) expect(db.prepare(`SELECT * FROM ${view}`).all()).toEqual([]);
});
