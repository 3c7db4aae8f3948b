/** Names a version of a graph for good, on every site: who made it, and which of theirs it is. */
export interface VersionId {
  /** The `origin` of the history in which it was made. */
  readonly origin: string;
  /** Counts the records that the origin made in this graph, from 1, without holes. */
  readonly generation: number;
}

/** When a batch was made: a hybrid logical time, greater than that of everything it was made from. */
export interface Stamp {
  /** Milliseconds since the Unix epoch by the origin's clock, or more where that was behind what it had seen. */
  readonly ms: number;
  readonly counter: number;
}

/** One key has a new value or is gone, made from `parents`. */
export interface GraphVersion {
  readonly type: "version";
  readonly key: Uint8Array;
  /** Undefined: a deletion. */
  readonly value: Uint8Array | undefined;
  /** JSON text that is kept unread. */
  readonly attributes?: string | undefined;
  readonly parents: readonly VersionId[];
  /** Made by a resolution rather than by an edit. */
  readonly isMerge: boolean;
}

/** `child` takes the place of `parent`, as if it had been made from it: how a conflict ends without a new version. */
export interface GraphLink {
  readonly type: "link";
  readonly key: Uint8Array;
  readonly child: VersionId;
  readonly parent: VersionId;
}

export type GraphRecord = GraphVersion | GraphLink;

/** One transaction of one origin. Record number i has the generation `first + i`; every key has one version at most. */
export interface GraphBatch {
  readonly origin: string;
  readonly first: number;
  readonly stamp: Stamp;
  readonly records: readonly GraphRecord[];
}

/** A record to be made here. */
export type GraphEdit =
  | (Omit<GraphVersion, "parents" | "isMerge"> & {
      /** @default all heads of the key */
      readonly parents?: readonly VersionId[];
      /** @default false */
      readonly isMerge?: boolean;
    })
  | GraphLink;

export interface GraphHead {
  readonly id: VersionId;
  /** Sortable text, greater than that of every ancestor; the head with the greatest is the one that is shown. */
  readonly stamp: string;
  readonly value: Uint8Array | undefined;
  readonly attributes: string | undefined;
  readonly isMerge: boolean;
  /** First generation of the batch that it came with, by the same origin. */
  readonly batch: number;
  /** Where it is in the local log. */
  readonly position: bigint;
}

/** What a key was at some version: undefined `value` for a deletion. */
export interface GraphState {
  readonly id: VersionId;
  readonly value: Uint8Array | undefined;
}

export interface ConflictKey {
  readonly key: Uint8Array;
  /** One where only the batch ties the key to the conflict. The first one is shown. */
  readonly heads: readonly GraphHead[];
  /** The newest common ancestor of all heads: the one of the highest level, then of the greatest stamp. */
  readonly ancestor: GraphState | undefined;
  /** Of each head, in order: what it was made from, undefined where the key came into being. */
  readonly before: readonly (GraphState | undefined)[];
}

/** Keys that must be decided together: those in conflict, and those that batches with heads in conflict have in common. */
export interface ConflictGroup {
  /** Where to go on with the next group. */
  readonly next: number;
  readonly keys: readonly ConflictKey[];
}

export interface GraphWritten {
  /** The last generation that was made; what it was before, when there was nothing to do. */
  readonly generation: number;
  readonly versions: number;
  readonly links: number;
}

export interface GraphApplied {
  /** Batches that were applied, those that had waited included. */
  readonly applied: number;
  /** Batches that were known. */
  readonly duplicates: number;
  /** Batches of this very history. */
  readonly echoes: number;
  /** Batches that were kept because something before them has not come yet. */
  readonly waiting: number;
  readonly versions: number;
  readonly links: number;
}

/** An encoded batch of this history. */
export interface GraphMessage {
  readonly first: number;
  /** The batch's last generation. */
  readonly generation: number;
  readonly data: Uint8Array;
}

export interface GraphWaiting {
  readonly origin: string;
  /** Batches of it that wait. */
  readonly batches: number;
  /** The first generation that is not here. */
  readonly next: number;
  /** The first one that waits. */
  readonly first: number;
}

