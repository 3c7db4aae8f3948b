import type { Clock, SeededRng } from "@tidemark/clock";
import { type History, type HistoryGraph, StoreWatchError } from "@tidemark/store-watch";
import { guardedGraph, OracleError } from "@tidemark/store-watch/testing";
import type { Archive } from "./archive.ts";
import type { FileReader } from "./file-reader.ts";
import type { Life } from "./life.ts";
import { mustBe, v9FloorWaits } from "./oracles.ts";

export interface ObservedPruningOptions {
  /** The site's. */
  readonly name: string;
  /** As it is in the files of all sites. */
  readonly origin: string;
  readonly clock: Clock;
  readonly reader: () => FileReader;
  /** Reads the file of the site that is this origin. */
  readonly readerOf: (origin: string) => FileReader;
  readonly archive: Archive;
  readonly fail: (error: unknown) => void;
}

/** A graph at which V9 is looked at with every step of its pruning. */
export function observedPruning(graph: HistoryGraph, options: ObservedPruningOptions): HistoryGraph {
  const { name, clock, archive, fail } = options;
  const call = <T>(run: () => Promise<T>) => run();
  // A pass goes by what its first call said, whatever the clock has done since.
  let beforeMs = Number.NEGATIVE_INFINITY;
  let holdSinceMs = Number.NEGATIVE_INFINITY;
  return {
    ...guardedGraph(graph, { change: call, read: call }),
    async prune(prune) {
      const reader = options.reader();
      archive.look(name, reader, clock.now());
      const before = reader.horizon();
      const known = reader.vector();
      beforeMs = Math.max(beforeMs, prune.beforeMs);
      holdSinceMs = Math.max(holdSinceMs, prune.holdSinceMs);
      const result = await graph.prune(prune);
      try {
        for (const [origin, to] of reader.horizon()) {
          if (to <= (before.get(origin) ?? 0)) continue;
          const isTooOld = (reader.stampMs(origin, to) ?? Number.POSITIVE_INFINITY) < holdSinceMs;
          if (isTooOld) continue;
          // A site that nothing was ever heard of is not waited for.
          for (const site of known.keys()) {
            if (site !== options.origin) v9FloorWaits(name, { origin, to }, site, options.readerOf(site).vector());
          }
        }
        if (result.removed > 0) {
          const gone = archive.removed(name, reader, beforeMs);
          mustBe(
            gone === result.removed,
            "V9",
            () => `${name} says that it pruned ${result.removed}, but ${gone} are gone`,
          );
        }
      } catch (error) {
        fail(error);
      }
      if (result.isEnd) [beforeMs, holdSinceMs] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
      return result;
    },
  };
}

/** Somebody who reads a history in its order, keeps a floor there, and comes again after a while. */
export class Consumer {
  #position = 0n;

  /** Until the life is over. */
  async run(
    life: Life,
    { name, clock, rng, everyMs }: { name: string; clock: Clock; rng: SeededRng; everyMs: number },
  ): Promise<void> {
    const { history } = life;
    try {
      await history.setConsumer("reader", this.#position);
      while (!life.isOver) {
        await clock.sleep(rng.float() * 2 * everyMs);
        if (life.isOver) return;
        await this.#read(name, history, rng.int(1, 50));
      }
    } catch (error) {
      if (!life.isOver) throw error;
    }
  }

  async #read(name: string, history: History, limit: number): Promise<void> {
    for (;;) {
      const { items } = await history.changes(this.#position, { limit }).catch((error: unknown) => {
        const isPruned = error instanceof StoreWatchError && error.code === "TOO_OLD";
        throw isPruned ? new OracleError(`V9: ${name} does not wait for its consumer: ${error.message}`) : error;
      });
      for (const { position } of items) {
        const before = this.#position;
        mustBe(position === before + 1n, "V9", () => `after ${before} ${name} gives its consumer ${position}`);
        this.#position = position;
      }
      if (items.length === 0) return;
      await history.setConsumer("reader", this.#position);
    }
  }
}
