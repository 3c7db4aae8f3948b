import type { StoreTransaction } from "@tidemark/store-watch";

/** Of keys and values: stores bound a transaction by bytes, too. */
const maxPackedBytes = 256 * 1024;

/**
 * Neighbors that are made in one transaction of the store. Each stays whole, each key is in one of them alone, and the order
 * stays, so that the store never shows one without what came before it.
 */
export function* packWrites(
  transactions: readonly StoreTransaction[],
  maxWrites: number,
): Generator<readonly StoreTransaction[]> {
  let pack: StoreTransaction[] = [];
  let writes = 0;
  let bytes = 0;
  for (const transaction of transactions) {
    const size = transaction.writes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
    const isFull = writes + transaction.writes.length > maxWrites || bytes + size > maxPackedBytes;
    if (pack.length > 0 && isFull) {
      yield pack;
      pack = [];
      writes = 0;
      bytes = 0;
    }
    pack.push(transaction);
    writes += transaction.writes.length;
    bytes += size;
  }
  if (pack.length > 0) yield pack;
}
