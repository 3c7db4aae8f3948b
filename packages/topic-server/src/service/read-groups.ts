import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import { Balancer, type BalancerEffect } from "./balancer.ts";

/** A reader in a group. Called from within the group's own calls; must not throw. */
export interface GroupMember {
  readonly id: string;
  readonly readerName: string;
  /** Whether it is told about ended partitions, and so may go on with their children at once. */
  readonly seesSplits: boolean;
  onAssigned(topic: Topic, partition: Partition): void;
  onStop(topic: Topic, partition: number, isGraceful: boolean): void;
  /** Somebody else committed. */
  onMoved(topic: Topic, partition: number, offset: number): void;
  onConsumerGone(consumer: string): void;
  /** Where it is with a partition, and since when it has it, for who describes the consumer. */
  position(topic: Topic, partition: number): { readonly readOffset: number; readonly createdAtMs: number } | undefined;
}

/** The readers of one consumer of one topic. */
export class ReadGroup {
  readonly topic: Topic;
  readonly consumer: string;
  readonly #members = new Map<string, GroupMember>();
  readonly #balancer = new Balancer();
  /** Partitions that were read to their end by the session that has them, and are not committed to it yet. */
  readonly #readToEnd = new Map<number, string>();
  /** Partitions that nobody may read for a while, and how many wait for their end. */
  readonly #suspended = new Map<number, number>();
  readonly #stopListening: () => void;

  constructor(topic: Topic, consumer: string) {
    this.topic = topic;
    this.consumer = consumer;
    this.#stopListening = topic.listen({
      onPartitions: () => this.refresh(),
      onAltered: () => {
        if (topic.hasConsumer(consumer)) return;
        for (const member of this.#members.values()) member.onConsumerGone(consumer);
      },
    });
    this.refresh();
  }

  get isEmpty(): boolean {
    return this.#members.size === 0 && this.#suspended.size === 0;
  }

  join(member: GroupMember, partitions: readonly number[]): void {
    this.#members.set(member.id, member);
    this.#apply(this.#balancer.join(member.id, partitions));
  }

  leave(member: GroupMember): void {
    this.#members.delete(member.id);
    for (const [partition, session] of this.#readToEnd) if (session === member.id) this.#readToEnd.delete(partition);
    this.#apply(this.#balancer.leave(member.id));
    this.refresh();
  }

  released(member: GroupMember, partition: number): void {
    this.#apply(this.#balancer.released(member.id, partition));
  }

  /** The member has read all there will ever be of it: it may go on with the children. */
  readToEnd(member: GroupMember, partition: number): void {
    if (!member.seesSplits) return;
    this.#readToEnd.set(partition, member.id);
    this.refresh();
  }

  ownerOf(partition: number): GroupMember | undefined {
    const id = this.#balancer.owner(partition);
    return id === undefined ? undefined : this.#members.get(id);
  }

  /** Takes partitions from whoever reads them, and gives them to nobody until `resume`. */
  suspend(partitions: readonly number[]): void {
    for (const id of partitions) {
      this.#suspended.set(id, (this.#suspended.get(id) ?? 0) + 1);
      this.#readToEnd.delete(id);
    }
    this.refresh();
    for (const id of partitions) this.ownerOf(id)?.onStop(this.topic, id, false);
  }

  resume(partitions: readonly number[]): void {
    for (const id of partitions) {
      const count = this.#suspended.get(id) ?? 0;
      if (count > 1) this.#suspended.set(id, count - 1);
      else this.#suspended.delete(id);
    }
    this.refresh();
  }

  /** Committed offsets or partitions changed. */
  refresh(): void {
    for (const partition of this.topic.partitions) {
      const isDone = this.#isDone(partition);
      const waiting = partition.parents.filter((parent) => !this.#isDone(parent));
      const readers = new Set(waiting.map((parent) => this.#readToEnd.get(parent.id)));
      const [reader] = readers;
      const isFree = waiting.length === 0 || (readers.size === 1 && reader !== undefined);
      const isReady = isFree && !this.#suspended.has(partition.id);
      // Who reads children stays with their parents: somebody else would get these after what came later.
      const only = waiting.length > 0 ? reader : isDone ? undefined : this.#readToEnd.get(partition.id);
      this.#apply(this.#balancer.offer(partition.id, isReady, only, isDone));
    }
  }

  close(): void {
    this.#stopListening();
  }

  #isDone(partition: Partition): boolean {
    const { isActive } = partition.definition;
    return !isActive && this.topic.committedOffset(this.consumer, partition.id) >= partition.log.endOffset;
  }

  #apply(effects: readonly BalancerEffect[]): void {
    for (const effect of effects) {
      const member = this.#members.get(effect.session);
      if (effect.type === "stop") member?.onStop(this.topic, effect.partition, true);
      else member?.onAssigned(this.topic, this.topic.partitions[effect.partition] as Partition);
    }
  }
}

/** All groups there are: one for each consumer that somebody reads as. */
export class ReadGroups {
  readonly #groups = new Map<string, ReadGroup>();

  group(topic: Topic, consumer: string): ReadGroup {
    const key = `${topic.id}/${consumer}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new ReadGroup(topic, consumer);
      this.#groups.set(key, group);
    }
    return group;
  }

  find(topic: Topic, consumer: string): ReadGroup | undefined {
    return this.#groups.get(`${topic.id}/${consumer}`);
  }

  leave(group: ReadGroup, member: GroupMember): void {
    group.leave(member);
    this.#closeEmpty(group);
  }

  /** Does what must not happen while partitions are read. Their readers start over afterwards. */
  async interrupt(
    topic: Topic,
    consumer: string,
    partitions: readonly number[],
    work: () => Promise<void>,
  ): Promise<void> {
    // Also for readers that come meanwhile.
    const group = this.group(topic, consumer);
    group.suspend(partitions);
    try {
      await work();
    } finally {
      group.resume(partitions);
      this.#closeEmpty(group);
    }
  }

  #closeEmpty(group: ReadGroup): void {
    if (!group.isEmpty) return;
    group.close();
    this.#groups.delete(`${group.topic.id}/${group.consumer}`);
  }

  /** A consumer's offset was made durable; `by` knows, others who have the partition are told. */
  committed(topic: Topic, consumer: string, partition: number, offset: number, by?: GroupMember): void {
    const group = this.find(topic, consumer);
    if (group === undefined) return;
    const owner = group.ownerOf(partition);
    if (owner !== undefined && owner !== by) owner.onMoved(topic, partition, offset);
    group.refresh();
  }
}
