import { seededRng } from "@tidemark/clock";
import { EtcdClient } from "@tidemark/source-etcd/testing";

export interface LoadOptions {
  readonly endpoint: string;
  readonly prefix: string;
  readonly changes: number;
  /** So many different keys, in turn. @default one for each change */
  readonly keys?: number;
  readonly valueBytes: number;
  /** Puts of one transaction, which is one revision. */
  readonly perTransaction: number;
}

export interface Loaded {
  /** The revision before the first change. */
  readonly before: bigint;
  /** The revision of the last one. */
  readonly last: bigint;
}

/** Calls at a time: enough to keep etcd busy. */
const inFlight = 64;

/** Fills a store as fast as it goes. Values are random bytes, so nothing can shrink them. */
export async function load(options: LoadOptions): Promise<Loaded> {
  const { endpoint, prefix, changes, keys = changes, valueBytes, perTransaction } = options;
  using client = new EtcdClient({ endpoint, requestTimeoutMs: 120_000 });
  const before = await client.revision();
  const random = Buffer.from(seededRng(1).bytes(valueBytes + 4096));
  const value = (index: number) => random.subarray(index % 4096, (index % 4096) + valueBytes);
  const key = (index: number) => `${prefix}${String(index % keys).padStart(9, "0")}`;
  let next = 0;
  const worker = async () => {
    while (next < changes) {
      const from = next;
      next = Math.min(changes, from + perTransaction);
      if (perTransaction === 1) await client.put(key(from), value(from));
      else {
        const writes = Array.from({ length: next - from }, (_, n) => ({ key: key(from + n), value: value(from + n) }));
        await client.txn(writes);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return { before, last: await client.revision() };
}
