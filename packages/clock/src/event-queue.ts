/** One event of the simulation: due at `dueMs`, and among events due together in the order of `rank`. */
export interface Queued {
  readonly dueMs: number;
  /** Drawn from the seed. */
  readonly rank: number;
  /** Separates equal ranks, and names the event in traces. */
  readonly id: number;
  isCancelled: boolean;
}

function isBefore(a: Queued, b: Queued): boolean {
  if (a.dueMs !== b.dueMs) return a.dueMs < b.dueMs;
  return a.rank !== b.rank ? a.rank < b.rank : a.id < b.id;
}

/** A binary heap, earliest first. Cancelled events stay until they surface or outnumber the others. */
export class EventQueue<T extends Queued> {
  #heap: T[] = [];
  #cancelled = 0;

  push(item: T): void {
    this.#heap.push(item);
    this.#up(this.#heap.length - 1);
  }

  cancel(item: T): void {
    item.isCancelled = true;
    this.#cancelled++;
    if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) {
      this.#heap = this.#heap.filter((each) => !each.isCancelled);
      this.#cancelled = 0;
      for (let index = (this.#heap.length >> 1) - 1; index >= 0; index--) this.#down(index);
    }
  }

  /** The next event, left in place. */
  peek(): T | undefined {
    while (this.#heap[0]?.isCancelled) {
      this.#pop();
      this.#cancelled--;
    }
    return this.#heap[0];
  }

  /** Takes what `peek` showed. */
  shift(): T | undefined {
    return this.peek() === undefined ? undefined : this.#pop();
  }

  /** What is still to come, in order. */
  pending(): T[] {
    return this.#heap.filter((item) => !item.isCancelled).sort((a, b) => (isBefore(a, b) ? -1 : 1));
  }

  #pop(): T | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (last !== undefined && this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#down(0);
    }
    return first;
  }

  #up(start: number): void {
    const heap = this.#heap;
    const item = heap[start] as T;
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(item, heap[parent] as T)) break;
      heap[index] = heap[parent] as T;
      index = parent;
    }
    heap[index] = item;
  }

  #down(start: number): void {
    const heap = this.#heap;
    const item = heap[start] as T;
    let index = start;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as T, heap[child] as T)) child++;
      if (!isBefore(heap[child] as T, item)) break;
      heap[index] = heap[child] as T;
      index = child;
    }
    heap[index] = item;
  }
}
