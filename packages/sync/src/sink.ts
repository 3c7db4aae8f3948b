import type { StoreWrite } from "@tidemark/store-watch";

/** `versions`: of each write, as the store's watch will report it. */
export type SinkResult =
  | { readonly isApplied: true; readonly versions: readonly string[] }
  | { readonly isApplied: false };

/** Writes what other sites made into this site's store. */
export interface Sink {
  /**
   * Makes all writes in one transaction of the store, if every key still has the version that is `expected`; otherwise none
   * of them. So a local edit is never overwritten: it is on its way through the watch, and becomes a conflict.
   */
  apply(writes: readonly StoreWrite[], signal: AbortSignal): Promise<SinkResult>;
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
