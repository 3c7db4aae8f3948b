import type { Epoch } from "../contract.ts";
import { sortableInteger } from "../cursor.ts";

/** One write. Undefined as a value deletes the key. */
export interface StoreOperation {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** What one operation did, for ever. */
export interface StoreChange extends StoreOperation {
  /** The key as hexadecimal digits, to compare and to use in maps. */
  readonly id: string;
  /** Unique per key and epoch, and growing. */
  readonly version: string;
}

/** One transaction as it was accepted. */
export interface StoreTransaction {
  readonly epoch: Epoch;
  /** Grows by one with every transaction of an epoch. */
  readonly revision: bigint;
  readonly changes: readonly StoreChange[];
}

/** Hexadecimal digits of a key: equal keys give equal text. */
export function keyId(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("hex");
}

/**
 * A watched store in memory that remembers everything that was ever done to it, so that it can be the oracle of a test:
 * revisions, transactions of several keys, deletions, compaction, and replacement by another history (a new epoch).
 */
export class ReferenceStore {
  readonly #lives: StoreTransaction[][] = [];
  readonly #listeners = new Set<() => void>();
  readonly #now = new Map<string, StoreChange>();
  readonly #newEpoch: () => Epoch;
  #epoch: Epoch;
  #compacted = 0n;

  /** @param newEpoch names the history that begins; never the same name twice. */
  constructor(newEpoch: () => Epoch) {
    this.#newEpoch = newEpoch;
    this.#epoch = newEpoch();
    this.#lives.push([]);
  }

  /** The history that its revisions belong to now. */
  get epoch(): Epoch {
    return this.#epoch;
  }

  /** The last revision; 0 in a new epoch. */
  get revision(): bigint {
    return BigInt(this.#log.length);
  }

  /** Revisions up to here, inclusive, can no longer be read one by one. */
  get compactedRevision(): bigint {
    return this.#compacted;
  }

  get #log(): StoreTransaction[] {
    return this.#lives.at(-1) as StoreTransaction[];
  }

  /** One write in a transaction of its own; returns the revision afterwards. */
  put(key: Uint8Array, value: Uint8Array): bigint {
    return this.transact([{ key, value }]);
  }

  /** One deletion in a transaction of its own; returns the revision afterwards. */
  delete(key: Uint8Array): bigint {
    return this.transact([{ key, value: undefined }]);
  }

  /**
   * Does all operations at once and in order; a key may occur several times. Deleting what is not there does nothing, and
   * a transaction that does nothing makes no revision. Returns the revision afterwards.
   */
  transact(operations: readonly StoreOperation[]): bigint {
    const revision = this.revision + 1n;
    const changes: StoreChange[] = [];
    for (const { key, value } of operations) {
      const id = keyId(key);
      if (value === undefined && !this.#now.has(id)) continue;
      const version = versionOf(revision, changes.length);
      const change = { id, key: key.slice(), value: value?.slice(), version };
      changes.push(change);
      if (value === undefined) this.#now.delete(id);
      else this.#now.set(id, change);
    }
    if (changes.length === 0) return this.revision;
    this.#log.push({ epoch: this.#epoch, revision, changes });
    this.#wake();
    return revision;
  }

  /** Forgets single revisions up to and including this one. The state stays. */
  compact(revision: bigint): void {
    if (revision > this.revision) throw new RangeError(`cannot compact to ${revision}: the last is ${this.revision}`);
    if (revision > this.#compacted) this.#compacted = revision;
  }

  /** Everything is gone and revisions start again: what losing the data directory does. */
  wipe(): void {
    this.#begin([]);
  }

  /** The state of an earlier revision under a new epoch, as a restored backup: revisions go on from there. */
  restore(revision: bigint): void {
    if (revision > this.revision) throw new RangeError(`cannot restore ${revision}: the last is ${this.revision}`);
    this.#begin(this.#log.slice(0, Number(revision)));
  }

  /** One transaction of the current epoch; undefined where it is compacted or still to come. */
  at(revision: bigint): StoreTransaction | undefined {
    return revision > this.#compacted ? this.#log[Number(revision) - 1] : undefined;
  }

  /** The live keys now, in key order. */
  state(): readonly StoreChange[] {
    return [...this.#now.values()].sort(byKey);
  }

  /** The live keys after a revision of the current epoch, whatever was compacted. */
  stateAt(revision: bigint): readonly StoreChange[] {
    const state = new Map<string, StoreChange>();
    for (const transaction of this.#log.slice(0, Number(revision))) apply(state, transaction);
    return [...state.values()].sort(byKey);
  }

  /**
   * Everything that was ever accepted in an epoch, in order, whatever was compacted. A restored epoch starts with the
   * transactions that were restored.
   */
  history(epoch: Epoch = this.#epoch): readonly StoreTransaction[] {
    return this.#lives.find((life) => life[0]?.epoch === epoch) ?? [];
  }

  /** Calls back after every transaction, wipe and restore. Returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #begin(transactions: readonly StoreTransaction[]): void {
    this.#epoch = this.#newEpoch();
    this.#compacted = BigInt(transactions.length);
    this.#lives.push(transactions.map((transaction) => ({ ...transaction, epoch: this.#epoch })));
    this.#now.clear();
    for (const transaction of transactions) apply(this.#now, transaction);
    this.#wake();
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Revision and place within the transaction, so that a key that occurs twice has two versions. */
function versionOf(revision: bigint, index: number): string {
  return `${sortableInteger(revision)}.${sortableInteger(index)}`;
}

function apply(state: Map<string, StoreChange>, { changes }: StoreTransaction): void {
  for (const change of changes) {
    if (change.value === undefined) state.delete(change.id);
    else state.set(change.id, change);
  }
}

function byKey(a: StoreChange, b: StoreChange): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** What `createReferenceStore` may be given. */
export interface ReferenceStoreOptions {
  /**
   * Names the epochs.
   * @default "epoch-1", "epoch-2", …
   */
  readonly newEpoch?: () => Epoch;
}

/** Creates an empty {@link ReferenceStore}. */
export function createReferenceStore(options: ReferenceStoreOptions = {}): ReferenceStore {
  let epochs = 0;
  return new ReferenceStore(options.newEpoch ?? (() => `epoch-${++epochs}`));
}
