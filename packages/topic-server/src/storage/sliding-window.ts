const buckets = 60;

/** What happened in the last so many milliseconds, exact to a sixtieth of them. */
export class SlidingWindow {
  readonly #bucketMs: number;
  /** Made when something happens. */
  #values: Float64Array | undefined;
  /** The newest bucket, counted from 1970. */
  #newest = 0;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / buckets;
  }

  add(nowMs: number, value: number): void {
    const values = this.#at(nowMs);
    const index = this.#newest % buckets;
    values[index] = (values[index] as number) + value;
  }

  /** Remembers the highest value of each bucket. */
  raise(nowMs: number, value: number): void {
    const values = this.#at(nowMs);
    const index = this.#newest % buckets;
    values[index] = Math.max(values[index] as number, value);
  }

  sum(nowMs: number): number {
    return this.#values === undefined ? 0 : this.#at(nowMs).reduce((sum, value) => sum + value, 0);
  }

  highest(nowMs: number): number {
    return this.#values === undefined ? 0 : Math.max(...this.#at(nowMs));
  }

  /** A clock that goes back finds the newest bucket. */
  #at(nowMs: number): Float64Array {
    const bucket = Math.floor(nowMs / this.#bucketMs);
    const values = (this.#values ??= new Float64Array(buckets));
    if (bucket - this.#newest >= buckets) values.fill(0);
    else for (let each = this.#newest + 1; each <= bucket; each++) values[each % buckets] = 0;
    this.#newest = Math.max(this.#newest, bucket);
    return values;
  }
}
