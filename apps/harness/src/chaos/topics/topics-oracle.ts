import type { StoredTopic } from "./topic-log.ts";

/** What the processes told, put together. */
export interface TopicsLedger {
  /** By producer: up to this number everything was acknowledged. */
  readonly acknowledged: ReadonlyMap<string, number>;
  /** By producer: the last number that was written at all. */
  readonly written: Readonly<Record<string, number>>;
  /** What the reader got, batch after batch, over all its lives. */
  readonly deliveries: readonly Delivery[];
  /** By partition: up to where the reader was told that it is committed. */
  readonly committed: ReadonlyMap<number, number>;
}

export interface Delivery {
  readonly partition: number;
  readonly first: number;
  readonly messages: readonly (readonly [producer: string, seqNo: number])[];
  /**
   * What was known to be committed in the partition when this life of the reader began. Within a life, what comes again
   * over a new connection may overlap with commits that were on their way.
   */
  readonly committedBefore: number;
}

/**
 * Compares what is on the disk, and what a reader got, with what was written: everything acknowledged is there once and
 * in order, nobody invented anything, nothing was skipped, and no commit was forgotten. Empty: all is well.
 *
 * @param textOf what a producer's message of a number says
 */
export function judgeTopics(
  ledger: TopicsLedger,
  stored: StoredTopic,
  textOf: (producer: string, seqNo: number) => string,
): readonly string[] {
  return [...judgeStore(ledger, stored, textOf), ...judgeReader(ledger, stored)];
}

function judgeStore(
  { acknowledged, written }: TopicsLedger,
  { partitions }: StoredTopic,
  textOf: (producer: string, seqNo: number) => string,
): string[] {
  const findings: string[] = [];
  const last = new Map<string, number>();
  for (const [partition, messages] of partitions) {
    for (const [index, { offset, producer, seqNo, text }] of messages.entries()) {
      const what = `number ${seqNo} of ${producer} (offset ${offset} of ${partition})`;
      if (offset !== index) findings.push(`offsets: ${what} should have offset ${index}`);
      const before = last.get(producer) ?? 0;
      // A producer writes 1, 2, 3 …, into one partition.
      if (seqNo <= before) findings.push(`doubled: ${what} comes after ${before}`);
      else if (seqNo > before + 1) findings.push(`lost: ${what} comes after ${before}`);
      if (seqNo > (written[producer] ?? 0)) findings.push(`invented: ${what} was never written`);
      else if (text !== textOf(producer, seqNo)) findings.push(`different: ${what} says something else`);
      last.set(producer, Math.max(seqNo, before));
    }
  }
  for (const [producer, seqNo] of acknowledged) {
    const there = last.get(producer) ?? 0;
    if (there < seqNo) findings.push(`lost: ${producer} was acknowledged up to ${seqNo}, there is ${there}`);
  }
  return findings;
}

function judgeReader(ledger: TopicsLedger, { partitions, committed }: StoredTopic): string[] {
  const findings: string[] = [];
  for (const [partition, messages] of partitions) {
    // It may go back to what was not committed, and never over what it did not get.
    let end = 0;
    for (const { first, messages: got, committedBefore } of ledger.deliveries.filter(
      (each) => each.partition === partition,
    )) {
      if (first > end) findings.push(`skipped: offsets ${end} to ${first} of ${partition} were not delivered`);
      if (first < committedBefore) {
        findings.push(
          `again: offset ${first} of ${partition} came, but ${committedBefore} was committed in a life before`,
        );
      }
      for (const [index, [producer, seqNo]] of got.entries()) {
        const there = messages[first + index];
        if (there?.producer !== producer || there.seqNo !== seqNo) {
          const what = `number ${seqNo} of ${producer} came as offset ${first + index} of ${partition}`;
          findings.push(`different: ${what}, where there is ${there && `${there.seqNo} of ${there.producer}`}`);
        }
      }
      end = Math.max(end, first + got.length);
    }
    if (end < messages.length) findings.push(`skipped: ${partition} ends at ${messages.length}, delivered is ${end}`);
    const told = ledger.committed.get(partition) ?? 0;
    const there = committed.get(partition) ?? 0;
    if (there < told) findings.push(`commit: ${told} of ${partition} was said to be committed, there is ${there}`);
    if (there > end) findings.push(`commit: ${there} of ${partition} is committed, delivered is ${end}`);
  }
  return findings;
}
