import { type Column, getTableName, sql } from "drizzle-orm";
import type { SqlConnection, SqlExecutor, SqlQuery } from "../connection.ts";
import { columnOf } from "../definition.ts";
import type { Dialect } from "../dialect.ts";
import { MigrateError } from "../migrate-error.ts";
import type { Plan } from "../plan.ts";
import { slot, Template } from "../template.ts";
import type { Aggregate } from "./aggregate.ts";
import { Tally } from "./tally.ts";

/** Keys of rows that are kept in memory at a time: some 20 bytes for each, and a column more 16. */
const windowSize = 2 ** 22;
/** Windows that are worth a scan each. */
const maxWindows = 8;
/** More odd rows than this share of a window: what is left to SQL is then most of the work. */
const maxOddShare = 0.05;

/** Row ids that are read at a time, at first and at most. */
const initialStep = 2000;
const maxStep = 262_144;

/** The children cannot be brought together here; SQL can. */
export class Unfit extends Error {
  override readonly name = "Unfit";
}

/**
 * Whether an error says that SQL has to be asked instead: besides those above, a table without row ids, or a value that
 * an expression cannot take, of which SQL has the last word.
 */
export function isUnfit(error: unknown, { classify }: Dialect): boolean {
  return (
    error instanceof Unfit || (MigrateError.is(error) && error.code === "SQL_FAILED") || classify(error) === "poison"
  );
}

/** Is waited for between two slices, with the time that the last one took. */
export type Pause = (tookMs: number) => Promise<void>;

/**
 * Reads the children of a window of rows in the order they lie in, which is many times faster than asking for those of each
 * row, in slices of a few milliseconds.
 */
export class ChildScan {
  readonly #plan: Plan;
  readonly #aggregate: Aggregate;
  readonly #key: Column;
  readonly #written: readonly Column[];
  readonly #slice: Template;
  readonly #tail: Template;
  readonly #rows: Template;
  readonly #monotonic: () => number;
  readonly #sliceMs: number;

