import { type Column, getTableColumns, getTableName, type SQL, type Table } from "drizzle-orm";
import { type Aggregate, aggregateOf, expressionOf } from "./aggregate/aggregate.ts";
import { MigrateError } from "./migrate-error.ts";
import { type MigrationTuning, resolveTuning } from "./options.ts";
import { mentionsColumn } from "./sql-mentions.ts";

/** The properties of a Drizzle table that are columns. */
export type ColumnName<T extends Table> = keyof T["_"]["columns"] & string;

/** Some columns of a row, as Drizzle selects them. */
export type SelectedColumns<T extends Table, Names extends string> = Pick<
  T["$inferSelect"],
  Names & keyof T["$inferSelect"]
>;
/** Values for some columns, as Drizzle takes them. */
export type WrittenColumns<T extends Table, Names extends string> = Partial<
  Pick<T["$inferInsert"], Names & keyof T["$inferInsert"]>
>;

/** What every migration says. */
export interface MigrationCommon<T extends Table> extends MigrationTuning {
  /** Its identity in the database, forever; letters, digits and `._-`, at most 120. */
  readonly name: string;
  /** The table whose rows are visited. */
  readonly table: T;
  /**
   * The columns rows are visited by: unique together, never NULL, and the same for a row as long as it lives. Any type
   * that the database can order: integers of any size, text, UUIDs, several columns. They are compared in SQL alone.
   */
  readonly key: ColumnName<T> | readonly ColumnName<T>[];
  /** Which rows are of interest. Rows must not start to match later: those that do behind the cursor are not visited. */
  readonly where?: SQL;
  /** Migrations that must be done before this one starts. */
  readonly dependsOn?: readonly string[];
  /**
   * Which rows are not as they should be, as a condition; verification demands that none is left up to the bound. Where
   * it is left out, verification computes every row again and compares, which is refused for a body that reads what it
   * writes.
   */
  readonly remaining?: SQL;
  /**
   * Stands for the source text of the functions in the definition's hash. Give one where bundlers rewrite functions
   * from build to build, and change it when their meaning changes.
   */
  readonly version?: string;
}

/** A body in SQL: each chunk is one UPDATE. */
export interface SetMigration<T extends Table> extends MigrationCommon<T> {
  /** A value or an expression for each column that is written. */
  readonly set: { readonly [Name in keyof T["$inferInsert"]]?: T["$inferInsert"][Name] | SQL };
}

/**
 * A body in TypeScript: rows are read and mapped outside of any transaction, and written in a short one where they
 * still are what was read. A row whose written columns somebody else changed meanwhile is left alone; one whose other
 * columns changed is read and mapped again.
 */
export interface MapMigration<T extends Table, R extends ColumnName<T>, W extends ColumnName<T>>
  extends MigrationCommon<T> {
  /** The columns the function gets. */
  readonly read: readonly R[];
  /** The columns it may write. */
  readonly write: readonly W[];
  /** Undefined leaves the row as it is. A throw puts the row into quarantine. It must have no other effects. */
  readonly map: (
    row: SelectedColumns<T, R>,
  ) => WrittenColumns<T, W> | undefined | Promise<WrittenColumns<T, W> | undefined>;
}

/** One chunk, as a body of its own sees it. */
export interface MigrationChunk {
  readonly name: string;
  /** The rows of this chunk, as a condition on the table: `update t set … where ${chunk.rows}`. */
  readonly rows: SQL;
  /** Aborts when the run is paused, cancelled, or lost to another worker; what the transaction did is rolled back. */
  readonly signal: AbortSignal;
  /** Runs a statement in the chunk's transaction. */
  execute(statement: SQL): Promise<{ readonly rows: readonly (readonly unknown[])[]; readonly changes: number }>;
}

/** A body of its own, in the chunk's transaction: its effects happen exactly once, if they are in this database. */
export interface RunMigration<T extends Table> extends MigrationCommon<T> {
  /** Resolves with the number of rows it changed. */
  readonly run: (chunk: MigrationChunk) => Promise<number>;
  readonly remaining: SQL;
}

/**
 * A body with effects outside of the database, once for each row or more often: a crash between the effect and the
 * commit repeats it with the same idempotency key.
 */
