// The buffers that are compared. All hold a key, a value and the time at which the item was due.

import { type HandoffBuffer, type KeyedBuffer, createKeyedBuffer, ListBuffer } from "@tidemark/stream";

/** What a benchmark needs to know of a buffer. */
export interface BenchBuffer extends HandoffBuffer {
  readonly count: number;
  add(key: number, value: number, atMs: number): void;
  forEachTime(visit: (atMs: number) => void): void;
}

interface Item {
  readonly key: number;
  readonly value: number;
  readonly atMs: number;
}

/** One object an item. */
export class ObjectBuffer extends ListBuffer<Item> implements BenchBuffer {
  get count(): number {
    return this.items.length;
  }
  add(key: number, value: number, atMs: number): void {
    this.push({ key, value, atMs });
  }
  forEachTime(visit: (atMs: number) => void): void {
    for (const item of this.items) visit(item.atMs);
  }
}

/** One typed array a column, doubled when they are full. */
export class ColumnBuffer implements BenchBuffer {
  #keys = new Int32Array(131_072);
  #values = new Float64Array(131_072);
  #times = new Float64Array(131_072);
  count = 0;
  bytes = 0;

  add(key: number, value: number, atMs: number): void {
    const at = this.count;
    if (at === this.#keys.length) this.#grow();
    this.#keys[at] = key;
    this.#values[at] = value;
    this.#times[at] = atMs;
    this.count = at + 1;
    this.bytes++;
  }

  forEachTime(visit: (atMs: number) => void): void {
    for (let at = 0; at < this.count; at++) visit(this.#times[at] as number);
  }

  clear(): void {
    this.count = 0;
    this.bytes = 0;
  }

  #grow(): void {
    const length = this.#keys.length * 2;
    const keys = new Int32Array(length);
    keys.set(this.#keys);
    this.#keys = keys;
    const values = new Float64Array(length);
    values.set(this.#values);
    this.#values = values;
    const times = new Float64Array(length);
    times.set(this.#times);
    this.#times = times;
  }
}

/** The last item of each key; its time is that of the last one, as the ones before it are superseded. */
export class LastBuffer<K extends number | string> implements BenchBuffer {
  readonly #keyed: KeyedBuffer<K, Item> = createKeyedBuffer();
  readonly #keyOf: (key: number) => K;

  constructor(keyOf: (key: number) => K) {
    this.#keyOf = keyOf;
  }

  get bytes(): number {
    return this.#keyed.bytes;
  }
  get count(): number {
    return this.#keyed.length;
  }
  get duplicates(): number {
    return this.#keyed.duplicates;
  }
  add(key: number, value: number, atMs: number): void {
    this.#keyed.put(this.#keyOf(key), { key, value, atMs });
  }
  forEachTime(visit: (atMs: number) => void): void {
    for (const [, item] of this.#keyed.entries()) if (item !== undefined) visit(item.atMs);
  }
  clear(): void {
    this.#keyed.clear();
  }
}

const names = Array.from({ length: 10_000 }, (_, key) => `objects/${key}`);

export const designs: Readonly<Record<string, () => BenchBuffer>> = {
  list: () => new ObjectBuffer(),
  columns: () => new ColumnBuffer(),
  "keyed, integer": () => new LastBuffer((key) => key),
  "keyed, string": () => new LastBuffer((key) => names[key] as string),
};

export const keyCount = names.length;
