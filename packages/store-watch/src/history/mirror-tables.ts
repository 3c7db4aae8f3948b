import type { Later } from "./flow.ts";

/** A change of the watched store, as its stream brought it. */
export interface SourceChange {
  readonly pos: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string;
  readonly epoch: number;
  readonly attributes: string | null;
}

/** The stream of a store that a graph mirrors, and how far it was taken over. */
export interface MirroredRow {
  readonly source: number;
  readonly position: number;
  /** The source's present one. */
  readonly epoch: number | null;
  /** Of the source; of one sequence with the versions of its values. */
  readonly cursor: string | null;
  /** The newest position of the whole log. */
  readonly end: number;
}

/** A version that may have been written to the store. */
export interface Intent {
  readonly version: number;
  /** The store's version of it; null: not known whether it was written. */
  readonly written: string | null;
  /** An attempt to write it ended without a result; where `written` is known, one before that. */
  readonly isUnknown: boolean;
  /** The store's version that the attempt expected; null: that there is nothing, which a deletion brings back. */
  readonly expected: string | null;
  /** An attempt without a result was made up to here in the store, or never will be: until then the key is left alone. */
  readonly bound: string | null;
  /** The store's epoch of `written` and `bound`, where one of them is known. */
  readonly epoch: number | null;
}

/** What is known of one key in the store. */
export interface StoreView {
  /** The version of the graph that the store is known to show; null: nothing of the graph. */
  readonly shown: number | null;
  /** Null: the store was never seen to have the key. */
  readonly storeVersion: string | null;
  /** In which epoch of the store. */
  readonly epoch: number | null;
  /** The store refused a write when its stream was taken over up to here: something is on its way. */
  readonly refused: number | null;
  /** By version. */
  readonly intents: readonly Intent[];
}

export const unseen: StoreView = { shown: null, storeVersion: null, epoch: null, refused: null, intents: [] };

/** The statements of graphs that mirror a store, on one connection. */
export interface MirrorTables {
  /** Another transaction begins: what was remembered may not be so any more. */
  begin(): void;
  /** Reads what is known of several keys with few questions, where a question is dear. */
  readAhead(objects: readonly number[]): Later<void>;
  /** Writes what is collected: the last thing in a transaction. */
  flush(): Later<void>;

  sourceByName(
    name: string,
  ): Later<{ readonly id: number; readonly kind: string; readonly capabilities: string } | undefined>;
  mirrored(stream: number): Later<MirroredRow | undefined>;
  /** From now on the graph mirrors the source, and every key of it has to be compared. */
  start(stream: number, source: number): Later<void>;
  /** Objects with an attempt that has no result, and of which nobody knows yet how long it is to be waited for. */
  unsettled(stream: number): Later<readonly number[]>;
  reach(stream: number, position: number): Later<void>;
  /** Pruning leaves what was not taken over: above `position`, or the source's floor. */
  keep(consumer: string, position: number, source: number, now: number): Later<void>;
  /** Batches of the source that begin after a position, and at or before another one. */
  nextBatches(
    after: number,
    to: number,
    source: number,
    limit: number,
  ): Later<readonly { readonly batch: number; readonly kind: number; readonly cursor: string }[]>;
  changes(batch: number): Later<readonly SourceChange[]>;

  view(object: number): Later<StoreView>;
  save(object: number, view: StoreView): Later<void>;
  /** Objects with a write that the store has made, or may have, at or before a cursor of its stream, or in another epoch. */
  passed(stream: number, cursor: string, epoch: number | null): Later<readonly number[]>;
  /** The object has to be compared with the store. */
  touch(object: number): Later<void>;
  clean(object: number): Later<void>;
  /**
   * Objects to compare by what they show, above a position; some of them. What was refused waits for the store's stream, and
   * so does what may have been written up to a bound.
   */
  dirty(
    stream: number,
    aboveHead: number,
    limit?: number,
  ): Later<readonly { readonly object: number; readonly head: number }[]>;
}

/** What `dirty` gives at once, without a limit. */
export const dirtyAtOnce = 512;
