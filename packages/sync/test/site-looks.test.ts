import { createSimulation } from "@tidemark/clock/testing";
import { type Frame, type OpenStreamOptions, sortableInteger, type StoreWrite } from "@tidemark/store-watch";
import { createMemoryGraph } from "@tidemark/store-watch/testing";
import { expect, test } from "vitest";
import type { SinkResult } from "../src/sink.ts";
import { openSite } from "../src/site.ts";
import { noFaults, SimTopic } from "./sim-channel.ts";

// A store whose stream tells nobody anything: it moves without versions, or not at all.

const stream: OpenStreamOptions = {
  name: "store",
  kind: "sim",
  description: "a store",
  scope: "",
  capabilities: {
    resumable: true,
    transactional: true,
    tombstones: true,
    snapshotMarker: true,
    tooOldSignal: true,
    ordered: true,
    versioned: true,
  },
};

interface Place {
  /** What a watcher of the store adds. */
  watch(...frames: Frame[]): void;
  sleep(ms: number): Promise<void>;
}

/** Writes one change, to be brought to the store, and then does what `work` does. */
function withSite(
  apply: (writes: readonly StoreWrite[]) => Promise<SinkResult>,
  work: (place: Place) => Promise<void>,
): Promise<void> {
  const simulation = createSimulation({ seed: 1 });
  const { clock, rng } = simulation;
  return simulation.run(async () => {
    const memory = createMemoryGraph({ name: "group", origin: "a", clock });
    const graph = memory.open();
    memory.append(stream, []);
    const history = {
      position: async () => 0n,
      follow: (_: unknown, { signal }: { readonly signal?: AbortSignal } = {}) => ({
        [Symbol.asyncIterator]: () => ({
          next: () =>
            new Promise<never>((_, reject) => {
              signal?.addEventListener("abort", () => reject(signal.reason as Error));
            }),
        }),
      }),
    };
    const sink = { apply, position: async () => sortableInteger(0n) };
    const site = openSite({
      graph,
      channel: new SimTopic(clock, rng.fork("topic"), noFaults).channel("a"),
      store: { history, stream: "store", sink } as unknown as NonNullable<Parameters<typeof openSite>[0]["store"]>,
      clock,
      rng,
    });
    await clock.sleep(100);
    await site.write([{ key: Buffer.from("x"), value: Buffer.from("1") }]);
    await work({ watch: (...frames) => void memory.append(stream, frames), sleep: (ms) => clock.sleep(ms) });
    await site.close();
    memory.close();
  });
}

test("what was lost on its way to an empty store is written when its first snapshot has shown nothing", async () => {
  let asked = 0;
  const apply = async (writes: readonly StoreWrite[]): Promise<SinkResult> => {
    if (++asked > 1) return { isApplied: true, versions: writes.map(() => sortableInteger(1n)) };
    throw Object.assign(new Error("the answer was lost"), { retryable: true });
  };
  await withSite(apply, async ({ watch, sleep }) => {
    await sleep(60_000);
    // Made or not, it may have been deleted since: that only the watch can tell, which has seen nothing yet.
    expect(asked).toBe(1);
    watch({ type: "begin-snapshot", epoch: "e" }, { type: "snapshot-end", cursor: sortableInteger(0n) });
    await sleep(10_000);
    expect(asked).toBe(2);
  });
});

test("what a store has refused is written there although its watch has nothing to tell", async () => {
  let asked = 0;
  // What a user put, and has deleted before the watch came to it.
  const apply = async (writes: readonly StoreWrite[]): Promise<SinkResult> =>
    ++asked === 1 ? { isApplied: false } : { isApplied: true, versions: writes.map(() => sortableInteger(3n)) };
  await withSite(apply, async ({ watch, sleep }) => {
    watch({ type: "begin-snapshot", epoch: "e" }, { type: "snapshot-end", cursor: sortableInteger(2n) });
    await sleep(10_000);
    expect(asked).toBe(2);
  });
});
