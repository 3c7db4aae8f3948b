import { EtcdClient } from "@tidemark/source-etcd/testing";
import { monotonicMs } from "../process/monotonic.ts";

interface PutOptions {
  readonly endpoint: string;
  readonly prefix: string;
  readonly perSecond: number;
  readonly seconds: number;
  readonly valueBytes: number;
  /** Puts go to so many keys in turn. */
  readonly keys: number;
}

/** One column per moment, because there are many: the index is the number that the value begins with. */
interface PutTimes {
  readonly beforeMs: Float64Array;
  readonly acknowledgedMs: Float64Array;
  /** The furthest behind schedule that a put began. */
  readonly maxLateMs: number;
}

export type PutRole = { put(options: PutOptions): Promise<PutTimes> };

/** Puts at a constant rate, whatever the answers take: a slow answer does not slow down the next put. */
export function createPutRole(): PutRole {
  return {
    async put({ endpoint, prefix, perSecond, seconds, valueBytes, keys }) {
      using client = new EtcdClient({ endpoint });
      const count = Math.round(perSecond * seconds);
      const beforeMs = new Float64Array(count);
      const acknowledgedMs = new Float64Array(count);
      const pending: Promise<void>[] = [];
      // The first call opens the connection.
      await client.revision();
      const startMs = monotonicMs() + 50;
      let maxLateMs = 0;
      for (let index = 0; index < count; index++) {
        const dueMs = startMs + (index * 1000) / perSecond;
        for (let waitMs = dueMs - monotonicMs(); waitMs > 0; waitMs = dueMs - monotonicMs()) {
          await new Promise((resolve) => (waitMs > 1.5 ? setTimeout(resolve, waitMs - 1) : setImmediate(resolve)));
        }
        const value = String(index).padStart(9, "0").padEnd(valueBytes, ".");
        const before = monotonicMs();
        beforeMs[index] = before;
        maxLateMs = Math.max(maxLateMs, before - dueMs);
        pending.push(
          client.put(`${prefix}${String(index % keys).padStart(6, "0")}`, value).then(() => {
            acknowledgedMs[index] = monotonicMs();
          }),
        );
      }
      await Promise.all(pending);
      return { beforeMs, acknowledgedMs, maxLateMs };
    },
  };
}
