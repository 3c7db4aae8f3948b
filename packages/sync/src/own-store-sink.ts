import { parseSortableInteger, sortableInteger } from "@tidemark/store-watch";
import type { Sink } from "./sink.ts";

/** What a store of `@tidemark/watch-server` has, in this process or behind a client. */
export interface TransactionalStore {
  txn(
    request: {
      readonly compares: readonly { readonly key: Uint8Array; readonly expectedModRevision: bigint }[];
      readonly ops: readonly (
        | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
        | { readonly type: "delete"; readonly key: Uint8Array }
      )[];
    },
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly succeeded: boolean; readonly revision: bigint }>;
}

/** Writes into a store of `@tidemark/watch-server`, which `@tidemark/source-watch` follows. */
export function ownStoreSink(store: TransactionalStore): Sink {
  return {
    async apply(writes, signal) {
      const { succeeded, revision } = await store.txn(
        {
          compares: writes.map(({ key, expected }) => ({
            key,
            expectedModRevision: expected === undefined ? 0n : parseSortableInteger(expected),
          })),
          ops: writes.map(({ key, value }) =>
            value === undefined ? { type: "delete", key } : { type: "put", key, value },
          ),
        },
        { signal },
      );
      if (!succeeded) return { isApplied: false };
      return { isApplied: true, versions: writes.map(() => sortableInteger(revision)) };
    },
    async position(signal) {
      // It takes its turn after every transaction that the store got before it, and changes nothing.
      const { revision } = await store.txn({ compares: [], ops: [] }, { signal });
      return sortableInteger(revision);
    },
  };
}
