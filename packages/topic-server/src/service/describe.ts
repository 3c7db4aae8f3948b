import type { MessageInitShape } from "@bufbuild/protobuf";
import { schemeWire, StatusCode, type topicAdminWire as wire } from "@tidemark/topic/internal";
import type { ConsumerDefinition } from "../storage/definition.ts";
import type { Partition } from "../storage/partition.ts";
import type { StoredRecord } from "../storage/record.ts";
import type { Topic } from "../storage/topic.ts";
import { duration, timestamp } from "./messages.ts";
import { Refusal } from "./refusal.ts";
import type { Service } from "./service.ts";
import { consumerWire, partitioningWire } from "./topic-definitions.ts";

/** What a caller wants to know besides what was defined. */
export interface Wanted {
  readonly includeStats: boolean;
  readonly includeLocation: boolean;
}

/** A time of something that may not have happened. */
/** 1970 for what never happened, as in YDB: clients read times without looking. */
const timeOf = (ms: number | undefined) => timestamp(ms ?? 0);
const highest = (values: readonly number[]) => values.reduce((max, value) => Math.max(max, value), 0);

function earliest(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce(
    (min, value) => (value !== undefined && (min === undefined || value < min) ? value : min),
    undefined,
  );
}

interface Bytes {
  readonly perMinute: number;
  readonly perHour: number;
  readonly perDay: number;
}

function windows(all: readonly Bytes[]) {
  const sum = (of: (bytes: Bytes) => number) => BigInt(all.reduce((total, bytes) => total + of(bytes), 0));
  return {
    perMinute: sum(({ perMinute }) => perMinute),
    perHour: sum(({ perHour }) => perHour),
    perDay: sum(({ perDay }) => perDay),
  };
}

export function entry(topic: Topic) {
  return {
    name: topic.path.slice(topic.path.lastIndexOf("/") + 1),
    owner: "root",
    type: schemeWire.Entry_Type.TOPIC,
    createdAt: { planStep: BigInt(topic.createdAtMs), txId: BigInt(topic.id) },
  };
}

export async function describeTopic(
  service: Service,
  topic: Topic,
  wanted: Wanted,
): Promise<MessageInitShape<typeof wire.DescribeTopicResultSchema>> {
  const { definition, partitions } = topic;
  const now = service.clock.now();
  const isRanged = hasKeyRanges(topic);
  const ages = new Ages();
  const consumers: MessageInitShape<typeof wire.ConsumerSchema>[] = [];
  for (const consumer of definition.consumers) {
    const progress = wanted.includeStats ? await progressOf(service, topic, consumer.name, ages) : undefined;
    const stats = progress === undefined ? {} : { consumerStats: consumerStats(progress) };
    consumers.push({ ...consumerWire(consumer), ...stats });
  }
  return {
    self: entry(topic),
    partitioningSettings: partitioningWire(definition),
    partitions: partitions.map((partition) => partitionWire(service, partition, wanted, isRanged)),
    retentionPeriod: duration(definition.retentionMs),
    retentionStorageMb: BigInt(Math.floor(definition.retentionBytes / (1024 * 1024))),
    supportedCodecs: { codecs: [...definition.codecs] },
    partitionWriteSpeedBytesPerSecond: BigInt(definition.writeSpeedBytesPerSecond),
    partitionWriteBurstBytes: BigInt(definition.writeBurstBytes),
    attributes: { ...definition.attributes },
    consumers,
    meteringMode: definition.meteringMode as wire.MeteringMode,
    ...(definition.metricsLevel === undefined ? {} : { metricsLevel: definition.metricsLevel }),
    ...(wanted.includeStats ? { topicStats: topicStats(topic, now) } : {}),
  };
}

function topicStats({ partitions }: Topic, now: number) {
  return {
    storeSizeBytes: BigInt(partitions.reduce((sum, { log }) => sum + log.storedBytes, 0)),
    minLastWriteTime: timeOf(earliest(partitions.map(({ log }) => log.lastWrittenAtMs))),
    maxWriteTimeLag: duration(highest(partitions.map(({ traffic }) => traffic.maxWriteLagMs(now)))),
    bytesWritten: windows(partitions.map(({ traffic }) => traffic.bytes(now))),
  };
}

/** @throws {Refusal} `BAD_REQUEST` */
export function describePartition(
  service: Service,
  topic: Topic,
  id: bigint,
  wanted: Wanted,
): MessageInitShape<typeof wire.DescribePartitionResultSchema> {
  const partition = topic.partitions[Number(id)];
  // Not SCHEME_ERROR, which the topic is: so does YDB (schema/topic/describe_partition.cpp in services/persqueue_v1).
  if (partition === undefined) throw new Refusal(StatusCode.BAD_REQUEST, `${topic.path} has no partition ${id}`);
  return { partition: partitionWire(service, partition, wanted, hasKeyRanges(topic)) };
}

export async function describeConsumer(
  service: Service,
  topic: Topic,
  consumer: ConsumerDefinition,
  wanted: Wanted,
): Promise<MessageInitShape<typeof wire.DescribeConsumerResultSchema>> {
  const self = entry(topic);
  const all = wanted.includeStats ? await progressOf(service, topic, consumer.name) : [];
  return {
    self: { ...self, name: `${self.name}/${consumer.name}` },
    consumer: {
      ...consumerWire(consumer),
      ...(wanted.includeStats ? { consumerStats: consumerStats(all) } : {}),
    },
    partitions: topic.partitions.map((partition, index) => {
      const progress = all[index];
      return {
        ...partitionWire(service, partition, wanted, false),
        ...(progress === undefined
          ? {}
          : { partitionConsumerStats: partitionConsumerStats(service, topic, consumer.name, progress) }),
      };
    }),
  };
}