export interface GraphStatus {
  /** The last generation of each origin that is here. */
  readonly vector: Readonly<Record<string, number>>;
  readonly waiting: readonly GraphWaiting[];
  /** Keys with more than one head. */
  readonly conflicts: number;
}

/** One transaction to be made in the store that a graph mirrors. */
export interface StoreTransaction {
  readonly writes: readonly StoreWrite[];
}

export interface StoreWrite {
  /** Names the write when its result is reported. */
  readonly object: number;
  /** The version to be shown. */
  readonly want: number;
  readonly key: Uint8Array;
  /** Undefined: to be deleted. */
  readonly value: Uint8Array | undefined;
  readonly attributes: string | undefined;
  /** The store's version of what it is known to have; undefined: nothing. If it has another one, nothing is written. */
  readonly expected: string | undefined;
  /** Up to where the store's stream was taken over. Goes back with the result. */
  readonly known: number;
}

export interface StoreResult {
  readonly object: number;
  readonly want: number;
  readonly known: number;
  /** What the store's watch will report as the version of this write; undefined: it refused. */
  readonly version: string | undefined;
}

export interface GraphIngested {
  /** Changes of the store that became versions of the graph. */
  readonly versions: number;
  /** Changes that came from the graph. */
  readonly echoes: number;
  readonly isEnd: boolean;
}

export interface GraphOptions {
  /** Stable name of the group, the same on every site. */
  readonly name: string;
  readonly description: string;
}

/**
 * One stream of a history whose versions come from several origins and have several parents. Versions, heads, log
 * records and vectors change in one SQL transaction; a batch is there as a whole or not at all.
 */
export interface HistoryGraph {
  readonly name: string;
  /** Of this history. */
  readonly origin: string;
  /** Makes one batch here. Deleting what is not there makes nothing. @throws {StoreWatchError} `COMMIT_FAILED` */
  write(edits: readonly GraphEdit[]): Promise<GraphWritten>;
  /**
   * Takes in batches of other origins, in any order and any number of times. What comes before something that it builds
   * on is kept, durably, until that has come.
   *
   * @throws {StoreWatchError} `PROTOCOL` for a message that no sound origin makes; `REWOUND` for one that this history
   * made and does not have. Then nothing of the call is applied.
   */
  apply(messages: readonly Uint8Array[]): Promise<GraphApplied>;
  /** Batches made here after a generation, oldest first. Ends with the one that exceeds `maxBytes`. */
  batches(afterGeneration: number, options?: { readonly maxBytes?: number }): Promise<readonly GraphMessage[]>;
  /**
   * Batches of every origin that a site with this vector does not have, each after what it builds on. Ends with the one
   * that exceeds `maxBytes`; empty: there is nothing more.
   */
  missing(
    vector: Readonly<Record<string, number>>,
    options?: { readonly maxBytes?: number },
  ): Promise<readonly Uint8Array[]>;
  /** All heads of a key, the one that is shown first; none where the key never was. */
  heads(key: Uint8Array): Promise<readonly GraphHead[]>;
  /** The first group of keys in conflict after `next` of the one before; 0: from the start. */
  conflictGroup(after: number): Promise<ConflictGroup | undefined>;
  status(): Promise<GraphStatus>;
  /**
   * Makes the graph the mirror of a store, which `source`, a stream of the same history, follows. For good: another source
   * is refused.
   *
   * @throws {StoreWatchError} `NOT_FOUND`, `OPTIONS_INVALID`
   */
  mirror(source: string): Promise<void>;
  /** Takes over what the store's stream has that is new: a transaction of the store is a batch here. */
  ingest(): Promise<GraphIngested>;
  /**
   * What the store does not show yet, oldest first. Recorded as possibly written, so that it is known again when the
   * store's stream brings it.
   */
  storeWrites(options?: { readonly maxTransactions?: number }): Promise<readonly StoreTransaction[]>;
  /** What became of writes. Without a report (a crash) the store's stream tells. */
  settle(results: readonly StoreResult[]): Promise<void>;
}
