import type { TopicStore } from "../storage/topic-store.ts";
import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";

/** What YDB takes for a partition's speed when nothing was said. */
const defaultSpeed = 1024 * 1024;

interface Watched {
  writtenBytes: number;
  atMs: number;
  /** Since when it has been too busy; undefined: it is not. */
  busySinceMs: number | undefined;
}

/** Splits partitions that are written faster than their share for as long as the topic says. */
export class AutoPartitioner {
  readonly #store: TopicStore;
  #watched = new WeakMap<Partition, Watched>();

  constructor(store: TopicStore) {
    this.#store = store;
  }

  /** Call it regularly: speeds are measured from one call to the next. */
  async look(): Promise<void> {
    for (const topic of this.#store.topics()) {
      const { autoPartitioning, maxActivePartitions: max } = topic.definition;
      if (autoPartitioning.strategy !== "up" && autoPartitioning.strategy !== "upAndDown") continue;
      let active = topic.partitions.filter(({ definition }) => definition.isActive).length;
      for (const partition of topic.partitions) {
        if (!partition.definition.isActive || !this.#isBusy(topic, partition)) continue;
        if (max > 0 && active >= max) break;
        if (await this.#store.splitPartition(topic, partition.id)) active++;
      }
    }
  }

  #isBusy(topic: Topic, partition: Partition): boolean {
    const now = this.#store.clock.monotonic();
    const { writtenBytes } = partition;
    const known = this.#watched.get(partition);
    if (known === undefined) {
      this.#watched.set(partition, { writtenBytes, atMs: now, busySinceMs: undefined });
      return false;
    }
    const passedMs = now - known.atMs;
    if (passedMs <= 0) return false;
    const { upUtilizationPercent, stabilizationWindowMs } = topic.definition.autoPartitioning;
    const speed = topic.definition.writeSpeedBytesPerSecond || defaultSpeed;
    const isBusy = ((writtenBytes - known.writtenBytes) * 1000) / passedMs >= (speed * upUtilizationPercent) / 100;
    known.busySinceMs = isBusy ? (known.busySinceMs ?? known.atMs) : undefined;
    known.writtenBytes = writtenBytes;
    known.atMs = now;
    return known.busySinceMs !== undefined && now - known.busySinceMs >= stabilizationWindowMs;
  }
}
