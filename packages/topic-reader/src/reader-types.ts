/** One partition of one topic. Equal partition ids of two topics are two partitions. */
export interface TopicPartition {
  /** The topic's path as the server names it. */
  readonly topic: string;
  readonly partitionId: number;
}

/** One item of what a writer attached to a message. */
export interface MessageMetadata {
  readonly key: string;
  /** A view of what came from the network. */
  readonly value: Uint8Array;
}

/** Offsets that were to be committed and are not known to be; half-open. */
export interface UncommittedRange extends TopicPartition {
  readonly start: bigint;
  readonly end: bigint;
}

/** What a partition's start is told with. */
export interface PartitionStart extends TopicPartition {
  /** Everything below it is committed; 0 without a consumer. */
  readonly committedOffset: bigint;
  /** The oldest offset that there is. */
  readonly firstOffset: bigint;
  /** The offset that the next message written will have. */
  readonly endOffset: bigint;
}

/** Where a partition is to start. Leave both out to start where the consumer is. */
export interface PartitionStartAnswer {
  /** Nothing below it is delivered. At least `committedOffset`. */
  readonly readOffset?: bigint;
  /** Everything below it is committed, as if it had been read, and none of it is delivered. At least `committedOffset`. */
  readonly commitOffset?: bigint;
}

/**
 * Why a partition is no longer read here. `disconnected`: the stream broke, so all are. `lost`: it was taken away.
 * `released`: it was asked for, and given when pending commits were done. `abandoned`: it was asked for, and given
 * although something was still pending, because `gracefulStopTimeoutMs` was over.
 */
export type PartitionEnd = "disconnected" | "lost" | "released" | "abandoned";

/** What happens to a reader, beside the events of its stream. */
export type ReaderOwnEvent =
  | ({ readonly type: "partition-started" } & PartitionStart)
  | ({ readonly type: "partition-stopping" } & TopicPartition)
  | ({ readonly type: "partition-stopped"; readonly reason: PartitionEnd } & TopicPartition)
  /** It was split or merged and everything in it is delivered; its messages go on in its children. */
  | ({ readonly type: "partition-ended"; readonly childPartitionIds: readonly number[] } & TopicPartition)
  /** The start hook threw, hung, or answered nonsense. It is asked again. */
  | ({ readonly type: "start-failed"; readonly error: unknown; readonly retryDelayMs: number } & TopicPartition)
  /** The listener threw or rejected. It is given the same batch again. */
  | ({
      readonly type: "listener-failed";
      readonly error: unknown;
      readonly attempt: number;
      readonly retryDelayMs: number;
    } & TopicPartition)
  /** A commit that nobody waits for came to nothing. */
  | ({ readonly type: "commit-lost"; readonly start: bigint; readonly end: bigint } & TopicPartition)
  /** The server said something that this version does not know; it was skipped (P24). */
  | { readonly type: "unknown-message" };