export interface EffectMigration<T extends Table, R extends ColumnName<T>> extends MigrationCommon<T> {
  readonly delivery: "at-least-once";
  /** The columns the function gets. */
  readonly read: readonly R[];
  /** A throw puts the row into quarantine. */
  readonly effect: (row: SelectedColumns<T, R>, context: EffectContext) => void | Promise<void>;
}

/** What an effect is called with besides its row. */
export interface EffectContext {
  /** The same for the same row of the same migration, however often it is tried. */
  readonly idempotencyKey: string;
  /** Aborts when the run is paused, cancelled, lost or stopped. */
  readonly signal: AbortSignal;
}

type Row = Readonly<Record<string, unknown>>;

/** What is made of a column of the children: one of `max`, `min`, `sum` and `count`. */
export type AggregateOf<C extends Table> = (
  | { readonly max: ColumnName<C> }
  | { readonly min: ColumnName<C> }
  | { readonly sum: ColumnName<C> }
  /** `true` counts the children, a column those that have it. */
  | { readonly count: ColumnName<C> | true }
) & {
  /**
   * What a row without children gets, or with NULLs alone.
   * @default NULL; 0 for `count`
   */
  readonly otherwise?: number | string | bigint | null;
};

/**
 * Columns that say something about the rows of another table. The same can be said with `set`; said like this, SQLite reads
 * the children once, in the order they lie in, instead of looking for those of each row.
 */
export interface AggregateMigration<T extends Table, C extends Table> extends MigrationCommon<T> {
  readonly aggregate: {
    /** The table of the children; another one than the migration's. */
    readonly child: C;
    /** The child's column that has the key of its parent, which is one column then. */
    readonly parentKey: ColumnName<C>;
    /**
     * Which children count.
     * @default all
     */
    readonly where?: SQL;
    /** What each column of the migration's table gets. */
    readonly set: { readonly [Name in ColumnName<T>]?: AggregateOf<C> };
  };
}

/** What a definition does, without its types. */
export type MigrationBody =
  | { readonly type: "set"; readonly set: ReadonlyMap<string, unknown>; readonly aggregate?: Aggregate }
  | {
      readonly type: "map";
      readonly read: readonly string[];
      readonly write: readonly string[];
      readonly map: (row: Readonly<Record<string, unknown>>) => unknown;
    }
  | { readonly type: "run"; readonly run: (chunk: MigrationChunk) => Promise<number> }
  | {
      readonly type: "effect";
      readonly read: readonly string[];
      readonly effect: (row: Readonly<Record<string, unknown>>, context: EffectContext) => unknown;
    };

const brand = Symbol.for("@tidemark/migrate/Migration");

/** A checked definition; made by {@link defineMigration}. */
export interface Migration {
  readonly [brand]: true;
  readonly name: string;
  readonly table: Table;
  /** Property names of the key's columns, in order. */
  readonly key: readonly string[];
  readonly where: SQL | undefined;
  readonly remaining: SQL | undefined;
  readonly dependsOn: readonly string[];
  readonly version: string | undefined;
  readonly body: MigrationBody;
  readonly tuning: Required<MigrationTuning>;
}

/** Whether a value, of whatever installed copy of this package, is a definition. */
export function isMigration(value: unknown): value is Migration {
  return typeof value === "object" && value !== null && brand in value;
}

/** The columns of a definition by property name. */
export function columnOf(migration: Pick<Migration, "table" | "name">, property: string): Column {
  const column = (getTableColumns(migration.table) as Record<string, Column | undefined>)[property];
  if (column !== undefined) return column;
  throw invalid(migration.name, `table ${getTableName(migration.table)} has no column "${property}"`);
}

/**
 * Says what has to happen to the rows of a table.
 *
 * @throws {MigrateError} `DEFINITION_INVALID`, `OPTIONS_INVALID`
 */
export function defineMigration<T extends Table>(definition: SetMigration<T>): Migration;
export function defineMigration<T extends Table, C extends Table>(definition: AggregateMigration<T, C>): Migration;
export function defineMigration<T extends Table>(definition: RunMigration<T>): Migration;
export function defineMigration<T extends Table, R extends ColumnName<T>>(definition: EffectMigration<T, R>): Migration;
export function defineMigration<T extends Table, R extends ColumnName<T>, W extends ColumnName<T>>(
  definition: MapMigration<T, R, W>,
): Migration;
export function defineMigration(definition: MigrationCommon<Table>): Migration {
  const { name, table, key, where, remaining, dependsOn = [], version } = definition;
  if (!/^[\w.-]{1,120}$/.test(name)) {
    throw invalid(String(name), "a name is 1 to 120 letters, digits, dots, dashes or underscores");
  }
  const migration: Migration = {
    [brand]: true,
    name,
    table,
    key: keyOf(key),
    where,
    remaining,
    dependsOn: [...dependsOn],
    version,
    body: bodyOf(definition, definition as unknown as Readonly<Record<string, unknown>>),
    tuning: resolveTuning(definition),
  };
  check(migration);
  return migration;
}

