import type { PartitionDescription } from "@tidemark/topic";
import { type Hash64, murmur2, murmurHash64 } from "./key-hash.ts";
import { WriterError } from "./writer-error.ts";

export type Key = string | Uint8Array;
export type PartitionStrategy = "bounds" | "kafka";

/** Hashed keys from here up to the next range. */
interface Range {
  /** The first hash, as a number, and what of it that cannot hold. */
  readonly from: Hash64;
  readonly partitionId: bigint;
}

const lowest: Hash64 = { high: 0, low: 0 };

/**
 * Which partition a key belongs to. After a split the keys of that partition belong to its successors, and all others
 * stay where they are, even if the topic has changed there too: the writer of each partition finds that out itself, so
 * that what it has not written yet comes before what its successors get.
 */
export class PartitionMap {
  readonly strategy: PartitionStrategy;
  #ranges: Range[] = [];
  readonly #partitions: readonly bigint[];

  /** @throws {WriterError} `OPTIONS_INVALID`. */
  constructor(partitions: readonly PartitionDescription[], strategy: PartitionStrategy | undefined) {
    const active = partitions.filter(({ isActive }) => isActive);
    const hasRanges = active.every(({ keyRange }) => keyRange !== undefined);
    this.strategy = strategy ?? (hasRanges ? "bounds" : "kafka");
    this.#partitions = active.map(({ partitionId }) => partitionId).sort((one, other) => (one < other ? -1 : 1));
    if (this.#partitions.length === 0) throw new WriterError("OPTIONS_INVALID", "the topic has no active partition");
    if (this.strategy === "kafka") return;
    if (!hasRanges) {
      throw new WriterError(
        "OPTIONS_INVALID",
        `the topic has no key ranges: use strategy "kafka", or auto-partitioning`,
      );
    }
    this.#ranges = sorted(active.map((partition) => ({ from: fromOf(partition), partitionId: partition.partitionId })));
  }

  /** Partitions that took messages when it was made. */
  get size(): number {
    return this.#partitions.length;
  }

  partitionOf(key: Key): bigint {
    const bytes = typeof key === "string" ? Buffer.from(key) : key;
    if (this.strategy === "kafka") {
      return this.#partitions[(murmur2(bytes) & 0x7fff_ffff) % this.#partitions.length] as bigint;
    }
    const hash = murmurHash64(bytes);
    let low = 0;
    let high = this.#ranges.length;
    // The last range that begins at or before the hash.
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (compare((this.#ranges[middle] as Range).from, hash) <= 0) low = middle;
      else high = middle;
    }
    return (this.#ranges[low] as Range).partitionId;
  }

  /**
   * Gives the keys of a partition to its successors. False: there are none that take keys (yet).
   */
  retire(partitionId: bigint, partitions: readonly PartitionDescription[]): boolean {
    const successors = activeSuccessors(partitionId, partitions);
    if (this.strategy === "kafka" || successors.length === 0) return false;
    const bySuccessor = sorted(successors.map((each) => ({ from: fromOf(each), partitionId: each.partitionId })));
    this.#ranges = this.#ranges.flatMap((range, place) => {
      if (range.partitionId !== partitionId) return [range];
      const end = this.#ranges[place + 1]?.from;
      const within = bySuccessor.filter(
        ({ from }) => compare(from, range.from) > 0 && (!end || compare(from, end) < 0),
      );
      const first = bySuccessor.findLast(({ from }) => compare(from, range.from) <= 0) ?? (bySuccessor[0] as Range);
      return [{ from: range.from, partitionId: first.partitionId }, ...within];
    });
    return true;
  }
}

/** The partitions that have the keys of this one now. */
export function activeSuccessors(
  partitionId: bigint,
  partitions: readonly PartitionDescription[],
): readonly PartitionDescription[] {
  const byId = new Map(partitions.map((partition) => [partition.partitionId, partition]));
  const seen = new Set<bigint>();
  const found: PartitionDescription[] = [];
  const visit = (id: bigint) => {
    if (seen.has(id)) return;
    seen.add(id);
    const partition = byId.get(id);
    if (partition === undefined) return;
    if (partition.isActive) found.push(partition);
    else for (const child of partition.children) visit(child);
  };
  visit(partitionId);
  return found;
}

function sorted(ranges: Range[]): Range[] {
  return ranges.sort((one, other) => compare(one.from, other.from));
}

function compare(one: Hash64, other: Hash64): number {
  return one.high === other.high ? one.low - other.low : one.high - other.high;
}

/** The first hash of 8 bytes that is not below the bound, which is a string of bytes of any length. */
function fromOf({ keyRange }: PartitionDescription): Hash64 {
  const from = keyRange?.from;
  if (from === undefined || from.length === 0) return lowest;
  let value = 0n;
  for (let n = 0; n < 8; n++) value = (value << 8n) | BigInt(from[n] ?? 0);
  // A longer bound is above the 8 bytes that it begins with.
  if (from.length > 8) value += 1n;
  return { high: Number(value >> 32n), low: Number(value & 0xffff_ffffn) };
}
