import type { HandoffBuffer } from "./handoff-buffer.ts";

/**
 * A buffer that keeps the last operation per key, for committers that want the state and not its history. A put
 * followed by a delete is a delete, and a delete followed by a put is a put (H5).
 */
export declare class KeyedBuffer<K, V extends {} | null> implements HandoffBuffer {
  constructor(sizeOf?: (key: K, value: V | undefined) => number);
  get bytes(): number;
  /** Keys held. */
  get length(): number;
  /** Operations that were replaced by a later one on their key, since the last `clear()` (H11). */
  get duplicates(): number;
  put(key: K, value: V): void;
  delete(key: K): void;
  /** The last operation of each key, in the order in which these happened; undefined: deleted. */
  entries(): IterableIterator<[K, V | undefined]>;
  clear(): void;
}

/** Without `sizeOf` each key counts as one byte, so that `maxBytes` means keys. */
export declare function createKeyedBuffer<K, V extends {} | null>(
  sizeOf?: (key: K, value: V | undefined) => number,
): KeyedBuffer<K, V>;
