// Between what users say and what travels.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Duration, type Timestamp, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type CodecName, codecName, codecNumber } from "../compression/codec-name.ts";
import type {
  AlterConsumerSchema,
  AlterTopicRequestSchema,
  Consumer,
  ConsumerSchema,
  CreateTopicRequestSchema,
  DescribeConsumerResult,
  DescribeTopicResult,
  PartitionKeyRange,
  PartitionStats,
} from "../gen/ydb/topic_admin_pb.ts";
import { AutoPartitioningStrategy as Strategy, MeteringMode as Metering } from "../gen/ydb/topic_admin_pb.ts";
import type { PartitionLocation } from "../gen/ydb/topic_pb.ts";
import { TopicError } from "../topic-error.ts";
import type {
  AutoPartitioningStrategy,
  ConsumerDescription,
  ConsumerReport,
  ConsumerSettings,
  MeteringMode,
  PartitionDescription,
  PartitionStatistics,
  TopicChanges,
  TopicDescription,
  TopicSettings,
} from "./control-types.ts";

const mebibyte = 2 ** 20;

const strategies: Readonly<Record<AutoPartitioningStrategy, Strategy>> = {
  disabled: Strategy.DISABLED,
  "scale-up": Strategy.SCALE_UP,
  "scale-up-and-down": Strategy.SCALE_UP_AND_DOWN,
  paused: Strategy.PAUSED,
};
const meterings: Readonly<Record<MeteringMode, Metering>> = {
  "reserved-capacity": Metering.RESERVED_CAPACITY,
  "request-units": Metering.REQUEST_UNITS,
};

/** A whole number of something, at least `min`. */
function whole(name: string, value: number, min = 0): bigint {
  if (Number.isSafeInteger(value) && value >= min) return BigInt(value);
  throw new TopicError("OPTIONS_INVALID", `${name} must be a whole number of at least ${min}, got ${value}`);
}

