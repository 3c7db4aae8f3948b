/** A batch in the making: it collects what the producer writes, then goes to the committer whole, then comes back. */
export interface HandoffBuffer {
  /** What it holds, in bytes of whatever measure bounds the memory. Read on every push, so better a field. */
  readonly bytes: number;
  /** Makes it empty, so that it can be filled again. Called when nobody else has it any more. */
  clear(): void;
}

/** The everyday buffer: items in an array. */
export declare class ListBuffer<T> implements HandoffBuffer {
  constructor(sizeOf?: (item: T) => number);
  /** In order of `push`. The committer may do with it what it likes. */
  readonly items: T[];
  get bytes(): number;
  push(item: T): void;
  clear(): void;
}

/** Creates a buffer of items; without `sizeOf` each counts as one byte, so that `maxBytes` means items. */
export declare function createListBuffer<T>(sizeOf?: (item: T) => number): ListBuffer<T>;