const keyOf = (key: string | readonly string[]) => (typeof key === "string" ? [key] : [...key]);

const kindsOfBody = ["set", "aggregate", "map", "run", "effect"] as const;

function bodyOf({ name, table, key }: MigrationCommon<Table>, given: Readonly<Record<string, unknown>>): MigrationBody {
  const kinds = kindsOfBody.filter((kind) => given[kind] !== undefined);
  const [kind] = kinds;
  if (kinds.length !== 1 || kind === undefined) {
    throw invalid(name, `expected one of ${kindsOfBody.join(", ")}, got ${kinds.join(" and ") || "none"}`);
  }
  switch (kind) {
    case "aggregate": {
      const aggregate = aggregateOf({ name, table, key: keyOf(key) }, given["aggregate"]);
      const parentKey = columnOf({ name, table }, keyOf(key)[0] ?? "");
      const set = aggregate.columns.map((each) => [each.property, expressionOf(aggregate, each, parentKey)] as const);
      return { type: "set", set: new Map(set), aggregate };
    }
    case "set":
      return { type: "set", set: new Map(Object.entries(given["set"] as object).filter(([, v]) => v !== undefined)) };
    case "map":
      return {
        type: "map",
        read: given["read"] as readonly string[],
        write: given["write"] as readonly string[],
        map: given["map"] as (row: Row) => unknown,
      };
    case "run":
      return { type: "run", run: given["run"] as (chunk: MigrationChunk) => Promise<number> };
    case "effect":
      if (given["delivery"] !== "at-least-once") {
        throw invalid(
          name,
          'effects outside of the database need delivery: "at-least-once", which is all they can have',
        );
      }
      return {
        type: "effect",
        read: given["read"] as readonly string[],
        effect: given["effect"] as (row: Row, context: EffectContext) => unknown,
      };
  }
}

function check(migration: Migration): void {
  const { name, key, body, remaining } = migration;
  if (key.length === 0) throw invalid(name, "the key needs at least one column");
  if (new Set(key).size !== key.length) throw invalid(name, `the key names a column twice: ${key.join(", ")}`);
  for (const property of key) {
    const column = columnOf(migration, property);
    if (!column.notNull && !column.primary) {
      throw invalid(name, `key column "${property}" may be NULL; a cursor cannot pass NULL, so declare it notNull`);
    }
  }
  if (body.type === "run") {
    if (remaining === undefined) throw invalid(name, "a body of its own needs `remaining`, or nothing can verify it");
    return;
  }
  const written = body.type === "set" ? [...body.set.keys()] : body.type === "map" ? body.write : [];
  for (const property of [...written, ...(body.type === "set" ? [] : body.read)]) columnOf(migration, property);
  if (written.length === 0 && body.type !== "effect") throw invalid(name, "nothing is written: name a column");
  const moved = written.find((property) => key.includes(property));
  if (moved !== undefined) throw invalid(name, `it writes "${moved}" of its own key; rows must stay where they are`);
  if (remaining !== undefined) return;
  const ownInput = written.find((property) => readsColumn(migration, property));
  if (ownInput !== undefined) {
    throw invalid(
      name,
      `it reads "${ownInput}", which it writes, so computing it again cannot verify it; ` +
        "say with `remaining` which rows are not yet as they should be",
    );
  }
}

function readsColumn(migration: Migration, property: string): boolean {
  const { body } = migration;
  if (body.type === "map") return body.read.includes(property);
  if (body.type !== "set") return false;
  const column = columnOf(migration, property);
  return [...body.set.values()].some((value) => mentionsColumn(value, column));
}

function invalid(name: string, message: string): MigrateError {
  return new MigrateError("DEFINITION_INVALID", `migration "${name}": ${message}`);
}
