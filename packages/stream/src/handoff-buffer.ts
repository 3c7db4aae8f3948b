/** A batch in the making: it collects what the producer writes, then goes to the committer whole, then comes back. */
export interface HandoffBuffer {
  /** What it holds, in bytes of whatever measure bounds the memory. Read on every push, so better a field. */
  readonly bytes: number;
  /** Makes it empty, so that it can be filled again. Called when nobody else has it any more. */
  clear(): void;
}

/** The everyday buffer: items in an array. */
export class ListBuffer<T> implements HandoffBuffer {
  readonly #sizeOf: ((item: T) => number) | undefined;
  /** In order of `push`. */
  readonly items: T[] = [];
  /** Sum of `sizeOf` over the items. */
  bytes = 0;

  constructor(sizeOf?: (item: T) => number) {
    this.#sizeOf = sizeOf;
  }

  /** Adds an item at the end. */
  push(item: T): void {
    this.items.push(item);
    this.bytes += this.#sizeOf === undefined ? 1 : this.#sizeOf(item);
  }

  /** Forgets everything. */
  clear(): void {
    this.items.length = 0;
    this.bytes = 0;
  }
}

/** Creates a buffer of items; without `sizeOf` each counts as one byte, so that `maxBytes` means items. */
export function createListBuffer<T>(sizeOf?: (item: T) => number): ListBuffer<T> {
  return new ListBuffer(sizeOf);
}
