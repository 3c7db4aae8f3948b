import type { ObjectState } from "./decide.ts";

/** An object on its way into the database. */
export interface CachedObject extends ObjectState {
  /** Bytes of its key as long as it has no row. */
  newKey: Buffer | undefined;
  isDirty: boolean;
}

/** What an object takes besides its key, measured. */
const bytesPerObject = 180;

/**
 * The objects of one stream that were touched last, by key (as Latin-1 text, so any bytes). Two generations: when the
 * young one is full, it becomes the old one and what was not touched since is forgotten.
 */
export class ObjectCache {
  readonly #maxYoungBytes: number;
  #youngBytes = 0;
  #young = new Map<string, CachedObject>();
  #old = new Map<string, CachedObject>();
  #isComplete: boolean;

  constructor(options: { readonly maxBytes: number; readonly isComplete: boolean }) {
    this.#maxYoungBytes = options.maxBytes / 2;
    this.#isComplete = options.isComplete;
  }

  /** Every object of the stream is here, so a key that is not found is new. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Whether it is time to {@link forget}. */
  get isCrowded(): boolean {
    return this.#youngBytes >= this.#maxYoungBytes;
  }

  get(key: string): CachedObject | undefined {
    const young = this.#young.get(key);
    // Most of the time there is only the young one, and a search costs the same in an empty map.
    if (young !== undefined || this.#old.size === 0) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, object: CachedObject): void {
    this.#young.set(key, object);
    this.#youngBytes += key.length + bytesPerObject;
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  /** Makes room: drops the older half. Nothing in it may be waiting to be written. */
  forget(): void {
    if (this.#old.size > 0) this.#isComplete = false;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  /** Drops everything. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#youngBytes = 0;
    this.#isComplete = false;
  }
}
