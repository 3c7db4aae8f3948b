import type { StoreWrite } from "@tidemark/store-watch";

/** `versions`: of each write, as the store's watch will report it. */
export type SinkResult =
  | { readonly isApplied: true; readonly versions: readonly string[] }
  | { readonly isApplied: false };

/** Writes what other sites made into this site's store. */
export interface Sink {
  /**
   * Small transactions are made together, as long as they are not more writes than this. 0: each for itself.
   * @default 0
   */
  readonly maxWrites?: number;
  /**
   * Makes all writes in one transaction of the store, if every key still has the version that is `expected`; otherwise none
   * of them. So a local edit is never overwritten: it is on its way through the watch, and becomes a conflict.
   *
   * @throws where nobody knows whether they were made, or nothing was. With `retryable: true` it is tried again soon,
   * otherwise again and again, as a problem of the site.
   */
  apply(writes: readonly StoreWrite[], signal: AbortSignal): Promise<SinkResult>;
  /**
   * The store's version now, of one sequence with those that `apply` and the store's watch report. Asked for when nobody knows
   * whether writes were made: no earlier call of `apply`, also one of a process that died, may have an effect on the store
   * after this was answered. What expected that there is nothing is not tried again before the watch has come to there, as
   * it may have been made, and deleted by somebody since. Without this it is tried again at once, and may then be made twice,
   * over that deletion.
   */
  position?(signal: AbortSignal): Promise<string>;
}

/** Says what would be written and writes nothing. Each write is told once, until the store or the graph changes. */
export function dryRunSink(report: (writes: readonly StoreWrite[]) => void): Sink {
  return {
    async apply(writes) {
      report(writes);
      return { isApplied: false };
    },
  };
}
