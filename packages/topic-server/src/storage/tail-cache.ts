import type { StoredRecord } from "./record.ts";
import type { StoredGroup } from "./stored-group.ts";

/** What all partitions together may keep of what they wrote last. */
export class TailBudget {
  readonly maxBytes: number;
  bytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }
}

/** The newest records of a partition: who keeps up with the writers is served from here and never asks the disk. */
export class TailCache {
  readonly #budget: TailBudget;
  /** From `#from` on; what is before was evicted. A group goes as a whole, because its memory does. */
  #groups: (StoredGroup | undefined)[] = [];
  #from = 0;

  constructor(budget: TailBudget) {
    this.#budget = budget;
  }

  push(group: StoredGroup): void {
    const budget = this.#budget;
    this.#groups.push(group);
    budget.bytes += group.bytes;
    while (budget.bytes > budget.maxBytes && this.#from < this.#groups.length) this.#evict();
    if (this.#from > 1024 && this.#from * 2 > this.#groups.length) {
      this.#groups = this.#groups.slice(this.#from);
      this.#from = 0;
    }
  }

  /** Records from the one that holds `offset` on, or undefined when that one is not here. At least one, else `maxBytes`. */
  read(offset: number, maxBytes: number): StoredRecord[] | undefined {
    const groups = this.#groups;
    if (this.#from === groups.length || (groups[this.#from] as StoredGroup).baseOffset > offset) return undefined;
    let low = this.#from;
    let high = groups.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((groups[middle] as StoredGroup).baseOffset <= offset) low = middle + 1;
      else high = middle;
    }
    const found: StoredRecord[] = [];
    let bytes = 0;
    for (let at = low - 1; at < groups.length; at++) {
      const group = groups[at] as StoredGroup;
      for (let index = at === low - 1 ? group.indexOf(offset) : 0; index < group.length; index++) {
        bytes += group.bytesOf(index);
        if (bytes > maxBytes && found.length > 0) return found;
        found.push(group.record(index));
      }
    }
    return found;
  }

  clear(): void {
    while (this.#from < this.#groups.length) this.#evict();
    this.#groups = [];
    this.#from = 0;
  }

  #evict(): void {
    this.#budget.bytes -= (this.#groups[this.#from] as StoredGroup).bytes;
    this.#groups[this.#from++] = undefined;
  }
}
