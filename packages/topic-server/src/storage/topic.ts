import { createHash } from "node:crypto";
import { covers, type TopicDefinition } from "./definition.ts";
import type { Partition } from "./partition.ts";

/** Who has to know when a topic changes. Must not throw. */
export interface TopicListener {
  onDropped?(): void;
  /** Partitions were added, or are closed for writing now. */
  onPartitions?(): void;
  /** There is more to read. */
  onVisible?(partition: number): void;
  /** Consumers may be gone. */
  onAltered?(): void;
}

/** One topic, open. */
export class Topic {
  readonly id: number;
  readonly createdAtMs: number;
  definition: TopicDefinition;
  /** By their id. */
  readonly partitions: Partition[];
  /** Committed offsets: consumer, partition. */
  readonly #committed: Map<string, Map<number, number>>;
  readonly #listeners = new Set<TopicListener>();
  isDropped = false;

  constructor(
    id: number,
    createdAtMs: number,
    definition: TopicDefinition,
    partitions: Partition[],
    committed: Map<string, Map<number, number>>,
  ) {
    this.id = id;
    this.createdAtMs = createdAtMs;
    this.definition = definition;
    this.partitions = partitions;
    this.#committed = committed;
  }

  get path(): string {
    return this.definition.path;
  }

  hasConsumer(name: string): boolean {
    return this.definition.consumers.some((consumer) => consumer.name === name);
  }

  committedOffset(consumer: string, partition: number): number {
    return this.#committed.get(consumer)?.get(partition) ?? 0;
  }

  /** Call when it is durable. */
  setCommittedOffset(consumer: string, partition: number, offset: number): void {
    let offsets = this.#committed.get(consumer);
    if (offsets === undefined) {
      offsets = new Map();
      this.#committed.set(consumer, offsets);
    }
    offsets.set(partition, offset);
  }

  forgetConsumer(name: string): void {
    this.#committed.delete(name);
  }

  /** What retention must not touch for the sake of consumers that `holds` it. */
  floor(partition: number, holds: (consumer: TopicDefinition["consumers"][number]) => boolean): number {
    let floor = Number.POSITIVE_INFINITY;
    for (const consumer of this.definition.consumers) {
      if (holds(consumer)) floor = Math.min(floor, this.committedOffset(consumer.name, partition));
    }
    return floor;
  }

  /**
   * The partition that a key belongs to: the same for the same key until it is split. Who wrote to `known` before stays
   * there, or in what it was split into, where its sequence numbers and the order of its messages are known. It may be closed
   * for writing: while it is split nobody else has its keys.
   */
  partitionOfKey(key: string, known?: number): Partition {
    // A way to spread keys, not a secret.
    const hash = createHash("md5").update(key).digest("hex");
    const heirs = known === undefined ? [] : this.#heirs(known);
    const active = heirs.length > 0 ? heirs : this.partitions.filter((each) => this.#hasKeys(each));
    const found = active.filter(({ definition }) => covers(definition, hash));
    // After a topic got more partitions than it started with, ranges overlap: the same key still finds the same one.
    const choice = found.length > 0 ? found : active;
    return choice[Number.parseInt(hash.slice(0, 8), 16) % choice.length] as Partition;
  }

  /** Whether a partition is another one, or what that was split into. */
  isHeir(id: number, partition: Partition): boolean {
    if (id === partition.id) return true;
    return this.partitions[id]?.definition.children.some((child) => this.isHeir(child, partition)) === true;
  }

  #heirs(id: number): Partition[] {
    const partition = this.partitions[id];
    if (partition === undefined) return [];
    if (this.#hasKeys(partition)) return [partition];
    return partition.definition.children.flatMap((child) => this.#heirs(child));
  }

  /** It takes writes; or it was closed to be split, and what comes in its place is not there yet. */
  #hasKeys({ definition }: Partition): boolean {
    return definition.isActive || definition.children.some((child) => this.partitions[child] === undefined);
  }

  listen(listener: TopicListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: "onAltered" | "onDropped" | "onPartitions"): void {
    for (const listener of this.#listeners) listener[event]?.();
  }

  tellVisible(partition: number): void {
    for (const listener of this.#listeners) listener.onVisible?.(partition);
  }
}