/** How far a consumer is with a partition. */
interface Progress {
  readonly partition: Partition;
  readonly committed: number;
  /** How long ago the first message was written that is not committed; 0: there is none. */
  readonly committedLagMs: number;
  readonly lastReadAtMs: number | undefined;
  readonly lastReadOffset: number | undefined;
  readonly readLagMs: number;
  readonly writeLagMs: number;
  readonly bytesRead: Bytes;
}

const noBytes: Bytes = { perMinute: 0, perHour: 0, perDay: 0 };

/** One partition after the other: where a consumer is far behind the disk is asked. */
export async function progressOf(
  service: Service,
  topic: Topic,
  consumer: string,
  ages = new Ages(),
): Promise<Progress[]> {
  const now = service.clock.now();
  const all: Progress[] = [];
  for (const partition of topic.partitions) {
    const stats = service.readStats.find(topic, consumer, partition.id);
    const committed = topic.committedOffset(consumer, partition.id);
    const known = ages.find(partition, committed, now);
    all.push({
      partition,
      committed,
      committedLagMs: known instanceof Promise ? await known : known,
      lastReadAtMs: stats?.lastReadAtMs,
      lastReadOffset: stats?.lastReadOffset,
      readLagMs: stats?.traffic.maxReadLagMs(now) ?? 0,
      writeLagMs: stats?.traffic.maxWriteLagMs(now) ?? 0,
      bytesRead: stats?.traffic.bytes(now) ?? noBytes,
    });
  }
  return all;
}

/** How old messages are. Many consumers of a topic stand at the same ones. */
export class Ages {
  readonly #known = new Map<Partition, Map<number, number>>();

  find(partition: Partition, offset: number, now: number): number | Promise<number> {
    const { log } = partition;
    if (offset >= log.endOffset) return 0;
    const known = this.#known.get(partition)?.get(offset);
    if (known !== undefined) return known;
    const keep = ([record]: readonly StoredRecord[]): number => {
      const ageMs = record === undefined ? 0 : Math.max(0, now - record.writtenAtMs);
      const ages = this.#known.get(partition) ?? new Map<number, number>();
      this.#known.set(partition, ages.set(offset, ageMs));
      return ageMs;
    };
    const found = log.read(Math.max(offset, log.startOffset), 1);
    return found instanceof Promise ? found.then(keep) : keep(found);
  }
}

function consumerStats(all: readonly Progress[]) {
  return {
    minPartitionsLastReadTime: timeOf(earliest(all.map(({ lastReadAtMs }) => lastReadAtMs))),
    maxReadTimeLag: duration(highest(all.map(({ readLagMs }) => readLagMs))),
    maxWriteTimeLag: duration(highest(all.map(({ writeLagMs }) => writeLagMs))),
    maxCommittedTimeLag: duration(highest(all.map(({ committedLagMs }) => committedLagMs))),
    bytesRead: windows(all.map(({ bytesRead }) => bytesRead)),
  };
}

function partitionConsumerStats(service: Service, topic: Topic, consumer: string, progress: Progress) {
  const { partition, committed } = progress;
  const reader = service.groups.find(topic, consumer)?.ownerOf(partition.id);
  const session = reader?.position(topic, partition.id);
  return {
    lastReadOffset: BigInt(session?.readOffset ?? progress.lastReadOffset ?? committed),
    committedOffset: BigInt(committed),
    readSessionId: reader?.id ?? "",
    readerName: reader?.readerName ?? "",
    connectionNodeId: reader === undefined ? 0 : service.location.nodeId,
    partitionReadSessionCreateTime: timeOf(session?.createdAtMs),
    lastReadTime: timeOf(progress.lastReadAtMs),
    maxReadTimeLag: duration(progress.readLagMs),
    maxWriteTimeLag: duration(progress.writeLagMs),
    maxCommittedTimeLag: duration(progress.committedLagMs),
    bytesRead: windows([progress.bytesRead]),
  };
}

/** Without splits nobody may rely on ranges: some clients then refuse partitions that have one. */
function hasKeyRanges({ definition, partitions }: Topic): boolean {
  return (
    definition.autoPartitioning.strategy !== "disabled" || partitions.some((each) => each.definition.parents.length > 0)
  );
}

function partitionWire(service: Service, partition: Partition, wanted: Wanted, isRanged: boolean) {
  const { id, isActive, children, parents, fromBound, toBound } = partition.definition;
  return {
    partitionId: BigInt(id),
    active: isActive,
    childPartitionIds: children.map(BigInt),
    parentPartitionIds: parents.map(BigInt),
    ...(isRanged
      ? {
          keyRange: {
            ...(fromBound === undefined ? {} : { fromBound: Buffer.from(fromBound, "hex") }),
            ...(toBound === undefined ? {} : { toBound: Buffer.from(toBound, "hex") }),
          },
        }
      : {}),
    ...(wanted.includeStats ? { partitionStats: partitionStats(service, partition) } : {}),
    ...(wanted.includeLocation ? { partitionLocation: service.location } : {}),
  };
}

function partitionStats(service: Service, { log, traffic }: Partition) {
  const now = service.clock.now();
  return {
    partitionOffsets: { start: BigInt(log.startOffset), end: BigInt(log.endOffset) },
    storeSizeBytes: BigInt(log.storedBytes),
    lastWriteTime: timeOf(log.lastWrittenAtMs),
    maxWriteTimeLag: duration(traffic.maxWriteLagMs(now)),
    bytesWritten: windows([traffic.bytes(now)]),
    partitionNodeId: service.location.nodeId,
  };
}
