import { createHash } from "node:crypto";
import { type Column, getTableName, is, SQL, sql } from "drizzle-orm";
import type { SqlExecutor, SqlQuery, SqlValue } from "./connection.ts";
import { columnOf, type Migration } from "./definition.ts";
import type { Database } from "./dialect.ts";
import { MigrateError } from "./migrate-error.ts";
import type { RunPass } from "./run-row.ts";
import { mentionsColumn } from "./sql-mentions.ts";
import { slotValue, Template } from "./template.ts";

/** A key as the database gave it. */
export type Key = readonly SqlValue[];

/** Rows behind `after` (undefined: from the start) and not behind `upTo`. */
export interface KeyRange {
  readonly after: Key | undefined;
  readonly upTo: Key;
  /** The row with the key `upTo`, and no other. */
  readonly isSingle?: boolean;
}

/** Where the chunk behind one ends if it has so many rows. */
export interface Ahead extends KeyRange {
  readonly after: Key;
  readonly rows: number;
  /** There are fewer, and the end is the bound. */
  readonly isLast: boolean;
}

/** A column and what is written into it. */
export interface Assignment {
  readonly column: Column;
  readonly value: SQL;
}

/** A definition on a database: the statements of one run, except what the bodies do. */
export class Plan {
  readonly migration: Migration;
  readonly database: Database;
  readonly key: readonly Column[];
  /** For bodies that are told of it: `repair` visits only what is wrong. */
  readonly pass: RunPass;
  readonly #templates = new Map<string, Template>();

  constructor(migration: Migration, database: Database, pass: RunPass) {
    this.migration = migration;
    this.database = database;
    this.pass = pass;
    this.key = migration.key.map((property) => columnOf(migration, property));
  }

  get tableName(): string {
    return getTableName(this.migration.table);
  }

  /**
   * @throws {MigrateError} `KEY_INVALID` when the declared key cannot carry a cursor
   */
  async requireKey(executor?: SqlExecutor): Promise<void> {
    const { dialect, connection } = this.database;
    const names = this.key.map((column) => dialect.nameOf(column));
    const fault = await dialect.faultOfKey(executor ?? connection, this.migration.table, names);
    if (fault !== undefined) throw new MigrateError("KEY_INVALID", `migration "${this.migration.name}": ${fault}`);
  }

  /** The last key there is now; undefined: the table is empty. Rows that come later and behind it are not visited. */
  async lastKey(executor?: SqlExecutor): Promise<Key | undefined> {
    const statement = sql`select ${this.selectedKey} from ${this.table} order by ${this.#order("desc")} limit 1`;
    return (await this.database.execute(statement, executor)).rows[0];
  }

  /** The end of the next `limit` keys; `isLast`: there are fewer, and the end is the bound. */
  async nextRange(
    after: Key | undefined,
    bound: Key,
    limit: number,
    executor?: SqlExecutor,
  ): Promise<KeyRange & { readonly isLast: boolean }> {
    const { dialect, connection } = this.database;
    // Rows are counted off along the index, whatever `where` says of them: a chunk costs the same in sparse regions.
    const query = this.queryOf(
      "next",
      { after, upTo: bound },
      (range, [offset]) => {
        const end = sql`order by ${this.#order("asc")} limit 1 offset ${sql.param(offset)}`;
        if (dialect.countsPastBound !== true) {
          return sql`select ${this.selectedKey} from ${this.table} where ${this.inRange(range)} ${end}`;
        }
        const from = range.after === undefined ? sql.raw("") : sql`where ${dialect.keyAfter(this.key, range.after)}`;
        const isPast = dialect.keyAfter(this.key, range.upTo);
        return sql`select ${this.selectedKey}, ${isPast} from ${this.table} ${from} ${end}`;
      },
      [limit - 1],
    );
    const [found] = (await (executor ?? connection).execute(query)).rows;
    const isPast = dialect.countsPastBound === true && Number(found?.[this.key.length]) !== 0;
    if (found === undefined || isPast) return { after, upTo: bound, isLast: true };
    return { after, upTo: found.slice(0, this.key.length), isLast: false };
  }

  /** The key that is `offset` rows behind the start of a range, as a table of that name to be joined, and its columns. */
  endOf(range: KeyRange, offset: SQL, name: string): { readonly columns: readonly SQL[]; readonly table: SQL } {
    const names = this.key.map((_, index) => sql.identifier(`end_${index}`));
    const { dialect } = this.database;
    const columns = this.key.map((column, index) => sql`${dialect.selectKey(column)} as ${names[index]}`);
    return {
      columns: names.map((column) => sql`${sql.identifier(name)}.${column}`),
      table: sql`(select ${sql.join(columns, sql`, `)} from ${this.table} where ${this.inRange(range)}
        order by ${this.#order("asc")} limit 1 offset ${offset}) ${sql.identifier(name)}`,
    };
  }

  /** Whether the migration is about every row there is. */
  get isOfAllRows(): boolean {
    return this.migration.where === undefined && this.pass === "copy";
  }

  /** How many rows of a range the migration is about. */
  async countIn(range: KeyRange, executor?: SqlExecutor): Promise<number> {
    const statement = sql`select count(*) from ${this.table} where ${this.matching(range)}`;
    return Number((await this.database.execute(statement, executor)).rows[0]?.[0]);
  }

