import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { StatusCode, topicAdminWire as wire } from "@tidemark/topic/internal";
import {
  type AutoPartitioning,
  type AutoPartitioningStrategyName,
  type ConsumerDefinition,
  type TopicDefinition,
  topicDefaults,
} from "../storage/definition.ts";
import { duration, timestamp } from "./messages.ts";
import { Refusal } from "./refusal.ts";

const maxConsumers = 3000;
const maxPartitions = 10_000;
const mebibyte = 1024 * 1024;
const strategies: readonly (AutoPartitioningStrategyName | undefined)[] = [
  undefined,
  "disabled",
  "up",
  "upAndDown",
  "paused",
];

const bad = (message: string): Refusal => new Refusal(StatusCode.BAD_REQUEST, message);

function natural(name: string, value: bigint, max = Number.MAX_SAFE_INTEGER): number {
  if (value < 0n || value > BigInt(max)) throw bad(`${name} must be in [0, ${max}], got ${value}`);
  return Number(value);
}

function strategyOf(value: number): AutoPartitioningStrategyName {
  const strategy = strategies[value];
  if (value !== 0 && strategy === undefined) throw bad(`there is no auto-partitioning strategy ${value}`);
  return strategy ?? "disabled";
}

function autoPartitioningOf(settings: wire.AutoPartitioningSettings | undefined): AutoPartitioning {
  const defaults = topicDefaults.autoPartitioning;
  if (settings === undefined) return defaults;
  const speed = settings.partitionWriteSpeed;
  const window = speed?.stabilizationWindow;
  return {
    strategy: strategyOf(settings.strategy),
    stabilizationWindowMs: (window === undefined ? 0 : durationMs(window)) || defaults.stabilizationWindowMs,
    upUtilizationPercent: Number(speed?.upUtilizationPercent ?? 0n) || defaults.upUtilizationPercent,
    downUtilizationPercent: Number(speed?.downUtilizationPercent ?? 0n) || defaults.downUtilizationPercent,
  };
}

function consumerOf(consumer: wire.Consumer): ConsumerDefinition {
  if (consumer.name === "") throw bad("a consumer needs a name");
  const { readFrom, availabilityPeriod } = consumer;
  return {
    name: consumer.name,
    important: consumer.important,
    readFromMs: readFrom === undefined ? 0 : timestampMs(readFrom),
    codecs: consumer.supportedCodecs?.codecs ?? [],
    attributes: { ...consumer.attributes },
    availabilityPeriodMs: availabilityPeriod === undefined ? 0 : durationMs(availabilityPeriod),
  };
}

/** @throws {Refusal} `BAD_REQUEST` */
function checked(definition: TopicDefinition): TopicDefinition {
  const { minActivePartitions: min, maxActivePartitions: max, consumers, retentionMs } = definition;
  if (min < 1 || min > maxPartitions) throw bad(`min_active_partitions must be in [1, ${maxPartitions}], got ${min}`);
  if (max > 0 && max < min) throw bad(`max_active_partitions ${max} is below min_active_partitions ${min}`);
  if (consumers.length > maxConsumers) throw bad(`at most ${maxConsumers} consumers, got ${consumers.length}`);
  const names = new Set(consumers.map(({ name }) => name));
  if (names.size < consumers.length) throw bad("two consumers have the same name");
  if (retentionMs < 0) throw bad(`retention_period must not be negative, got ${retentionMs} ms`);
  return definition;
}

/** @throws {Refusal} `BAD_REQUEST` */
export function definitionOf(request: wire.CreateTopicRequest, path: string): TopicDefinition {
  const settings = request.partitioningSettings;
  const retention = request.retentionPeriod === undefined ? 0 : durationMs(request.retentionPeriod);
  return checked({
    path,
    minActivePartitions: natural("min_active_partitions", settings?.minActivePartitions ?? 0n) || 1,
    maxActivePartitions: natural("max_active_partitions", settings?.maxActivePartitions ?? 0n),
    autoPartitioning: autoPartitioningOf(settings?.autoPartitioningSettings),
    retentionMs: retention === 0 ? topicDefaults.retentionMs : retention,
    retentionBytes: natural("retention_storage_mb", request.retentionStorageMb, 2 ** 30) * mebibyte,
    codecs: request.supportedCodecs?.codecs ?? [],
    writeSpeedBytesPerSecond: natural("partition_write_speed", request.partitionWriteSpeedBytesPerSecond),
    writeBurstBytes: natural("partition_write_burst_bytes", request.partitionWriteBurstBytes),
    attributes: { ...request.attributes },
    consumers: request.consumers.map(consumerOf),
    meteringMode: request.meteringMode,
    metricsLevel: request.metricsLevel,
    contentBasedDeduplication: request.contentBasedDeduplication,
  });
}

function altered(known: Readonly<Record<string, string>>, changes: Readonly<Record<string, string>>) {
  const attributes = { ...known, ...changes };
  for (const [name, value] of Object.entries(changes)) if (value === "") delete attributes[name];
  return attributes;
}