function duration(name: string, ms: number): MessageInitShape<typeof import("@bufbuild/protobuf/wkt").DurationSchema> {
  if (!(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw new TopicError("OPTIONS_INVALID", `${name} must be at least 0 ms, got ${ms}`);
  }
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

/** The server counts in MiB; what is not a whole number of them is rounded up. */
const megabytes = (bytes: number): bigint => whole("retentionBytes", Math.ceil(bytes / mebibyte));
const codecsOf = (codecs: readonly CodecName[]) => ({ codecs: codecs.map(codecNumber) });

/** Leaves out what is undefined, which protobuf-es does not take for absent in every place. */
type Given<T> = { [K in keyof T]: Exclude<T[K], undefined> };
function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}

function lookUp<K extends string, V>(name: string, table: Readonly<Record<K, V>>, key: K): V {
  const value = Object.hasOwn(table, key) ? table[key] : undefined;
  if (value !== undefined) return value;
  throw new TopicError(
    "OPTIONS_INVALID",
    `${name} must be one of ${Object.keys(table).join(", ")}, got ${String(key)}`,
  );
}

function nameOf<K extends string, V>(table: Readonly<Record<K, V>>, value: V, otherwise: K): K {
  return (Object.keys(table) as K[]).find((key) => table[key] === value) ?? otherwise;
}

function consumerOf(consumer: string | ConsumerSettings): MessageInitShape<typeof ConsumerSchema> {
  if (typeof consumer === "string") return { name: consumer };
  return given({
    name: consumer.name,
    important: consumer.important ?? false,
    readFrom: consumer.readFrom && timestampFromDate(consumer.readFrom),
    supportedCodecs: consumer.codecs && codecsOf(consumer.codecs),
    attributes: { ...consumer.attributes },
    availabilityPeriod:
      consumer.availabilityMs === undefined ? undefined : duration("availabilityMs", consumer.availabilityMs),
  }) as MessageInitShape<typeof ConsumerSchema>;
}

/** @throws {TopicError} `OPTIONS_INVALID` */
export function createRequest(
  path: string,
  settings: TopicSettings,
): MessageInitShape<typeof CreateTopicRequestSchema> {
  const auto = settings.autoPartitioning;
  return given({
    path,
    partitioningSettings: given({
      minActivePartitions: whole("partitions", settings.partitions ?? 1, 1),
      maxActivePartitions:
        settings.maxPartitions === undefined ? undefined : whole("maxPartitions", settings.maxPartitions, 1),
      autoPartitioningSettings:
        auto &&
        given({
          strategy: lookUp("autoPartitioning.strategy", strategies, auto.strategy),
          partitionWriteSpeed: given({
            stabilizationWindow:
              auto.stabilizationMs === undefined ? undefined : duration("stabilizationMs", auto.stabilizationMs),
            upUtilizationPercent: percent("upUtilizationPercent", auto.upUtilizationPercent),
            downUtilizationPercent: percent("downUtilizationPercent", auto.downUtilizationPercent),
          }),
        }),
    }),
    retentionPeriod: settings.retentionMs === undefined ? undefined : duration("retentionMs", settings.retentionMs),
    retentionStorageMb: settings.retentionBytes === undefined ? undefined : megabytes(settings.retentionBytes),
    supportedCodecs: settings.codecs && codecsOf(settings.codecs),
    partitionWriteSpeedBytesPerSecond: speed("partitionWriteBytesPerSecond", settings.partitionWriteBytesPerSecond),
    partitionWriteBurstBytes: speed("partitionWriteBurstBytes", settings.partitionWriteBurstBytes),
    attributes: { ...settings.attributes },
    consumers: (settings.consumers ?? []).map(consumerOf),
    meteringMode: settings.metering && lookUp("metering", meterings, settings.metering),
  }) as MessageInitShape<typeof CreateTopicRequestSchema>;
}

const speed = (name: string, value: number | undefined) => (value === undefined ? undefined : whole(name, value));
const percent = speed;

/** @throws {TopicError} `OPTIONS_INVALID` */
export function alterRequest(path: string, changes: TopicChanges): MessageInitShape<typeof AlterTopicRequestSchema> {
  const auto = changes.autoPartitioning;
  const partitioning = given({
    setMinActivePartitions: changes.partitions === undefined ? undefined : whole("partitions", changes.partitions, 1),
    setMaxActivePartitions:
      changes.maxPartitions === undefined ? undefined : whole("maxPartitions", changes.maxPartitions, 1),
    alterAutoPartitioningSettings:
      auto &&
      given({
        setStrategy: auto.strategy && lookUp("autoPartitioning.strategy", strategies, auto.strategy),
        setPartitionWriteSpeed: given({
          setStabilizationWindow:
            auto.stabilizationMs === undefined ? undefined : duration("stabilizationMs", auto.stabilizationMs),
          setUpUtilizationPercent: percent("upUtilizationPercent", auto.upUtilizationPercent),
          setDownUtilizationPercent: percent("downUtilizationPercent", auto.downUtilizationPercent),
        }),
      }),
  });
  return given({
    path,
    alterPartitioningSettings: Object.keys(partitioning).length === 0 ? undefined : partitioning,
    setRetentionPeriod: changes.retentionMs === undefined ? undefined : duration("retentionMs", changes.retentionMs),
    setRetentionStorageMb: changes.retentionBytes === undefined ? undefined : megabytes(changes.retentionBytes),
    setSupportedCodecs: changes.codecs && codecsOf(changes.codecs),
    setPartitionWriteSpeedBytesPerSecond: speed("partitionWriteBytesPerSecond", changes.partitionWriteBytesPerSecond),
    setPartitionWriteBurstBytes: speed("partitionWriteBurstBytes", changes.partitionWriteBurstBytes),
    alterAttributes: { ...changes.attributes },
    addConsumers: (changes.addConsumers ?? []).map(consumerOf),
    dropConsumers: [...(changes.dropConsumers ?? [])],
    alterConsumers: (changes.alterConsumers ?? []).map(alterConsumerOf),
    setMeteringMode: changes.metering && lookUp("metering", meterings, changes.metering),
  }) as MessageInitShape<typeof AlterTopicRequestSchema>;
}

function alterConsumerOf(consumer: ConsumerSettings): MessageInitShape<typeof AlterConsumerSchema> {
  const { availabilityMs } = consumer;
  return given({
    name: consumer.name,
    setImportant: consumer.important,
    setReadFrom: consumer.readFrom && timestampFromDate(consumer.readFrom),
    setSupportedCodecs: consumer.codecs && codecsOf(consumer.codecs),
    alterAttributes: { ...consumer.attributes },
    availabilityPeriodAction:
      availabilityMs === undefined
        ? undefined
        : { case: "setAvailabilityPeriod" as const, value: duration("availabilityMs", availabilityMs) },
  }) as MessageInitShape<typeof AlterConsumerSchema>;
}

const msOf = (value: Duration | undefined): number =>
  value === undefined ? 0 : Number(value.seconds) * 1000 + value.nanos / 1e6;
/** Where nobody set a time, YDB says 1970. */
const dateOf = (value: Timestamp | undefined): Date | undefined =>
  value === undefined || (value.seconds === 0n && value.nanos === 0) ? undefined : timestampDate(value);

function consumerDescription(consumer: Consumer): ConsumerDescription {
  const readFrom = dateOf(consumer.readFrom);
  return {
    name: consumer.name,
    important: consumer.important,
    codecs: (consumer.supportedCodecs?.codecs ?? []).map(codecName),
    attributes: consumer.attributes,
    ...(readFrom && { readFrom }),
    ...(consumer.availabilityPeriod && { availabilityMs: msOf(consumer.availabilityPeriod) }),
  };
}

interface PartitionLike {
  readonly partitionId: bigint;
  readonly active: boolean;
  readonly childPartitionIds: readonly bigint[];
  readonly parentPartitionIds: readonly bigint[];
  readonly partitionStats?: PartitionStats | undefined;
  readonly partitionLocation?: PartitionLocation | undefined;
  readonly keyRange?: PartitionKeyRange | undefined;
}

function partitionDescription(partition: PartitionLike): PartitionDescription {
  const { partitionLocation: location, keyRange } = partition;
  return {
    partitionId: partition.partitionId,
    isActive: partition.active,
    children: partition.childPartitionIds,
    parents: partition.parentPartitionIds,
    keyRange: keyRange && { from: bound(keyRange.fromBound), to: bound(keyRange.toBound) },
    location: location && { nodeId: location.nodeId, generation: location.generation },
    stats: partition.partitionStats && statistics(partition.partitionStats),
  };
}

/** Servers also say "no bound" with no bytes. */
const bound = (bytes: Uint8Array | undefined) => (bytes === undefined || bytes.length === 0 ? undefined : bytes);

function statistics(stats: PartitionStats): PartitionStatistics {
  return {
    startOffset: stats.partitionOffsets?.start ?? 0n,
    endOffset: stats.partitionOffsets?.end ?? 0n,
    storeBytes: stats.storeSizeBytes,
    lastWriteAt: dateOf(stats.lastWriteTime),
  };
}

export function topicDescription(result: DescribeTopicResult): TopicDescription {
  const settings = result.partitioningSettings;
  const auto = settings?.autoPartitioningSettings;
  return {
    name: result.self?.name ?? "",
    owner: result.self?.owner ?? "",
    partitions: result.partitions.map(partitionDescription),
    minPartitions: Number(settings?.minActivePartitions ?? 0n),
    maxPartitions: Number(settings?.maxActivePartitions ?? 0n),
    autoPartitioning: {
      strategy: nameOf(strategies, auto?.strategy ?? Strategy.DISABLED, "disabled"),
      stabilizationMs: msOf(auto?.partitionWriteSpeed?.stabilizationWindow),
      upUtilizationPercent: Number(auto?.partitionWriteSpeed?.upUtilizationPercent ?? 0n),
      downUtilizationPercent: Number(auto?.partitionWriteSpeed?.downUtilizationPercent ?? 0n),
    },
    retentionMs: msOf(result.retentionPeriod),
    retentionBytes: Number(result.retentionStorageMb) * mebibyte,
    codecs: (result.supportedCodecs?.codecs ?? []).map(codecName),
    partitionWriteBytesPerSecond: Number(result.partitionWriteSpeedBytesPerSecond),
    partitionWriteBurstBytes: Number(result.partitionWriteBurstBytes),
    attributes: result.attributes,
    consumers: result.consumers.map(consumerDescription),
    storeBytes: result.topicStats?.storeSizeBytes,
  };
}

export function consumerReport(what: string, result: DescribeConsumerResult): ConsumerReport {
  if (result.consumer === undefined) throw new TopicError("FRAME_INVALID", `${what}: the answer has no consumer`);
  return {
    consumer: consumerDescription(result.consumer),
    partitions: result.partitions.map((partition) => {
      const stats = partition.partitionConsumerStats;
      return {
        ...partitionDescription(partition),
        progress: stats && {
          committedOffset: stats.committedOffset,
          lastReadOffset: stats.lastReadOffset,
          readSessionId: stats.readSessionId,
          readerName: stats.readerName,
          nodeId: stats.connectionNodeId,
        },
      };
    }),
  };
}
