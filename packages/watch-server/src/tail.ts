import { contains, isWhole, type Span } from "./key-range.ts";
import type { Transaction } from "./store-types.ts";

/** Transactions after a position, and how far they reach: everything of the span up to `through` is contained. */
export interface LogBatch {
  readonly transactions: readonly Transaction[];
  readonly through: number;
}

interface Entry {
  readonly revision: number;
  readonly bytes: number;
  readonly transaction: Transaction;
}

/** What an entry takes besides its keys and values, roughly. */
const entryBytes = 128;

/**
 * The newest transactions, in memory, so that watchers who are up to date do not each read the same rows from disk. Only a
 * shortcut: who is further behind reads the log, and what is here is in the log already.
 */
export class Tail {
  readonly #maxBytes: number;
  #entries: (Entry | undefined)[] = [];
  /** Entries before this one are evicted; their places are cut off now and then. */
  #first = 0;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(revision: number, transaction: Transaction): void {
    let bytes = entryBytes;
    for (const change of transaction.changes) bytes += change.key.length + (change.value?.length ?? 0);
    this.#entries.push({ revision, bytes, transaction });
    this.#bytes += bytes;
    while (this.#bytes > this.#maxBytes && this.#first < this.#entries.length) {
      this.#bytes -= (this.#entries[this.#first] as Entry).bytes;
      this.#entries[this.#first++] = undefined;
    }
    if (this.#first > 1024 && this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Undefined: the tail begins later. */
  read(after: number, span: Span, maxBytes: number): LogBatch | undefined {
    const oldest = this.#entries[this.#first];
    if (oldest === undefined || after + 1 < oldest.revision) return undefined;
    const transactions: Transaction[] = [];
    const isEverything = isWhole(span);
    let bytes = 0;
    let through = after;
    // Revisions are dense, so a revision says where its entry is.
    for (let at = this.#first + (after + 1 - oldest.revision); at < this.#entries.length && bytes < maxBytes; at++) {
      const entry = this.#entries[at] as Entry;
      const transaction = isEverything ? entry.transaction : narrow(entry.transaction, span);
      if (transaction !== undefined) {
        transactions.push(transaction);
        bytes += entry.bytes;
      }
      through = entry.revision;
    }
    return { transactions, through };
  }
}

function narrow(transaction: Transaction, span: Span): Transaction | undefined {
  const { changes } = transaction;
  const inside = changes.filter((change) => contains(span, change.key));
  if (inside.length === changes.length) return transaction;
  return inside.length === 0 ? undefined : { ...transaction, changes: inside };
}
