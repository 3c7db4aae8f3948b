import { Traffic } from "../storage/traffic.ts";
import type { Topic } from "../storage/topic.ts";

/** What one consumer read of one partition, since the server started. */
export interface PartitionReadStats {
  readonly traffic: Traffic;
  /** Undefined: nothing yet. */
  lastReadAtMs: number | undefined;
  /** One after the last message that was delivered. */
  lastReadOffset: number | undefined;
}

/** What consumers read: it outlives the sessions that did, and not the consumers. */
export class ReadStats {
  readonly #topics = new WeakMap<Topic, Map<string, Map<number, PartitionReadStats>>>();

  find(topic: Topic, consumer: string, partition: number): PartitionReadStats | undefined {
    return this.#topics.get(topic)?.get(consumer)?.get(partition);
  }

  get(topic: Topic, consumer: string, partition: number): PartitionReadStats {
    let consumers = this.#topics.get(topic);
    if (consumers === undefined) {
      consumers = new Map();
      this.#topics.set(topic, consumers);
    }
    for (const name of consumers.keys()) if (!topic.hasConsumer(name)) consumers.delete(name);
    let partitions = consumers.get(consumer);
    if (partitions === undefined) {
      partitions = new Map();
      consumers.set(consumer, partitions);
    }
    let stats = partitions.get(partition);
    if (stats === undefined) {
      stats = { traffic: new Traffic(), lastReadAtMs: undefined, lastReadOffset: undefined };
      partitions.set(partition, stats);
    }
    return stats;
  }
}
