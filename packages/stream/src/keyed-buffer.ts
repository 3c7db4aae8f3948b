import type { HandoffBuffer } from "./handoff-buffer.ts";

/**
 * A buffer that keeps the last operation per key, for committers that want the state and not its history. A put
 * followed by a delete is a delete, and a delete followed by a put is a put (H5).
 */
export class KeyedBuffer<K, V extends {} | null> implements HandoffBuffer {
  readonly #sizeOf: ((key: K, value: V | undefined) => number) | undefined;
  readonly #last = new Map<K, V | undefined>();
  #duplicates = 0;
  /** Sum of `sizeOf` over the keys held. */
  bytes = 0;

  constructor(sizeOf?: (key: K, value: V | undefined) => number) {
    this.#sizeOf = sizeOf;
  }

  /** Keys held. */
  get length(): number {
    return this.#last.size;
  }

  /** Operations that were replaced by a later one on their key, since the last `clear()` (H11). */
  get duplicates(): number {
    return this.#duplicates;
  }

  /** The key has this value now. */
  put(key: K, value: V): void {
    this.#set(key, value);
  }

  /** The key is gone now. */
  delete(key: K): void {
    this.#set(key, undefined);
  }

  /** The last operation of each key, in the order in which these happened; undefined: deleted. */
  entries(): IterableIterator<[K, V | undefined]> {
    return this.#last.entries();
  }

  /** Forgets everything. */
  clear(): void {
    this.#last.clear();
    this.#duplicates = 0;
    this.bytes = 0;
  }

  #set(key: K, value: V | undefined): void {
    const before = this.#sizeOf === undefined ? undefined : this.#last.get(key);
    // Taken out first: it belongs behind what happened since, or a rename could meet its own past in a unique index.
    if (this.#last.delete(key)) {
      this.#duplicates++;
      this.bytes -= this.#sizeOf === undefined ? 1 : this.#sizeOf(key, before);
    }
    this.#last.set(key, value);
    this.bytes += this.#sizeOf === undefined ? 1 : this.#sizeOf(key, value);
  }
}

/** Without `sizeOf` each key counts as one byte, so that `maxBytes` means keys. */
export function createKeyedBuffer<K, V extends {} | null>(
  sizeOf?: (key: K, value: V | undefined) => number,
): KeyedBuffer<K, V> {
  return new KeyedBuffer(sizeOf);
}
