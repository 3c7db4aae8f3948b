import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TopicReport } from "@tidemark/topic-server";
import type { TopicSchema, TopicsResponseSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";

/** What is asked of the topics that are served here. */
export interface TopicsPort {
  /** By path, in order. */
  paths(): readonly string[];
  /** Undefined: it is gone. */
  report(path: string): Promise<TopicReport | undefined>;
}

/** So many are told of at once. */
const maxTopics = 200;

/** All topics in short, and one of them by partition. */
export async function toTopics(
  port: TopicsPort,
  detailOf: string,
): Promise<MessageInitShape<typeof TopicsResponseSchema>> {
  const paths = port.paths();
  const shown = paths.slice(0, maxTopics);
  // The one that is looked at is told of in any case.
  if (detailOf !== "" && paths.includes(detailOf) && !shown.includes(detailOf)) shown.push(detailOf);
  const topics: MessageInitShape<typeof TopicSchema>[] = [];
  for (const path of shown) {
    const report = await port.report(path);
    if (report !== undefined) topics.push(toTopic(report, path === detailOf));
  }
  return { topics, total: paths.length };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const time = (ms: number | undefined) => (ms === undefined ? {} : { lastWriteAtMs: BigInt(Math.trunc(ms)) });

function toTopic(
  { path, partitions, consumers }: TopicReport,
  isDetailed: boolean,
): MessageInitShape<typeof TopicSchema> {
  const writes = partitions.flatMap(({ lastWriteAtMs }) => (lastWriteAtMs === undefined ? [] : [lastWriteAtMs]));
  return {
    path,
    partitionCount: partitions.length,
    messages: BigInt(sum(partitions.map(({ startOffset, endOffset }) => endOffset - startOffset))),
    written: BigInt(sum(partitions.map(({ endOffset }) => endOffset))),
    storedBytes: BigInt(sum(partitions.map(({ storedBytes }) => storedBytes))),
    ...time(writes.length === 0 ? undefined : writes.reduce((a, b) => Math.max(a, b))),
    consumers: consumers.map(({ name, isImportant, progress }) => ({
      name,
      important: isImportant,
      lag: BigInt(
        sum(
          progress.map(({ committedOffset }, index) => {
            const { startOffset = 0, endOffset = 0 } = partitions[index] ?? {};
            // What retention took away is not waited for.
            return Math.max(0, endOffset - Math.max(committedOffset, startOffset));
          }),
        ),
      ),
      lagMs: BigInt(progress.reduce((longest, { lagMs }) => Math.max(longest, Math.trunc(lagMs)), 0)),
      readPartitions: progress.filter(({ readerName }) => readerName !== undefined).length,
      progress: isDetailed
        ? progress.map(({ committedOffset, lagMs, readerName }) => ({
            committed: BigInt(committedOffset),
            lagMs: BigInt(Math.trunc(lagMs)),
            isRead: readerName !== undefined,
            reader: readerName ?? "",
          }))
        : [],
    })),
    partitions: isDetailed
      ? partitions.map(({ id, isActive, startOffset, endOffset, storedBytes, lastWriteAtMs }) => ({
          id,
          active: isActive,
          startOffset: BigInt(startOffset),
          endOffset: BigInt(endOffset),
          storedBytes: BigInt(storedBytes),
          ...time(lastWriteAtMs),
        }))
      : [],
  };
}
