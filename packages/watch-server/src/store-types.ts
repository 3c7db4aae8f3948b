import type { Bytes } from "./bytes.ts";
import type { KeyRange } from "./key-range.ts";

/** A key's value and where it stands in the store's history. */
export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Revision of the last change of this key. */
  readonly modRevision: bigint;
  /** Revision that created it. */
  readonly createRevision: bigint;
  /** Number of changes since its creation; 1 for a new key. */
  readonly version: bigint;
}

/** What one transaction did to one key. Watches share the bytes: do not change them. */
export interface Change {
  readonly key: Uint8Array;
  /** Undefined: deleted. */
  readonly value: Uint8Array | undefined;
}

/** One committed transaction, as watchers see it. */
export interface Transaction {
  readonly revision: bigint;
  /** Where a watch goes on after this transaction. */
  readonly marker: string;
  /** The store's clock, in milliseconds since the Unix epoch; never goes back within a store. */
  readonly committedAtMs: number;
  readonly changes: readonly Change[];
}

export interface CallOptions {
  /** Ends the wait with `signal.reason`. A write that was on its way may happen all the same. */
  readonly signal?: AbortSignal | undefined;
}

export interface PutResult {
  readonly revision: bigint;
}

export interface DeleteResult {
  /** The store's current one where there was nothing to delete. */
  readonly revision: bigint;
  readonly existed: boolean;
}

export interface CompareAndPutResult {
  readonly succeeded: boolean;
  /** Of the put; the store's current one when it did not succeed. */
  readonly revision: bigint;
  /** What is there instead, when it did not succeed and the key exists. */
  readonly actual: KeyValue | undefined;
}

export interface GetResult {
  readonly kv: KeyValue | undefined;
  /** The store's revision at which this was the answer. */
  readonly revision: bigint;
}

export interface ListOptions extends CallOptions {
  /** @default everything */
  readonly range?: KeyRange | undefined;
  /** Most keys of one page, in [1, 10_000]. @default 1000 */
  readonly limit?: number | undefined;
  /** Last key of the page before. */
  readonly after?: Bytes | undefined;
  /** The state at this revision. Later pages of one listing name the revision of the first. @default now */
  readonly revision?: bigint | undefined;
}

export interface ListResult {
  /** In key order. A page also ends once it has 4 MiB. */
  readonly kvs: readonly KeyValue[];
  readonly hasMore: boolean;
  readonly revision: bigint;
}

/** Holds when the key's last change was at that revision; 0n: when there is no such key. */
export interface Compare {
  readonly key: Bytes;
  readonly expectedModRevision: bigint;
}

export type Op =
  | { readonly type: "put"; readonly key: Bytes; readonly value: Bytes }
  | { readonly type: "delete"; readonly key: Bytes };

export interface TxnRequest {
  /** All must hold, else nothing happens. */
  readonly compares?: readonly Compare[];
  /** Happen at one revision. No key twice. */
  readonly ops: readonly Op[];
}

export interface TxnResult {
  readonly succeeded: boolean;
  /** The transaction's; the store's current one when nothing changed. */
  readonly revision: bigint;
}

/** How much a store has now, whatever it remembers of earlier states. */
export interface StoreSize {
  readonly keys: number;
  /** Of all keys and their values. */
  readonly bytes: number;
}

export interface StoreStatus {
  /** Names the data: new when it was wiped. */
  readonly storeId: string;
  /** Names this run of the store: new whenever it is opened. */
  readonly incarnation: string;
  readonly revision: bigint;
  /** A watch from here sees everything after this answer. */
  readonly marker: string;
  /** The oldest revision whose state can be read. */
  readonly floor: bigint;
  /** A watch from here sees everything that the store still has. */
  readonly oldestMarker: string;
}

/**
 * A key-value store, in this process ({@link Store}) or behind an address ({@link StoreClient}). Everything throws
 * `StoreError`; what every call may throw is `ARGUMENT_INVALID`, `TOO_LARGE`, `CLOSED`, `STORE_FAILED` and, from afar,
 * `UNAVAILABLE` and `REMOTE`.
 */
export interface KeyValueStore {
  /** Resolves once the value is on disk. @throws StoreError `OVERLOADED` when too many writes are waiting. */
  put(key: Bytes, value: Bytes, options?: CallOptions): Promise<PutResult>;
  /** Resolves once the deletion is on disk. @throws StoreError `OVERLOADED` */
  delete(key: Bytes, options?: CallOptions): Promise<DeleteResult>;
  /** Puts only if the key's last change was at `expectedModRevision`; 0n: only if there is no such key. */
  compareAndPut(
    key: Bytes,
    value: Bytes,
    expectedModRevision: bigint,
    options?: CallOptions,
  ): Promise<CompareAndPutResult>;
  get(key: Bytes, options?: CallOptions): Promise<GetResult>;
  /** One page. @throws StoreError `TOO_OLD` when `options.revision` was compacted away. */
  list(options?: ListOptions): Promise<ListResult>;
  /** All operations or none. @throws StoreError `OVERLOADED` */
  txn(request: TxnRequest, options?: CallOptions): Promise<TxnResult>;
  /** Drops states before `revision` for good. Watchers behind it get `TOO_OLD`. Returns the floor, which may be higher. */
  compact(revision: bigint, options?: CallOptions): Promise<{ readonly floor: bigint }>;
  status(options?: CallOptions): Promise<StoreStatus>;
}

export interface WatchOptions extends CallOptions {
  /** @default everything */
  readonly range?: KeyRange | undefined;
  /** Everything after this marker. Undefined or empty: the whole state first. */
  readonly resumeMarker?: string | undefined;
  /** How often an idle watch says where it is, in milliseconds, at least 100. @default 5000 */
  readonly progressIntervalMs?: number | undefined;
}

/** What a watch yields, in this order: a snapshot if it began without a marker, then transactions and progress. */
export type WatchEvent =
  | { readonly type: "snapshot-begin"; readonly marker: string }
  | { readonly type: "snapshot-page"; readonly kvs: readonly KeyValue[] }
  | { readonly type: "snapshot-end"; readonly marker: string }
  | { readonly type: "transactions"; readonly transactions: readonly Transaction[] }
  | { readonly type: "progress"; readonly marker: string };
