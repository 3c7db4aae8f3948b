import type { StoredRecord } from "./record.ts";

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
  /** From `#from` on; what is before was evicted. */
  #records: (StoredRecord | undefined)[] = [];
  #from = 0;

  constructor(budget: TailBudget) {
    this.#budget = budget;
  }

  push(record: StoredRecord): void {
    const budget = this.#budget;
    this.#records.push(record);
    budget.bytes += record.storedBytes;
    while (budget.bytes > budget.maxBytes && this.#from < this.#records.length) this.#evict();
    if (this.#from > 1024 && this.#from * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#from);
      this.#from = 0;
    }
  }

  /** Records from the one that holds `offset` on, or undefined when that one is not here. At least one, else `maxBytes`. */
  read(offset: number, maxBytes: number): StoredRecord[] | undefined {
    const records = this.#records;
    if (this.#from === records.length || (records[this.#from] as StoredRecord).baseOffset > offset) return undefined;
    let low = this.#from;
    let high = records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((records[middle] as StoredRecord).baseOffset <= offset) low = middle + 1;
      else high = middle;
    }
    const found: StoredRecord[] = [];
    let bytes = 0;
    for (let index = low - 1; index < records.length; index++) {
      const record = records[index] as StoredRecord;
      bytes += record.storedBytes;
      if (bytes > maxBytes && found.length > 0) break;
      found.push(record);
    }
    return found;
  }

  clear(): void {
    while (this.#from < this.#records.length) this.#evict();
    this.#records = [];
    this.#from = 0;
  }

  #evict(): void {
    this.#budget.bytes -= (this.#records[this.#from] as StoredRecord).storedBytes;
    this.#records[this.#from++] = undefined;
  }
}