  /** A statement about a range, made once for all ranges. `build` gets slots in place of the range and of the values. */
  queryOf(
    use: string,
    range: KeyRange,
    build: (range: KeyRange, slots: readonly SqlValue[]) => SQL,
    values: readonly unknown[] = [],
  ): SqlQuery {
    const { after, upTo, isSingle } = range;
    const id = `${use} ${isSingle === true ? "single" : after === undefined ? "first" : "next"}`;
    let template = this.#templates.get(id);
    if (template === undefined) {
      const count = this.key.length;
      const slots = (from: number, length: number) => Array.from({ length }, (_, index) => slotValue(from + index));
      const symbolic = {
        after: after === undefined ? undefined : slots(0, count),
        upTo: slots(count, count),
        ...(isSingle === true && { isSingle }),
      };
      template = new Template(this.database.dialect, build(symbolic, slots(2 * count, values.length)));
      this.#templates.set(id, template);
    }
    return template.fill([...(after ?? upTo), ...upTo, ...values]);
  }

  inRange({ after, upTo, isSingle }: KeyRange): SQL {
    const { dialect } = this.database;
    if (isSingle === true) {
      const equal = this.key.map(
        (column, index) => sql`${column} = ${dialect.keyValue(column, sql`${sql.param(upTo[index])}`)}`,
      );
      return sql.join(equal, sql` and `);
    }
    const end = dialect.keyUpTo(this.key, upTo);
    return after === undefined ? end : sql`${dialect.keyAfter(this.key, after)} and ${end}`;
  }

  /** The rows of a range that the migration is about. */
  matching(range: KeyRange): SQL {
    const parts = [this.inRange(range)];
    if (this.migration.where !== undefined) parts.push(sql`(${this.migration.where})`);
    if (this.pass === "repair") {
      const wrong = this.wrongInSql();
      if (wrong !== undefined) parts.push(wrong);
    }
    return sql.join(parts, sql` and `);
  }

  /** The rows that are not as they should be, where SQL alone can tell. */
  wrongInSql(): SQL | undefined {
    const { remaining, body } = this.migration;
    if (remaining !== undefined) return sql`(${remaining})`;
    if (body.type !== "set") return undefined;
    const { dialect } = this.database;
    const same = this.assignments().map(({ column, value }) => dialect.isSame(column, sql`(${value})`));
    return sql`not (${sql.join(same, sql` and `)})`;
  }

  /** The keys of rows in a range that are not as they should be, where SQL alone can tell. */
  wrongQuery(range: KeyRange, limit: number): SqlQuery {
    const { where, remaining } = this.migration;
    return this.queryOf(
      "wrong",
      range,
      (symbolic, [count]) => {
        const wrong = this.wrongInSql();
        // `remaining` speaks for itself; what is computed again is so only for the rows the migration is about.
        const of = remaining === undefined && where !== undefined ? sql`(${where}) and ${wrong}` : wrong;
        return sql`select ${this.selectedKey} from ${this.table}
          where ${this.inRange(symbolic)} and ${of} order by ${this.inKeyOrder()} limit ${sql.param(count)}`;
      },
      [limit],
    );
  }

  /** What a SQL body writes. */
  assignments(): Assignment[] {
    const { body } = this.migration;
    if (body.type !== "set") return [];
    const assignments = [...body.set].map(([property, value]) => {
      const column = columnOf(this.migration, property);
      return { column, value: isSqlValue(value) ? sql`${value}` : sql`${sql.param(value, column)}` };
    });
    return this.database.dialect.assignsInTurn ? this.#readersFirst(assignments) : assignments;
  }

  /** Elsewhere every expression sees the row as it was; here one that reads a column has to come before its assignment. */
  #readersFirst(assignments: readonly Assignment[]): Assignment[] {
    const left = [...assignments];
    const ordered: Assignment[] = [];
    while (left.length > 0) {
      const isRead = (column: Column, by: Assignment) => by.column !== column && mentionsColumn(by.value, column);
      const next = left.findIndex(({ column }) => !left.some((other) => isRead(column, other)));
      if (next < 0) {
        const names = left.map(({ column }) => column.name).join(", ");
        throw new MigrateError(
          "DEFINITION_INVALID",
          `migration "${this.migration.name}": ${names} read each other, and MySQL assigns one after the other; use map`,
        );
      }
      ordered.push(...left.splice(next, 1));
    }
    return ordered;
  }

  get table(): SQL {
    return sql`${this.migration.table}`;
  }

  get selectedKey(): SQL {
    const { dialect } = this.database;
    return sql.join(
      this.key.map((column) => dialect.selectKey(column)),
      sql`, `,
    );
  }

  inKeyOrder(): SQL {
    return this.#order("asc");
  }

  #order(direction: "asc" | "desc"): SQL {
    return sql.join(
      this.key.map((column) => sql`${column} ${sql.raw(direction)}`),
      sql`, `,
    );
  }
}

function isSqlValue(value: unknown): boolean {
  return is(value, SQL) || (typeof value === "object" && value !== null && "getSQL" in value);
}

/** What a definition does, in short: equal hashes do the same to the same rows. */
export function definitionHash(migration: Migration, database: Database): string {
  const { body, version } = migration;
  const plan = new Plan(migration, database, "copy");
  const text = (expression: SQL | undefined) =>
    expression === undefined ? null : database.dialect.toQuery(expression);
  const source = (code: unknown) => (version === undefined ? String(code) : null);
  const described = {
    table: plan.tableName,
    key: migration.key,
    where: text(migration.where),
    version: version ?? null,
    body:
      body.type === "set"
        ? plan.assignments().map(({ column, value }) => [column.name, text(value)])
        : body.type === "map"
          ? [body.read, body.write, source(body.map)]
          : body.type === "effect"
            ? [body.read, source(body.effect)]
            : [source(body.run)],
  };
  const json = JSON.stringify([body.type, described], (_, value: unknown) =>
    typeof value === "bigint" ? `${value}n` : value,
  );
  return createHash("sha256").update(json).digest("hex").slice(0, 32);
}