function alterConsumer(consumer: ConsumerDefinition, change: wire.AlterConsumer): ConsumerDefinition {
  const { setReadFrom, availabilityPeriodAction: action } = change;
  return {
    name: consumer.name,
    important: change.setImportant ?? consumer.important,
    readFromMs: setReadFrom === undefined ? consumer.readFromMs : timestampMs(setReadFrom),
    codecs: change.setSupportedCodecs?.codecs ?? consumer.codecs,
    attributes: altered(consumer.attributes, change.alterAttributes),
    availabilityPeriodMs:
      action.case === "setAvailabilityPeriod"
        ? durationMs(action.value)
        : action.case === "resetAvailabilityPeriod"
          ? 0
          : consumer.availabilityPeriodMs,
  };
}

/** @throws {Refusal} `BAD_REQUEST`, `NOT_FOUND` for a consumer that is not there, `ALREADY_EXISTS` for one that is. */
export function alteredDefinition(known: TopicDefinition, request: wire.AlterTopicRequest): TopicDefinition {
  const settings = request.alterPartitioningSettings;
  const auto = settings?.alterAutoPartitioningSettings;
  const speed = auto?.setPartitionWriteSpeed;
  const window = speed?.setStabilizationWindow;
  const consumers = new Map(known.consumers.map((consumer) => [consumer.name, consumer]));
  for (const name of request.dropConsumers) {
    if (!consumers.delete(name)) throw new Refusal(StatusCode.NOT_FOUND, `${known.path} has no consumer ${name}`);
  }
  for (const added of request.addConsumers) {
    if (consumers.has(added.name)) {
      throw new Refusal(StatusCode.ALREADY_EXISTS, `${known.path} has a consumer ${added.name} already`);
    }
    consumers.set(added.name, consumerOf(added));
  }
  for (const change of request.alterConsumers) {
    const consumer = consumers.get(change.name);
    if (consumer === undefined) {
      throw new Refusal(StatusCode.NOT_FOUND, `${known.path} has no consumer ${change.name}`);
    }
    consumers.set(change.name, alterConsumer(consumer, change));
  }
  const or = (name: string, value: bigint | undefined, before: number) =>
    value === undefined ? before : natural(name, value);
  const before = known.autoPartitioning;
  const min = or("min_active_partitions", settings?.setMinActivePartitions, known.minActivePartitions);
  if (min < known.minActivePartitions) throw bad("the number of partitions cannot be reduced");
  const storageMb = request.setRetentionStorageMb;
  return checked({
    path: known.path,
    minActivePartitions: min,
    maxActivePartitions: or("max_active_partitions", settings?.setMaxActivePartitions, known.maxActivePartitions),
    autoPartitioning: {
      strategy: auto?.setStrategy === undefined ? before.strategy : strategyOf(auto.setStrategy),
      stabilizationWindowMs: window === undefined ? before.stabilizationWindowMs : durationMs(window),
      upUtilizationPercent: or("up_utilization_percent", speed?.setUpUtilizationPercent, before.upUtilizationPercent),
      downUtilizationPercent: or(
        "down_utilization_percent",
        speed?.setDownUtilizationPercent,
        before.downUtilizationPercent,
      ),
    },
    retentionMs: request.setRetentionPeriod === undefined ? known.retentionMs : durationMs(request.setRetentionPeriod),
    retentionBytes:
      storageMb === undefined ? known.retentionBytes : natural("retention_storage_mb", storageMb, 2 ** 30) * mebibyte,
    codecs: request.setSupportedCodecs?.codecs ?? known.codecs,
    writeSpeedBytesPerSecond: or(
      "partition_write_speed",
      request.setPartitionWriteSpeedBytesPerSecond,
      known.writeSpeedBytesPerSecond,
    ),
    writeBurstBytes: or("partition_write_burst_bytes", request.setPartitionWriteBurstBytes, known.writeBurstBytes),
    attributes: altered(known.attributes, request.alterAttributes),
    consumers: [...consumers.values()],
    meteringMode: request.setMeteringMode === 0 ? known.meteringMode : request.setMeteringMode,
    metricsLevel:
      request.metricsLevel.case === "setMetricsLevel"
        ? request.metricsLevel.value
        : request.metricsLevel.case === "resetMetricsLevel"
          ? undefined
          : known.metricsLevel,
    contentBasedDeduplication: request.setContentBasedDeduplication ?? known.contentBasedDeduplication,
  });
}

/** Without its statistics. A time that nobody set is 1970, as in YDB: the Rust client reads it without looking. */
export function consumerWire(consumer: ConsumerDefinition) {
  return {
    name: consumer.name,
    important: consumer.important,
    readFrom: timestamp(consumer.readFromMs),
    supportedCodecs: { codecs: [...consumer.codecs] },
    attributes: { ...consumer.attributes },
    ...(consumer.availabilityPeriodMs > 0 ? { availabilityPeriod: duration(consumer.availabilityPeriodMs) } : {}),
  };
}

export function partitioningWire(definition: TopicDefinition) {
  const { strategy, stabilizationWindowMs, upUtilizationPercent, downUtilizationPercent } = definition.autoPartitioning;
  return {
    minActivePartitions: BigInt(definition.minActivePartitions),
    maxActivePartitions: BigInt(definition.maxActivePartitions),
    autoPartitioningSettings: {
      strategy: strategies.indexOf(strategy) as wire.AutoPartitioningStrategy,
      partitionWriteSpeed: {
        stabilizationWindow: duration(stabilizationWindowMs),
        upUtilizationPercent: BigInt(upUtilizationPercent),
        downUtilizationPercent: BigInt(downUtilizationPercent),
      },
    },
  };
}
