import type { SqlExecutor } from "./connection.ts";
import type { Key, KeyRange, Plan } from "./plan.ts";

/** How much of the whole numbers up to the bound have to be keys: ranges are at most by that much too small. */
const minDensity = 0.8;

/**
 * Where the keys are whole numbers, a range of so many numbers has at most as many rows. Where nearly each of them is a key,
 * it has about as many, and its end need not be looked for, which is as much work as reading all its keys.
 */
export class Stride {
  /** In front of the first key. */
  readonly #start: bigint;
  readonly #bound: bigint;

  private constructor(start: bigint, bound: bigint) {
    this.#start = start;
    this.#bound = bound;
  }

  /** `rows`: how many there are up to the bound, at least. Undefined: the end of a range has to be looked for. */
  static async of(plan: Plan, bound: Key, rows: number, executor?: SqlExecutor): Promise<Stride | undefined> {
    const { dialect, connection } = plan.database;
    const [column, ...others] = plan.key;
    const [last] = bound;
    if (dialect.isRowNumber === undefined || column === undefined || others.length > 0) return undefined;
    if (typeof last !== "bigint") return undefined;
    const name = dialect.nameOf(column);
    if (!(await dialect.isRowNumber(executor ?? connection, plan.migration.table, name))) return undefined;
    const { upTo } = await plan.nextRange(undefined, bound, 1, executor);
    const [first] = upTo;
    if (typeof first !== "bigint" || first > last) return undefined;
    return Number(last - first + 1n) * minDensity <= rows ? new Stride(first - 1n, last) : undefined;
  }

  /** The range behind `after` of as many numbers. */
  next(after: Key | undefined, limit: number): KeyRange & { readonly isLast: boolean } {
    const from = after === undefined ? this.#start : (after[0] as bigint);
    const end = from + BigInt(limit);
    return end < this.#bound ? { after, upTo: [end], isLast: false } : { after, upTo: [this.#bound], isLast: true };
  }
}
