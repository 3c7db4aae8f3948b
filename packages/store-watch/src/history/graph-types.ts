import type { StoreWatchError } from "../errors.ts";

/** Names a version of a graph for good, on every site: who made it, and which of theirs it is. */
export interface VersionId {
  /** The `origin` of the history in which it was made. */
  readonly origin: string;
  /** Counts the records that the origin made in this graph, from 1, without holes. 0: one that was pruned. */
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

/** Its origin has whatever takes up to these generations: others need not keep for it what was superseded there. */
export interface GraphAnnouncement {
  readonly type: "announcement";
  readonly vector: Readonly<Record<string, number>>;
}

export type GraphRecord = GraphVersion | GraphLink | GraphAnnouncement;

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
  /** Something before the heads was pruned: then an undefined `ancestor` or `before` does not say that there was nothing. */
  readonly isPastPruned: boolean;
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
  /** Up to these generations superseded versions are pruned. Origins of which everything is here are left out. */
  readonly horizon: Readonly<Record<string, number>>;
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

export interface GraphPruneOptions {
  /** What was superseded after this time stays, in milliseconds since the Unix epoch. */
  readonly beforeMs: number;
  /** A site that lacks something from before this time holds nothing back: it will have to take a snapshot. */
  readonly holdSinceMs: number;
  /** The last own generation that others can get without this history. Nothing that came later than the next is touched. */
  readonly published: number;
}

export interface GraphPruned {
  /** Versions that were removed by this call. */
  readonly removed: number;
  /** Origins whose sites have not announced everything that could be pruned otherwise. */
  readonly heldBy: readonly string[];
  /** Whether there is nothing more to remove; otherwise it is to be called again. */
  readonly isEnd: boolean;
}

export interface GraphSnapshotPart {
  readonly data: Uint8Array;
  /** Where the next part begins; undefined: this is the last one. */
  readonly next: string | undefined;
}

export interface GraphRestored {
  /** Whether it was the last part, so that everything was taken over. */
  readonly isComplete: boolean;
  /** Versions that were new here. */
  readonly versions: number;
}

export interface GraphOptions {
  /** Stable name of the group, the same on every site. */
  readonly name: string;
  readonly description: string;
}

/**
 * How the writing of a graph goes over to another process, and comes back: on a database that several processes reach. What
 * ends it besides is a commit of which nobody knows whether it happened.
 */
export interface GraphTenure {
  /** Whether it was lost. Nothing is written then before {@link resume}; reads show what the other process writes. */
  readonly isLost: boolean;
  /** Resolves with the reason once it is lost, at once where it is. @throws `signal.reason`; {StoreWatchError} `CLOSED` */
  lost(signal: AbortSignal): Promise<StoreWatchError>;
  /**
   * Opens the graph again where it was lost. Everything that was begun before must have ended, and nothing that it told
   * may be relied on: another process may have gone on from there.
   *
   * @throws {StoreWatchError} `DATABASE_LOCKED` while another process writes, `DATABASE_UNREADABLE`; `STREAM_BUSY` when it
   * was opened by its name meanwhile
   */
  resume(): Promise<void>;
}

/**
 * One stream of a history whose versions come from several origins and have several parents. Versions, heads, log
 * records and vectors change in one SQL transaction; a batch is there as a whole or not at all.
 */
export interface HistoryGraph {
  readonly name: string;
  /** Of this history. */
  readonly origin: string;
  /** Undefined: only the end of the process ends the right to write, as on SQLite. */
  readonly tenure?: GraphTenure;
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
   *
   * @throws {StoreWatchError} `TOO_OLD` when part of that was pruned: it has to {@link restore} a {@link snapshot} first
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
   * Tells the other sites what is here, as a record among the others. Makes nothing when only such records came since the
   * last time.
   */
  announce(): Promise<GraphWritten>;
  /**
   * Removes versions that were superseded, as far as every other site has announced to have what took their place: a piece
   * at a time. Heads stay, and what an open conflict or the mirrored store needs. What has begun goes on with the options it
   * began with, until the end.
   *
   * @throws {StoreWatchError} `COMMIT_FAILED`
   */
  prune(options: GraphPruneOptions): Promise<GraphPruned>;
  /** What stands for everything that was pruned, in parts of about a mebibyte; undefined `after`: from the start. */
  snapshot(after?: string): Promise<GraphSnapshotPart>;
  /**
   * Takes over another site's snapshot: heads that it does not know stay, and are in conflict with what it has of their keys.
   * The parts in their order; the last one takes effect for all, in one transaction, and the first one begins anew.
   *
   * @throws {StoreWatchError} `PROTOCOL` for a part that no sound site makes, or not the next one; `REWOUND`; `NOT_REACHED`
   * for one that stands for changes made here beyond `published`: they have to be on their way to all others first
   */
  restore(part: Uint8Array, options: { readonly published: number }): Promise<GraphRestored>;
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
  /** What became of writes. Without a report (a crash, a lost answer) the store's stream tells: see {@link lose}. */
  settle(results: readonly StoreResult[]): Promise<void>;
  /** Whether writes were given out of which nobody has reported what became of them, since {@link lose}. */
  unsettled(): Promise<boolean>;
  /**
   * Nobody will report any more what became of the writes that were given out. They were made at or before `position`, the
   * store's version now, or will never be. What may be made twice, with a deletion by somebody else in between, is not given
   * out again before the store's stream has come to there. Undefined: not known; then it is given out again at once.
   */
  lose(position: string | undefined): Promise<void>;
}
