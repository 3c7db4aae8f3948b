import { StatusCode } from "@tidemark/topic/internal";
import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import { Refusal } from "./refusal.ts";
import type { Service } from "./service.ts";

// CommitOffset, as YDB has it: `TCommitOffsetActor` in services/persqueue_v1/actors for what goes together with a partition,
// `TPartition` in core/persqueue for the bounds, for what a session may do, and for sessions that end.

/**
 * A commit on behalf of the session that reads the partition, which goes on. What it has committed already is no error.
 *
 * @throws {Refusal} `SESSION_EXPIRED`, `BAD_REQUEST`
 */
export async function commitFor(
  service: Service,
  topic: Topic,
  consumer: string,
  partition: Partition,
  offset: number,
  session: string,
): Promise<void> {
  const owner = service.groups.find(topic, consumer)?.ownerOf(partition.id);
  if (owner?.id !== session) {
    throw new Refusal(StatusCode.SESSION_EXPIRED, `The read session does not have partition ${partition.id}`);
  }
  if (offset <= topic.committedOffset(consumer, partition.id)) return;
  checkBounds(partition, offset);
  await persist(service, topic, consumer, [[partition.id, offset]]);
  service.groups.committed(topic, consumer, partition.id, offset);
}

/**
 * Moves a consumer to an offset, ahead or back. Whoever reads the partition is interrupted, and starts over from there. Of
 * a partition that was split, those that it came from count as read, and those that it became are read again after it:
 * with anything else their messages would come out of order.
 *
 * @throws {Refusal} `BAD_REQUEST`
 */
export async function moveConsumer(
  service: Service,
  topic: Topic,
  consumer: string,
  partition: Partition,
  offset: number,
): Promise<void> {
  checkBounds(partition, offset);
  const rows: (readonly [partition: number, offset: number])[] = [[partition.id, offset]];
  for (const parent of related(partition, (each) => each.parents)) rows.push([parent.id, parent.log.endOffset]);
  const children = ({ definition }: Partition) => definition.children.map((id) => topic.partitions[id] as Partition);
  for (const child of related(partition, children)) rows.push([child.id, 0]);
  const ids = rows.map(([id]) => id);
  await service.groups.interrupt(topic, consumer, ids, () => persist(service, topic, consumer, rows));
}

function checkBounds({ log }: Partition, offset: number): void {
  const { startOffset, endOffset } = log;
  if (offset >= startOffset && offset <= endOffset) return;
  throw new Refusal(StatusCode.BAD_REQUEST, `offset must be in [${startOffset}, ${endOffset}], got ${offset}`);
}

/** All that are reached from a partition, without itself. */
function related(partition: Partition, next: (partition: Partition) => readonly Partition[]): Set<Partition> {
  const found = new Set(next(partition));
  // A set gives out also what is added meanwhile.
  for (const each of found) for (const further of next(each)) found.add(further);
  return found;
}

/** All of it or nothing: what is added in one go is written in one transaction. */
async function persist(
  { store }: Service,
  topic: Topic,
  consumer: string,
  rows: readonly (readonly [partition: number, offset: number])[],
): Promise<void> {
  const written = rows.map(
    ([partition, offset]) =>
      new Promise<void>((resolve, reject) => {
        store.commits.add(topic, consumer, partition, offset, (error) =>
          error === undefined ? resolve() : reject(error),
        );
      }),
  );
  await Promise.all(written);
}
