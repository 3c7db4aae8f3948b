import type { HistoryGraph, StoreTransaction } from "@tidemark/store-watch";
import { expect, test } from "vitest";
import { Level } from "../src/level.ts";
import { dryRunSink } from "../src/sink.ts";
import { writeStore } from "../src/store-writer.ts";
import { Turns } from "../src/turns.ts";

test("a site that is closed while its sink is asked stops to ask, also one that does not look at the signal", async () => {
  const stop = new AbortController();
  const write = { object: 1, want: 1, known: 0, key: Buffer.from("a"), value: Buffer.from("1"), expected: undefined };
  let asked = 0;
  const graph: Partial<HistoryGraph> = {
    unsettled: async () => false,
    storeWrites: async () => [{ writes: [write] }] as unknown as readonly StoreTransaction[],
  };
  const sink = dryRunSink(() => {
    if (++asked > 3) throw new Error("it is asked for ever");
    stop.abort(new Error("closed"));
  });
  const counters = { stored: 0, refused: 0 };
  const parts = { graph: graph as HistoryGraph, sink, turns: new Turns(), moved: new Level(), counters };
  const writing = writeStore({ ...parts, ingest: async () => undefined }, stop.signal, {
    onProgress() {},
    onHealthy() {},
    onTrouble() {},
  });
  await expect(writing).rejects.toThrow("closed");
  expect(asked).toBe(1);
});
