import type { Topic } from "../storage/topic.ts";
import { Ages, progressOf } from "./describe.ts";
import type { Service } from "./service.ts";

/** A topic as it stands: plain data. Offsets count messages from 0. */
export interface TopicReport {
  readonly path: string;
  readonly partitions: readonly PartitionReport[];
  readonly consumers: readonly ConsumerReport[];
}

export interface PartitionReport {
  readonly id: number;
  /** Open for writing: it was not split. */
  readonly isActive: boolean;
  readonly startOffset: number;
  /** Of the next message. */
  readonly endOffset: number;
  readonly storedBytes: number;
  /** In milliseconds since the Unix epoch; undefined: nothing was written yet. */
  readonly lastWriteAtMs: number | undefined;
}

export interface ConsumerReport {
  readonly name: string;
  readonly isImportant: boolean;
  /** One for each partition, in order. */
  readonly progress: readonly {
    readonly committedOffset: number;
    /** For how long the oldest message has waited that is not committed, in milliseconds; 0: there is none. */
    readonly lagMs: number;
    /** The name of the reader that has the partition, possibly empty; undefined: nobody has it. */
    readonly readerName: string | undefined;
  }[];
}

/** Where everything stands; a consumer that is far behind costs a read of the disk. */
export async function reportTopic(service: Service, topic: Topic): Promise<TopicReport> {
  const consumers: ConsumerReport[] = [];
  const ages = new Ages();
  for (const { name, important } of topic.definition.consumers) {
    const progress = await progressOf(service, topic, name, ages);
    consumers.push({
      name,
      isImportant: important,
      progress: progress.map(({ partition, committed, committedLagMs }) => ({
        committedOffset: committed,
        lagMs: committedLagMs,
        readerName: service.groups.find(topic, name)?.ownerOf(partition.id)?.readerName,
      })),
    });
  }
  return {
    path: topic.path,
    partitions: topic.partitions.map(({ id, definition, log }) => ({
      id,
      isActive: definition.isActive,
      startOffset: log.startOffset,
      endOffset: log.endOffset,
      storedBytes: log.storedBytes,
      lastWriteAtMs: log.lastWrittenAtMs,
    })),
    consumers,
  };
}
