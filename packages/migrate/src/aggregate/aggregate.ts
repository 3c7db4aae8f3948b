import { type Column, getTableColumns, getTableName, type SQL, sql, type Table } from "drizzle-orm";
import type { Migration } from "../definition.ts";
import { MigrateError } from "../migrate-error.ts";

/** What is made of the children of a row. */
export type AggregateFunction = "max" | "min" | "sum" | "count";

/** One column and what is written into it. */
export interface AggregateColumn {
  /** Property name in the migration's table. */
  readonly property: string;
  readonly use: AggregateFunction;
  /** The child's column; undefined: its rows are counted. */
  readonly of: Column | undefined;
  /** What a row without children, or with NULLs alone, gets. */
  readonly otherwise: unknown;
}

/** Columns that say something about the rows of another table. */
export interface Aggregate {
  readonly child: Table;
  /** The child's column that has the key of its parent. */
  readonly parentKey: Column;
  /** Which children count; undefined: all. */
  readonly where: SQL | undefined;
  readonly columns: readonly AggregateColumn[];
}

const functions = ["max", "min", "sum", "count"] as const satisfies readonly AggregateFunction[];

/** Reads what `defineMigration` was given. @throws {MigrateError} `DEFINITION_INVALID` */
export function aggregateOf(migration: Pick<Migration, "name" | "table" | "key">, given: unknown): Aggregate {
  const invalid = (message: string) =>
    new MigrateError("DEFINITION_INVALID", `migration "${migration.name}": ${message}`);
  const { child, parentKey, where, set } = given as {
    readonly child: Table;
    readonly parentKey: string;
    readonly where?: SQL;
    readonly set: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  if (getTableName(child) === getTableName(migration.table)) {
    throw invalid("the children of an aggregate must be in another table; use set");
  }
  if (migration.key.length !== 1) throw invalid("an aggregate needs a key of one column, which its children have");
  const columnOf = (property: unknown) => {
    const column = (getTableColumns(child) as Record<string, Column | undefined>)[String(property)];
    if (column === undefined) throw invalid(`table ${getTableName(child)} has no column "${String(property)}"`);
    return column;
  };
  const columns = Object.entries(set).map(([property, column]): AggregateColumn => {
    const uses = functions.filter((each) => column[each] !== undefined);
    const [use] = uses;
    if (uses.length !== 1 || use === undefined) {
      throw invalid(`"${property}" must be one of ${functions.join(", ")}, got ${uses.join(" and ") || "none"}`);
    }
    const of = use === "count" && column[use] === true ? undefined : columnOf(column[use]);
    return { property, use, of, otherwise: column["otherwise"] ?? (use === "count" ? 0 : null) };
  });
  return { child, parentKey: columnOf(parentKey), where, columns };
}

/** The same in SQL, for a row of the migration's table. */
export function expressionOf({ child, parentKey, where }: Aggregate, column: AggregateColumn, key: Column): SQL {
  const { use, of, otherwise } = column;
  // Name and parenthesis in one piece: a column may be named like a function.
  const made = sql`${sql.raw(`${use}(`)}${of === undefined ? sql.raw("*") : sql`${of}`})`;
  const and = where === undefined ? sql`` : sql` and (${where})`;
  const found = sql`(select ${made} from ${child} where ${parentKey} = ${key}${and})`;
  return otherwise === null || use === "count" ? found : sql`coalesce(${found}, ${otherwise})`;
}
