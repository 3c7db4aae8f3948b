import type { Clock } from "@tidemark/clock";
import type { TopicServerError } from "../topic-server-error.ts";
import type { Catalog, OffsetRow } from "./catalog.ts";
import type { Topic } from "./topic.ts";

interface Waiting {
  readonly topic: Topic;
  readonly row: OffsetRow;
  done(error?: TopicServerError): void;
}

/** Commits of one turn of the event loop share one transaction, and so one sync. */
export class OffsetCommits {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  #waiting: Waiting[] = [];

  constructor(catalog: Catalog, clock: Clock) {
    this.#catalog = catalog;
    this.#clock = clock;
  }

  /** `done` is called once, later, when the offset is durable or cannot be. */
  add(
    topic: Topic,
    consumer: string,
    partition: number,
    offset: number,
    done: (error?: TopicServerError) => void,
  ): void {
    const row = { topicId: topic.id, consumer, partition, offset };
    this.#waiting.push({ topic, row, done });
    if (this.#waiting.length === 1) this.#clock.setImmediate(() => this.flush());
  }

  flush(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    const live = waiting.filter(({ topic, row }) => !topic.isDropped && topic.hasConsumer(row.consumer));
    let failure: TopicServerError | undefined;
    try {
      this.#catalog.setOffsets(live.map(({ row }) => row));
      for (const { topic, row } of live) topic.setCommittedOffset(row.consumer, row.partition, row.offset);
    } catch (error) {
      failure = error as TopicServerError;
    }
    for (const { done } of waiting) done(failure);
  }
}
