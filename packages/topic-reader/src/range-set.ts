/** Half-open: `start` is in it, `end` is not. topic.proto, OffsetsRange. */
export interface OffsetRange {
  readonly start: number;
  readonly end: number;
}

/** Offsets as sorted, disjoint ranges that do not touch. What is added in order costs a comparison. */
export class RangeSet {
  #ranges: OffsetRange[] = [];

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  get ranges(): readonly OffsetRange[] {
    return this.#ranges;
  }

  add(start: number, end: number): void {
    if (start >= end) return;
    const ranges = this.#ranges;
    let at = ranges.length;
    // Behind everything that ends before the new one begins.
    while (at > 0 && (ranges[at - 1] as OffsetRange).end >= start) at--;
    let to = at;
    let from = start;
    let until = end;
    for (; to < ranges.length && (ranges[to] as OffsetRange).start <= end; to++) {
      const { start: first, end: last } = ranges[to] as OffsetRange;
      from = Math.min(from, first);
      until = Math.max(until, last);
    }
    ranges.splice(at, to - at, { start: from, end: until });
  }

  /** Adds what of the range is in none of the others. */
  addMissing(start: number, end: number, others: RangeSet): void {
    let from = start;
    for (const other of others.#ranges) {
      if (other.end <= from) continue;
      if (other.start >= end) break;
      this.add(from, other.start);
      from = other.end;
    }
    this.add(from, end);
  }

  /** Forgets everything below the offset. */
  dropBelow(offset: number): void {
    const ranges = this.#ranges;
    let gone = 0;
    while (gone < ranges.length && (ranges[gone] as OffsetRange).end <= offset) gone++;
    if (gone > 0) ranges.splice(0, gone);
    const first = ranges[0];
    if (first !== undefined && first.start < offset) ranges[0] = { start: offset, end: first.end };
  }

  /** Everything in it; it is empty then. */
  takeAll(): OffsetRange[] {
    const taken = this.#ranges;
    this.#ranges = [];
    return taken;
  }
}
