import type Database from "better-sqlite3";
import { StoreWatchError } from "../errors.ts";

// The writer's hot path goes around drizzle: a prepared statement through it runs at two thirds of the speed, and what
// counts here is one call for 64 rows.
//
// Rows get their id from SQLite (the greatest plus one) and are inserted OR FAIL: this is the one combination for which
// SQLite keeps no statement journal, that is no copy of every page that a multi-row insert touches. A failure part way
// is no danger, because every error ends in a rollback.

//
// Binding a value costs more than storing it. So a column that has one value in all 64 rows, or counts up from row to row,
// is bound once: which columns do so is looked up each time, and there is a statement for every combination that occurs.

const rowsAtOnce = 64;
const rowsInBetween = 8;
/** Combinations have a number each, in base 3, with these digits. */
const forms = { own: 0, same: 1, counting: 2 } as const;
/** So many are kept prepared; real data has about five. */
const maxCombinations = 24;

/** Collects rows for one table and inserts them 64 at a time. */
export class RowWriter {
  /** Write the next row's values here, from the index that `next()` returned on. */
  readonly values: unknown[];
  readonly #columns: number;
  readonly #prepare: (rows: number, formOf: (column: number) => number) => Database.Statement;
  readonly #combinations = new Map<number, Database.Statement>();
  /** The columns of one insert that have a value per row, and these values. */
  readonly #own: number[] = [];
  readonly #args: unknown[] = [];
  readonly #some: Database.Statement;
  readonly #one: Database.Statement;
  readonly #table: string;
  #shared: Record<string, unknown> = {};
  #rows = 0;
  #lastId: number;

  /**
   * `columns` have a value per row, `shared` one for many rows; `counter`, if there is one, counts up by one per row from
   * the shared value of that name.
   */
  constructor(
    db: Database.Database,
    options: {
      readonly table: string;
      readonly columns: readonly string[];
      readonly shared: readonly string[];
      readonly counter?: string;
      readonly lastId: number;
    },
  ) {
    const { table, columns, shared, counter } = options;
    const names = [...columns, ...shared, ...(counter === undefined ? [] : [counter])].join(", ");
    this.#prepare = (rows, formOf) => {
      const tuples = Array.from({ length: rows }, (_, row) => {
        const own = columns.map((_, column) => {
          const form = formOf(column);
          return form === forms.own ? "?" : form === forms.same ? `:once${column}` : `:once${column} + ${row}`;
        });
        const common = shared.map((name) => `:${name}`);
        return `(${[...own, ...common, ...(counter === undefined ? [] : [`:${counter} + ${row}`])].join(", ")})`;
      });
      return db.prepare(`INSERT OR FAIL INTO ${table} (${names}) VALUES ${tuples.join(", ")}`);
    };
    this.#table = table;
    this.#columns = columns.length;
    this.#some = this.#prepare(rowsInBetween, () => forms.own);
    this.#one = this.#prepare(1, () => forms.own);
    this.#counter = counter;
    this.#lastId = options.lastId;
    this.values = Array.from({ length: rowsAtOnce * columns.length }, () => null);
  }

  readonly #counter: string | undefined;

  /** The id of the row inserted or collected last. */
  get lastId(): number {
    return this.#lastId + this.#rows;
  }

  /** Collected rows that are not in the table yet. */
  get pending(): number {
    return this.#rows;
  }

  /** Sets the shared values for the rows from here on. The object is kept: its counter moves. */
  share(shared: Record<string, unknown>): void {
    this.flush();
    this.#shared = shared;
  }

  /** Where in {@link values} the next row goes. It counts as written. */
  next(): number {
    if (this.#rows === rowsAtOnce) this.flush();
    return this.#rows++ * this.#columns;
  }

  /** Inserts what is collected. */
  flush(): void {
    const rows = this.#rows;
    if (rows === 0) return;
    this.#rows = 0;
    if (rows === rowsAtOnce) {
      this.#insertMany();
      return;
    }
    let row = 0;
    for (; row + rowsInBetween <= rows; row += rowsInBetween) {
      const from = row * this.#columns;
      this.#insert(this.#some, this.values.slice(from, from + rowsInBetween * this.#columns), rowsInBetween);
    }
    for (; row < rows; row++) {
      const from = row * this.#columns;
      this.#insert(this.#one, this.values.slice(from, from + this.#columns), 1);
    }
  }

  /** Forgets what is collected and goes on from another last id: after a rollback. */
  reset(lastId: number): void {
    this.#rows = 0;
    this.#lastId = lastId;
  }

  #insertMany(): void {
    const { values } = this;
    const columns = this.#columns;
    const own = this.#own;
    const args = this.#args;
    own.length = 0;
    args.length = 0;
    let combination = 0;
    for (let column = 0; column < columns; column++) {
      const form = formOf(values, column, columns);
      combination = combination * 3 + form;
      if (form === forms.own) own.push(column);
      else this.#shared[`once${column}`] = values[column];
    }
    let statement = this.#combinations.get(combination);
    if (statement === undefined) {
      if (this.#combinations.size === maxCombinations) this.#combinations.clear();
      statement = this.#prepare(rowsAtOnce, (column) => formOf(values, column, columns));
      this.#combinations.set(combination, statement);
    }
    for (let at = 0; at < values.length; at += columns) {
      for (let index = 0; index < own.length; index++) args.push(values[at + (own[index] as number)]);
    }
    this.#insert(statement, args, rowsAtOnce);
  }

  #insert(statement: Database.Statement, values: unknown[], rows: number): void {
    const { lastInsertRowid } = statement.run(...values, this.#shared);
    this.#lastId += rows;
    if (this.#counter !== undefined) (this.#shared[this.#counter] as number) += rows;
    if (lastInsertRowid !== this.#lastId) {
      throw new StoreWatchError(
        "INTERNAL",
        `row ${this.#lastId} of ${this.#table} became ${lastInsertRowid}: something else writes this database`,
      );
    }
  }
}

/** What a column of collected rows looks like. */
function formOf(values: readonly unknown[], column: number, columns: number): number {
  const first = values[column];
  let at = column + columns;
  if (values[at] === first) {
    while (at < values.length && values[at] === first) at += columns;
    return at >= values.length ? forms.same : forms.own;
  }
  if (typeof first !== "number" || values[at] !== first + 1) return forms.own;
  for (let row = 1; at < values.length; row++, at += columns) if (values[at] !== first + row) return forms.own;
  return forms.counting;
}
