/** One entry about every so many bytes: what lies between two is found by reading on. */
const stepBytes = 128 * 1024;

/** Where in a segment an offset or a time is, roughly: never after it. */
export class SparseIndex {
  /** Triples: offset, position, and the latest time so far, which never decreases, whatever the clock did. */
  #entries: number[];
  /** Of all records, also of those that have no entry. */
  #latestMs: number;

  constructor(entries: number[] = []) {
    this.#entries = entries;
    this.#latestMs = entries.at(-1) ?? Number.NEGATIVE_INFINITY;
  }

  /** Call for every record, in order. */
  add(offset: number, position: number, timeMs: number): void {
    const entries = this.#entries;
    const length = entries.length;
    if (timeMs > this.#latestMs) this.#latestMs = timeMs;
    if (length > 0 && position - (entries[length - 2] as number) < stepBytes) return;
    entries.push(offset, position, this.#latestMs);
  }

  positionOfOffset(offset: number): number {
    return this.#positionWhere(0, offset, true);
  }

  /** Everything before it was written before `timeMs`. */
  positionOfTime(timeMs: number): number {
    return this.#positionWhere(2, timeMs, false);
  }

  encode(): Uint8Array {
    return new Uint8Array(Float64Array.from(this.#entries).buffer);
  }

  static decode(bytes: Uint8Array): SparseIndex {
    return new SparseIndex([...new Float64Array(bytes.slice().buffer)]);
  }

  #positionWhere(column: number, value: number, orEqual: boolean): number {
    const entries = this.#entries;
    let low = 0;
    let high = entries.length / 3;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const found = entries[middle * 3 + column] as number;
      if (found < value || (orEqual && found === value)) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : (entries[(low - 1) * 3 + 1] as number);
  }
}
