import type { GraphIngested, HistoryGraph } from "@tidemark/store-watch";
import { expect, test } from "vitest";
import type { Channel } from "../src/channel.ts";
import { Level } from "../src/level.ts";
import { openSite } from "../src/site.ts";

test("what comes back from the store wakes nobody who sends or resolves, and what was edited there does", async () => {
  const asked = { batches: 0, conflicts: 0 };
  const [came, ingested] = [new Level(), new Level()];
  let next: GraphIngested = { versions: 0, echoes: 1, isEnd: true };
  const graph: Partial<HistoryGraph> = {
    origin: "a",
    mirror: async () => undefined,
    lose: async () => undefined,
    status: async () => ({ vector: {}, horizon: {}, waiting: [], conflicts: 0 }),
    ingest: async () => {
      // What has to be told after this is told before anybody else goes on.
      setImmediate(() => ingested.raise());
      return next;
    },
    batches: async () => {
      asked.batches++;
      return [];
    },
    conflictGroup: async () => {
      asked.conflicts++;
      return undefined;
    },
  };
  const channel: Channel = {
    openPublisher: async () => ({ lastSeqNo: 0, publish: async () => undefined, close: async () => undefined }),
    subscribe: (_, signal) => ({
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
      }),
    }),
  };
  const history = {
    position: async () => 0n,
    async *follow(_: unknown, { signal }: { readonly signal?: AbortSignal } = {}) {
      await came.after(came.count, signal as AbortSignal);
      yield [];
    },
  };
  const store = { history, stream: "store" } as unknown as NonNullable<Parameters<typeof openSite>[0]["store"]>;
  const never = new AbortController().signal;
  await using site = openSite({ graph: graph as HistoryGraph, channel, store });
  const round = async (result: GraphIngested) => {
    next = result;
    const seen = ingested.count;
    came.raise();
    await ingested.after(seen, never);
    return { ...asked };
  };
  await ingested.after(0, never);
  const before = { ...asked };
  expect(await round({ versions: 0, echoes: 1, isEnd: true })).toEqual(before);
  expect(await round({ versions: 0, echoes: 0, isEnd: true })).toEqual(before);
  const { batches, conflicts } = await round({ versions: 1, echoes: 0, isEnd: true });
  expect([batches > before.batches, conflicts > before.conflicts]).toEqual([true, true]);
  expect(site.origin).toBe("a");
});
