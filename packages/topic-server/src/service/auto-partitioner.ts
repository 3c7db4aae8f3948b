import type { TopicStore } from "../storage/topic-store.ts";
import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";

/** What YDB takes for a partition's speed when nothing was said. */
const defaultSpeed = 1024 * 1024;
/** How finely a window is known. */
const samplesPerWindow = 32;

interface Sample {
  readonly atMs: number;
  /** Since the server started. */
  readonly writtenBytes: number;
}

/**
 * Splits partitions whose speed, as the mean over the topic's stabilization window, reaches the share of what may be
 * written that the topic says. So a burst that is large enough counts at once, and one that is not counts for as long as
 * the window.
 */
export class AutoPartitioner {
  readonly #store: TopicStore;
  /** Oldest first; the first is from before the window, where there is one that old. */
  #watched = new WeakMap<Topic, WeakMap<Partition, Sample[]>>();

  constructor(store: TopicStore) {
    this.#store = store;
  }

  /** Call it regularly: speeds are measured from one call to the next. */
  async look(): Promise<void> {
    for (const topic of this.#store.topics()) {
      const { autoPartitioning, maxActivePartitions: max } = topic.definition;
      if (autoPartitioning.strategy !== "up" && autoPartitioning.strategy !== "upAndDown") {
        // What is written while nobody looks does not count later.
        this.#watched.delete(topic);
        continue;
      }
      let watched = this.#watched.get(topic);
      if (watched === undefined) this.#watched.set(topic, (watched = new WeakMap()));
      const active = topic.partitions.filter(({ definition }) => definition.isActive);
      let count = active.length;
      for (const partition of active) {
        if (this.#speed(topic, partition, watched) < share(topic)) continue;
        if (max > 0 && count >= max) continue;
        if (await this.#store.splitPartition(topic, partition.id)) count++;
      }
    }
  }

  /** Bytes a second. */
  #speed(topic: Topic, partition: Partition, watched: WeakMap<Partition, Sample[]>): number {
    const now = this.#store.clock.monotonic();
    const windowMs = topic.definition.autoPartitioning.stabilizationWindowMs;
    const { writtenBytes } = partition;
    let samples = watched.get(partition);
    if (samples === undefined) watched.set(partition, (samples = [{ atMs: now, writtenBytes }]));
    const last = samples.at(-1) as Sample;
    if (now - last.atMs >= windowMs / samplesPerWindow) samples.push({ atMs: now, writtenBytes });
    while (samples.length > 1 && (samples[1] as Sample).atMs <= now - windowMs) samples.shift();
    const first = samples[0] as Sample;
    return ((writtenBytes - first.writtenBytes) * 1000) / Math.max(windowMs, now - first.atMs, 1);
  }
}

/** Bytes a second from which a partition is split. */
function share({ definition }: Topic): number {
  const speed = definition.writeSpeedBytesPerSecond || defaultSpeed;
  return (speed * definition.autoPartitioning.upUtilizationPercent) / 100;
}
