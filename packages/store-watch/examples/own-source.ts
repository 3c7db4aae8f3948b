import { createReferenceStore, sourceConformance } from "@tidemark/store-watch/testing";
import type { FrameSink, ResumePoint, Source } from "@tidemark/store-watch/contract";

const store = createReferenceStore();

/** The smallest source there is: it looks ten times a second, and can only say what is there now. */
const polling: Source = {
  kind: "polling",
  description: "a store in memory",
  scope: "everything",
  capabilities: {
    resumable: false,
    transactional: false,
    tombstones: false,
    snapshotMarker: true,
    tooOldSignal: false,
    ordered: true,
    versioned: false,
  },
  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal) {
    let last = from?.cursor;
    let shown: string | undefined;
    while (!signal.aborted) {
      const cursor = `${store.epoch} ${String(store.revision).padStart(20, "0")}`;
      if (cursor !== shown) {
        // What happened between two looks is unknown, and the history has to say so.
        if (last !== undefined) sink.write({ type: "gap", reason: "disconnected", detail: "Polled.", from: last });
        sink.write({ type: "begin-snapshot", epoch: "only" });
        for (const { key, value } of store.state()) {
          if (!sink.write({ type: "change", key, value })) await sink.ready(signal);
        }
        sink.write({ type: "snapshot-end", cursor });
        last = shown = cursor;
      }
      sink.status({ state: "live" });
      sink.alive();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
};

const checks = sourceConformance({
  open: () => polling,
  capabilities: polling.capabilities,
  driver: {
    async apply(operations) {
      store.transact(operations);
    },
  },
});

for (const { name, skip, run } of checks) {
  const verdict = skip === undefined ? await run().then(() => "holds", String) : `skipped: ${skip}`;
  console.log(`${name}: ${verdict}`);
}
