const buckets = 60;

/** What happened in the last so many milliseconds, exact to a sixtieth of them. */
export class SlidingWindow {
  readonly #bucketMs: number;
  /** Made when something happens. */
  #values: Float64Array | undefined;
  /** The newest bucket, counted from 1970, where it is in `#values`, and when the next one begins. */
  #newest = 0;
  #slot = 0;
  #untilMs = 0;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / buckets;
  }

  add(nowMs: number, value: number): void {
    const values = this.#at(nowMs);
    values[this.#slot] = (values[this.#slot] as number) + value;
  }

  /** Remembers the highest value of each bucket. */
  raise(nowMs: number, value: number): void {
    const values = this.#at(nowMs);
    if (value > (values[this.#slot] as number)) values[this.#slot] = value;
  }

  sum(nowMs: number): number {
    return this.#values === undefined ? 0 : this.#at(nowMs).reduce((sum, value) => sum + value, 0);
  }

  highest(nowMs: number): number {
    return this.#values === undefined ? 0 : Math.max(...this.#at(nowMs));
  }

  /** A clock that goes back finds the newest bucket. */
  #at(nowMs: number): Float64Array {
    const values = (this.#values ??= new Float64Array(buckets));
    if (nowMs < this.#untilMs) return values;
    const bucket = Math.floor(nowMs / this.#bucketMs);
    if (bucket - this.#newest >= buckets) values.fill(0);
    else for (let each = this.#newest + 1; each <= bucket; each++) values[each % buckets] = 0;
    this.#newest = bucket;
    this.#slot = bucket % buckets;
    this.#untilMs = (bucket + 1) * this.#bucketMs;
    return values;
  }
}