  constructor(plan: Plan, aggregate: Aggregate, sliceMs: number, monotonic: () => number) {
    this.#plan = plan;
    this.#aggregate = aggregate;
    this.#sliceMs = sliceMs;
    this.#monotonic = monotonic;
    this.#key = plan.key[0] as Column;
    this.#written = aggregate.columns.map(({ property }) => columnOf(plan.migration, property));
    const { dialect } = plan.database;
    const { child, parentKey, where, columns } = aggregate;
    const selected = sql.join(
      [parentKey, ...columns.map(({ of }) => of ?? sql.raw("1"))].map((each) => sql`${each}`),
      sql`, `,
    );
    const counting = where === undefined ? sql`` : sql` and (${where})`;
    const rowid = sql`${child}.rowid`;
    // One text for each column instead of one array for each child: a third of the time and next to no garbage, whose
    // collection would take processors from those who use the database.
    const lists = sql.join(
      [parentKey, ...columns.flatMap(({ of }) => (of === undefined ? [] : [of]))].map(
        (each) => sql`json_group_array(${each})`,
      ),
      sql`, `,
    );
    this.#slice = new Template(
      dialect,
      sql`select ${lists} from ${child} not indexed where ${rowid} > ${slot(0)} and ${rowid} <= ${slot(1)}${counting}`,
    );
    this.#tail = new Template(
      dialect,
      sql`select ${selected}, ${rowid} from ${child} not indexed where ${rowid} > ${slot(0)}${counting} order by ${rowid} limit ${slot(1)}`,
    );
    const before = sql.join(
      [this.#key, ...this.#written].map((each) => sql`${each}`),
      sql`, `,
    );
    this.#rows = new Template(
      dialect,
      sql`select ${before} from ${plan.table} where ${this.#key} > ${slot(0)} and ${this.#key} <= ${slot(1)}
        order by ${this.#key} limit ${slot(2)}`,
    );
  }

  get uses(): readonly Aggregate["columns"][number]["use"][] {
    return this.#aggregate.columns.map(({ use }) => use);
  }

  get written(): readonly Column[] {
    return this.#written;
  }

  /**
   * All children of the rows from `first` to `last`, or as many of those rows as are kept at a time, with what the rows
   * themselves had before.
   *
   * @throws {Unfit}
   */
  async window(first: number, last: number, connection: SqlConnection, pause: Pause): Promise<Window> {
    const size = Math.min(last - first + 1, windowSize);
    if ((last - first + 1) / windowSize > maxWindows) throw new Unfit("its keys are too far apart");
    const tally = new Tally(this.uses, first, size);
    // The rows first: whoever writes one of them while its children are read is noticed when it is written here.
    await this.#know(tally, connection, pause);
    const [low, high] = await this.#bounds(connection);
    let step = initialStep;
    for (let from = low - 1; from < high; ) {
      const startMs = this.#monotonic();
      const upTo = Math.min(from + step, high);
      const [row] = await numbers(connection, this.#slice.fill([from, upTo]));
      this.#add(
        tally,
        (row as readonly string[]).map((list) => JSON.parse(list) as unknown[]),
      );
      const tookMs = this.#monotonic() - startMs;
      if (tookMs < this.#sliceMs / 2) step = Math.min(step * 2, maxStep);
      else if (tookMs > this.#sliceMs * 2) step = Math.max(Math.floor(step / 2), 100);
      from = upTo;
      if (from < high) await pause(tookMs);
    }
    if (tally.oddCount > size * maxOddShare) throw new Unfit("too many rows have values that are no integers");
    return { tally, upTo: high };
  }

  /** Children that came since; up to `limit` of them, with the row id up to which all are known then. */
  async catchUp(
    { tally, upTo }: Window,
    executor: SqlExecutor,
    limit: number,
  ): Promise<Window & { readonly isAll: boolean }> {
    const rows = await numbers(executor, this.#tail.fill([upTo, limit]));
    const { columns } = this.#aggregate;
    const places = [0, ...columns.flatMap(({ of }, index) => (of === undefined ? [] : [index + 1]))];
    if (rows.length > 0) {
      this.#add(
        tally,
        places.map((place) => rows.map((row) => row[place])),
      );
    }
    const last = rows.at(-1)?.at(-1);
    return { tally, upTo: typeof last === "number" ? last : upTo, isAll: rows.length < limit };
  }

  /** The keys of parents, and the values of each column that has some. */
  #add(tally: Tally, [keys = [], ...values]: readonly (readonly unknown[])[]): void {
    let next = 0;
    const lists = this.#aggregate.columns.map(({ of }) => (of === undefined ? undefined : values[next++]));
    if (!tally.add(keys, lists)) throw new Unfit("a child has a key of another type");
  }

  /** The row id that the children end with now, and the one they begin with. */
  async #bounds(executor: SqlExecutor): Promise<[number, number]> {
    const { child } = this.#aggregate;
    const { dialect } = this.#plan.database;
    // A column of that name stands for something else.
    const shadow = sql`select 1 from pragma_table_info(${getTableName(child)}) where lower(name) = 'rowid'`;
    if ((await numbers(executor, dialect.toQuery(shadow))).length > 0) throw new Unfit("a column is named rowid");
    const end = (use: string) => sql`(select ${sql.raw(use)}(rowid) from ${child})`;
    const [row] = await numbers(executor, dialect.toQuery(sql`select ${end("min")}, ${end("max")}`));
    const [low, high] = row ?? [];
    if (low === null || high === null) return [1, 0];
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high))
      throw new Unfit("its children's row ids are too large");
    return [low as number, high as number];
  }

  async #know(tally: Tally, connection: SqlConnection, pause: Pause): Promise<void> {
    const last = tally.first + tally.size - 1;
    for (let from = tally.first - 1; ; ) {
      const startMs = this.#monotonic();
      const rows = await this.rows(from, last, 2000, connection);
      for (const row of rows) tally.know(row);
      if (rows.length < 2000) return;
      from = rows.at(-1)?.[0] as number;
      await pause(this.#monotonic() - startMs);
    }
  }

  /** Keys behind `after` and not behind `upTo`, with what the rows have in the columns that are written. */
  async rows(
    after: number,
    upTo: number,
    limit: number,
    executor: SqlExecutor,
  ): Promise<readonly (readonly unknown[])[]> {
    return numbers(executor, this.#rows.fill([after, upTo, limit]));
  }
}

/** Children that are known: all up to a row id. */
export interface Window {
  readonly tally: Tally;
  readonly upTo: number;
}

/** Integers come as numbers here; one that would be rounded is no safe integer afterwards either. */
export async function numbers(executor: SqlExecutor, query: SqlQuery): Promise<readonly (readonly unknown[])[]> {
  if (executor.numbers === undefined) throw new Unfit("the driver cannot read them quickly");
  try {
    return await executor.numbers(query);
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ERR_OUT_OF_RANGE")
      throw new Unfit("an integer is beyond 2^53");
    throw error;
  }
}
