import type { CodecName } from "../compression/codec-name.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Of the call with all its tries, in milliseconds, above 0. @default 30_000 */
  readonly timeoutMs?: number;
}

/** What topics and consumers are to be; the server has the defaults. */
export interface ConsumerSettings {
  readonly name: string;
  /** Retention keeps what it has not committed. @default false */
  readonly important?: boolean;
  /** What was written before is skipped. */
  readonly readFrom?: Date;
  /** @default those of the topic */
  readonly codecs?: readonly CodecName[];
  readonly attributes?: Readonly<Record<string, string>>;
  /** Retention keeps what it has not committed for this long, in milliseconds. */
  readonly availabilityMs?: number;
}

export type AutoPartitioningStrategy = "disabled" | "scale-up" | "scale-up-and-down" | "paused";
export type MeteringMode = "reserved-capacity" | "request-units";

export interface AutoPartitioningSettings {
  readonly strategy: AutoPartitioningStrategy;
  /** How long the load has to last, in milliseconds. */
  readonly stabilizationMs?: number;
  /** Of the partition's write speed; above it partitions are split. */
  readonly upUtilizationPercent?: number;
  readonly downUtilizationPercent?: number;
}

export interface TopicSettings {
  /** @default 1 */
  readonly partitions?: number;
  /** Up to which auto-partitioning goes. */
  readonly maxPartitions?: number;
  readonly autoPartitioning?: AutoPartitioningSettings;
  readonly retentionMs?: number;
  readonly retentionBytes?: number;
  /** What writers may use. @default any */
  readonly codecs?: readonly CodecName[];
  readonly partitionWriteBytesPerSecond?: number;
  readonly partitionWriteBurstBytes?: number;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly consumers?: readonly (string | ConsumerSettings)[];
  readonly metering?: MeteringMode;
}

/** Changes; what is not given stays. */
export interface TopicChanges {
  readonly partitions?: number;
  readonly maxPartitions?: number;
  readonly autoPartitioning?: Partial<AutoPartitioningSettings>;
  readonly retentionMs?: number;
  readonly retentionBytes?: number;
  readonly codecs?: readonly CodecName[];
  readonly partitionWriteBytesPerSecond?: number;
  readonly partitionWriteBurstBytes?: number;
  /** An empty value removes the attribute. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly addConsumers?: readonly (string | ConsumerSettings)[];
  readonly dropConsumers?: readonly string[];
  readonly alterConsumers?: readonly ConsumerSettings[];
  readonly metering?: MeteringMode;
}

export interface PartitionDescription {
  readonly partitionId: bigint;
  /** Open for writing. */
  readonly isActive: boolean;
  readonly children: readonly bigint[];
  readonly parents: readonly bigint[];
  /** The hashed keys that it has, `to` not included, undefined for no bound; undefined: the topic has no ranges. */
  readonly keyRange: { readonly from: Uint8Array | undefined; readonly to: Uint8Array | undefined } | undefined;
  /** With `location: true`. */
  readonly location: { readonly nodeId: number; readonly generation: bigint } | undefined;
  /** With `stats: true`. */
  readonly stats: PartitionStatistics | undefined;
}

export interface PartitionStatistics {
  readonly startOffset: bigint;
  /** Of the next message. */
  readonly endOffset: bigint;
  readonly storeBytes: bigint;
  readonly lastWriteAt: Date | undefined;
}

export interface ConsumerDescription extends ConsumerSettings {
  readonly important: boolean;
  readonly codecs: readonly CodecName[];
  readonly attributes: Readonly<Record<string, string>>;
}

export interface TopicDescription {
  /** The last segment of the path. */
  readonly name: string;
  readonly owner: string;
  readonly partitions: readonly PartitionDescription[];
  readonly minPartitions: number;
  readonly maxPartitions: number;
  readonly autoPartitioning: AutoPartitioningSettings;
  readonly retentionMs: number;
  /** 0: no limit. */
  readonly retentionBytes: number;
  /** Empty: any. */
  readonly codecs: readonly CodecName[];
  readonly partitionWriteBytesPerSecond: number;
  readonly partitionWriteBurstBytes: number;
  readonly attributes: Readonly<Record<string, string>>;
  readonly consumers: readonly ConsumerDescription[];
  /** With `stats: true`. */
  readonly storeBytes: bigint | undefined;
}

export interface ConsumerPartition extends PartitionDescription {
  /** With `stats: true`. */
  readonly progress:
    | {
        readonly committedOffset: bigint;
        readonly lastReadOffset: bigint;
        /** Empty: nobody reads it. */
        readonly readSessionId: string;
        readonly readerName: string;
        readonly nodeId: number;
      }
    | undefined;
}

export interface ConsumerReport {
  readonly consumer: ConsumerDescription;
  readonly partitions: readonly ConsumerPartition[];
}

export interface DescribeOptions extends CallOptions {
  readonly stats?: boolean;
  readonly location?: boolean;
}

export interface CommitOffsetOptions extends CallOptions {
  /**
   * The session that reads the partition; without it that session is interrupted. When it does not read the partition,
   * the call fails with `STATUS` and `SESSION_EXPIRED` at once.
   */
  readonly readSessionId?: string;
}

/** What can be done with topics besides writing and reading. Paths are absolute, or relative to the database. */
export interface ControlPlane {
  createTopic(path: string, settings?: TopicSettings, options?: CallOptions): Promise<void>;
  describeTopic(path: string, options?: DescribeOptions): Promise<TopicDescription>;
  alterTopic(path: string, changes: TopicChanges, options?: CallOptions): Promise<void>;
  dropTopic(path: string, options?: CallOptions): Promise<void>;
  describeConsumer(path: string, consumer: string, options?: DescribeOptions): Promise<ConsumerReport>;
  /** Commits everything below `offset`. */
  commitOffset(
    path: string,
    partitionId: number | bigint,
    consumer: string,
    offset: number | bigint,
    options?: CommitOffsetOptions,
  ): Promise<void>;
}
