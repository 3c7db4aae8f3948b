import type { Clock } from "@tidemark/clock";
import type { TopicServerError } from "../topic-server-error.ts";
import type { OffsetRow, ProducerBinding } from "./catalog.ts";
import type { Topic } from "./topic.ts";

/** Called once, later: when it is durable, or with the reason why it is not known to be. Must not throw. */
type Done = (error?: TopicServerError) => void;

interface Waiting {
  readonly topic: Topic;
  readonly offset: OffsetRow | undefined;
  readonly binding: ProducerBinding | undefined;
  readonly done: Done;
}

/** What commits go to: the catalogue. */
export interface CommitTarget {
  partitionOf(topicId: number, producer: string): number | undefined;
  /** Takes all of it at once. Not on the disk when it returns. @throws {TopicServerError} and nothing was taken. */
  commit(offsets: readonly OffsetRow[], bindings: readonly ProducerBinding[]): void;
  /** What was committed before the call is on the disk when it resolves. */
  sync(): Promise<void>;
}

/**
 * Consumers' offsets and producers' partitions, which come many at a time. Those of one turn of the event loop share one
 * transaction, those that come while the disk is waited for share the next one, and the event loop never waits.
 */
export class CatalogCommits {
  readonly #target: CommitTarget;
  readonly #clock: Clock;
  #waiting: Waiting[] = [];
  /** Bindings that wait, by topic and producer: who comes next has to know them. */
  readonly #bound = new Map<string, number>();
  #isScheduled = false;
  #writing: Promise<void> | undefined;

  constructor(target: CommitTarget, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
  }

  /** A consumer's offset. */
  add(topic: Topic, consumer: string, partition: number, offset: number, done: Done): void {
    const row = { topicId: topic.id, consumer, partition, offset };
    this.#push({ topic, offset: row, binding: undefined, done });
  }

  /** Where a producer writes from now on. @throws {TopicServerError} */
  bind(topic: Topic, producer: string, partition: number): Promise<void> {
    this.#bound.set(keyOf(topic.id, producer), partition);
    return new Promise((resolve, reject) => {
      const binding = { topicId: topic.id, producer, partition };
      const done: Done = (error) => (error === undefined ? resolve() : reject(error));
      this.#push({ topic, offset: undefined, binding, done });
    });
  }

  /** Where a producer writes, as far as anybody was told. */
  partitionOf(topic: Topic, producer: string): number | undefined {
    return this.#bound.get(keyOf(topic.id, producer)) ?? this.#target.partitionOf(topic.id, producer);
  }

  /** Resolves when everything before was told. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0 || this.#writing !== undefined) await (this.#writing ?? this.#start());
  }

  #push(waiting: Waiting): void {
    this.#waiting.push(waiting);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#writing !== undefined) return;
    this.#isScheduled = true;
    this.#clock.setImmediate(() => {
      this.#isScheduled = false;
      if (this.#writing === undefined && this.#waiting.length > 0) void this.#start();
    });
  }

  #start(): Promise<void> {
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length > 0) this.#schedule();
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    let failure: TopicServerError | undefined;
    try {
      this.#commit(waiting);
      await this.#target.sync();
    } catch (error) {
      failure = error as TopicServerError;
    }
    for (const { done } of waiting) done(failure);
  }

  #commit(waiting: readonly Waiting[]): void {
    const offsets: OffsetRow[] = [];
    const bindings: ProducerBinding[] = [];
    for (const { topic, offset, binding } of waiting) {
      if (topic.isDropped) continue;
      if (binding !== undefined) bindings.push(binding);
      if (offset !== undefined && topic.hasConsumer(offset.consumer)) offsets.push(offset);
    }
    try {
      this.#target.commit(offsets, bindings);
    } finally {
      for (const { binding } of waiting) if (binding !== undefined) this.#settle(binding);
    }
    // From here on it is what the catalogue says, and a consumer that is dropped meanwhile is dropped from both.
    for (const { topic, offset } of waiting) {
      if (offset === undefined || topic.isDropped || !topic.hasConsumer(offset.consumer)) continue;
      topic.setCommittedOffset(offset.consumer, offset.partition, offset.offset);
    }
  }

  #settle({ topicId, producer, partition }: ProducerBinding): void {
    const key = keyOf(topicId, producer);
    if (this.#bound.get(key) === partition) this.#bound.delete(key);
  }
}

const keyOf = (topicId: number, producer: string): string => `${topicId}/${producer}`;
