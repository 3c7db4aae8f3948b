export type AutoPartitioningStrategyName = "disabled" | "up" | "upAndDown" | "paused";

/** When a partition is split: enough of its write speed used for long enough. */
export interface AutoPartitioning {
  readonly strategy: AutoPartitioningStrategyName;
  readonly stabilizationWindowMs: number;
  readonly upUtilizationPercent: number;
  readonly downUtilizationPercent: number;
}

export interface ConsumerDefinition {
  readonly name: string;
  /** Retention keeps what it has not read. */
  readonly important: boolean;
  /** Messages written before are not for it, in milliseconds since 1970. */
  readonly readFromMs: number;
  readonly codecs: readonly number[];
  readonly attributes: Readonly<Record<string, string>>;
  /** Retention keeps what it has not read for so long; 0: not for its sake. */
  readonly availabilityPeriodMs: number;
}

/** What a topic is, besides its messages. */
export interface TopicDefinition {
  /** Absolute: `/local/orders`. */
  readonly path: string;
  readonly minActivePartitions: number;
  /** 0: as many as there are. */
  readonly maxActivePartitions: number;
  readonly autoPartitioning: AutoPartitioning;
  readonly retentionMs: number;
  /** Per partition; 0: no limit. */
  readonly retentionBytes: number;
  /** Empty: any. */
  readonly codecs: readonly number[];
  readonly writeSpeedBytesPerSecond: number;
  readonly writeBurstBytes: number;
  readonly attributes: Readonly<Record<string, string>>;
  readonly consumers: readonly ConsumerDefinition[];
  readonly meteringMode: number;
  readonly metricsLevel: number | undefined;
  readonly contentBasedDeduplication: boolean;
}

export const topicDefaults = {
  minActivePartitions: 1,
  maxActivePartitions: 0,
  autoPartitioning: {
    strategy: "disabled",
    stabilizationWindowMs: 300_000,
    upUtilizationPercent: 90,
    downUtilizationPercent: 30,
  },
  retentionMs: 24 * 3_600_000,
  retentionBytes: 0,
  codecs: [],
  writeSpeedBytesPerSecond: 0,
  writeBurstBytes: 0,
  attributes: {},
  consumers: [],
  meteringMode: 0,
  metricsLevel: undefined,
  contentBasedDeduplication: false,
} as const satisfies Omit<TopicDefinition, "path">;

/** A partition's place among the others. Bounds are 32 hexadecimal digits; undefined: no bound on that side. */
export interface PartitionDefinition {
  readonly id: number;
  /** Open for writing. */
  readonly isActive: boolean;
  readonly parents: readonly number[];
  readonly children: readonly number[];
  readonly fromBound: string | undefined;
  readonly toBound: string | undefined;
}

const space = 1n << 128n;
const toHex = (value: bigint): string => value.toString(16).padStart(32, "0");

/** Partitions that share the space of keys evenly. */
export function evenPartitions(count: number, firstId = 0): PartitionDefinition[] {
  const bound = (index: number) =>
    index === 0 || index === count ? undefined : toHex((space * BigInt(index)) / BigInt(count));
  return Array.from({ length: count }, (_, index) => ({
    id: firstId + index,
    isActive: true,
    parents: [],
    children: [],
    fromBound: bound(index),
    toBound: bound(index + 1),
  }));
}

/** A partition cut in two. Undefined when its range is too narrow. */
export function splitPartition(parent: PartitionDefinition, firstChildId: number): PartitionDefinition[] | undefined {
  const from = parent.fromBound === undefined ? 0n : BigInt(`0x${parent.fromBound}`);
  const to = parent.toBound === undefined ? space : BigInt(`0x${parent.toBound}`);
  if (to - from < 2n) return undefined;
  const middle = toHex((from + to) / 2n);
  const child = { isActive: true, parents: [parent.id], children: [] };
  return [
    { ...child, id: firstChildId, fromBound: parent.fromBound, toBound: middle },
    { ...child, id: firstChildId + 1, fromBound: middle, toBound: parent.toBound },
  ];
}

/** Whether a key's hash, 32 hexadecimal digits, is a partition's. */
export function covers(partition: PartitionDefinition, hash: string): boolean {
  const { fromBound, toBound } = partition;
  return (fromBound === undefined || hash >= fromBound) && (toBound === undefined || hash < toBound);
}
