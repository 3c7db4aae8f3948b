/** A partition, from the inside. */
export interface ServedPartition {
  readonly id: number;
  readonly definition: {
    /** Open for writing: it was not split. */
    readonly isActive: boolean;
  };
}

/** A topic, from the inside. */
export interface ServedTopic {
  readonly path: string;
  /** By their id. */
  readonly partitions: readonly ServedPartition[];
}

/** What a server does by itself now and then, for tests that want it now. */
export interface ServedTopics {
  topic(path: string): ServedTopic | undefined;
  topics(): readonly ServedTopic[];
  /** Closes a partition for writing, and opens two in its place. @returns whether it could. */
  splitPartition(topic: ServedTopic, id: number): Promise<boolean>;
  /** Retention, auto-partitioning and checkpoints. */
  maintain(): Promise<void>;
}
