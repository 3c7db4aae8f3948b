import type { AggregateFunction } from "./aggregate.ts";

/** A row about which nothing is known that could be relied on: it has to be asked for in SQL. */
const odd = 1;
/** A row that was there, with integers or NULLs in the columns that are written. */
const known = 2;

/**
 * What is known of the children of rows whose keys are integers in a window, in a few bytes for each. Only integers that
 * JavaScript has exactly are brought together here; a row with anything else among its children is odd.
 */
export class Tally {
  readonly first: number;
  readonly size: number;
  readonly #uses: readonly AggregateFunction[];
  /** NaN: none. */
  readonly #values: readonly Float64Array[];
  /** What the rows had before; NaN: NULL. */
  readonly #before: readonly Float64Array[];
  readonly #flags: Uint8Array;
  #oddCount = 0;
  #places = new Int32Array(0);

  constructor(uses: readonly AggregateFunction[], first: number, size: number) {
    this.first = first;
    this.size = size;
    this.#uses = uses;
    this.#values = uses.map((use) => new Float64Array(size).fill(use === "count" ? 0 : Number.NaN));
    this.#before = uses.map(() => new Float64Array(size));
    this.#flags = new Uint8Array(size);
  }

  /** Rows that are odd. */
  get oddCount(): number {
    return this.#oddCount;
  }

  has(key: number): boolean {
    return key >= this.first && key < this.first + this.size;
  }

  /** A row of the table itself: its key, and what is in the columns that are written. */
  know(row: readonly unknown[]): void {
    const at = (row[0] as number) - this.first;
    this.#flags[at] = (this.#flags[at] as number) | known;
    for (let index = 0; index < this.#uses.length; index++) {
      const value = row[index + 1];
      if (value === null) (this.#before[index] as Float64Array)[at] = Number.NaN;
      else if (Number.isSafeInteger(value)) (this.#before[index] as Float64Array)[at] = value as number;
      else this.#markOdd(at);
    }
  }

  /**
   * Children: for each the key of its parent, and a list of values for each column, undefined where it is the children that
   * count. False: a key is none that this can compare as the database does.
   */
  add(keys: readonly unknown[], lists: readonly (readonly unknown[] | undefined)[]): boolean {
    const places = this.#placesOf(keys);
    if (places === undefined) return false;
    for (let index = 0; index < this.#uses.length; index++) this.#addTo(index, places, lists[index]);
    return true;
  }

  /** Where the parents are; -1: elsewhere. */
  #placesOf(keys: readonly unknown[]): Int32Array | undefined {
    const { first, size } = this;
    if (this.#places.length < keys.length) this.#places = new Int32Array(keys.length);
    const places = this.#places.subarray(0, keys.length);
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index];
      if (typeof key !== "number" && key !== null) return undefined;
      const at = key === null ? -1 : key - first;
      places[index] = at >= 0 && at < size && Number.isInteger(at) ? at : -1;
    }
    return places;
  }

  #addTo(index: number, places: Int32Array, list: readonly unknown[] | undefined): void {
    const use = this.#uses[index];
    const values = this.#values[index] as Float64Array;
    for (let child = 0; child < places.length; child++) {
      const at = places[child] as number;
      if (at < 0) continue;
      const value = list === undefined ? 1 : list[child];
      if (value === null) continue;
      const now = values[at] as number;
      if (use === "count") values[at] = now + 1;
      else if (typeof value !== "number" || !Number.isSafeInteger(value)) this.#markOdd(at);
      else if (now !== now) values[at] = value;
      else if (use === "max") {
        if (value > now) values[at] = value;
      } else if (use === "min") {
        if (value < now) values[at] = value;
      } else {
        const sum = now + value;
        if (Number.isSafeInteger(sum)) values[at] = sum;
        else this.#markOdd(at);
      }
    }
  }

  /** Whether what is known of a row can be written. */
  isSure(key: number): boolean {
    return this.has(key) && this.#flags[key - this.first] === known;
  }

  /** What the children make of a column; null: nothing. */
  value(index: number, key: number): number | null {
    return nullable((this.#values[index] as Float64Array)[key - this.first] as number);
  }

  /** What the row had in a column. */
  before(index: number, key: number): number | null {
    return nullable((this.#before[index] as Float64Array)[key - this.first] as number);
  }

  #markOdd(at: number): void {
    const flags = this.#flags[at] as number;
    if ((flags & odd) === 0) this.#oddCount++;
    this.#flags[at] = flags | odd;
  }
}

const nullable = (value: number) => (value !== value ? null : value);
