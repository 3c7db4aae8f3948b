import type { Partition } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import { InFlight } from "./in-flight.ts";
import { openPartitionSession, type PartitionSessionState } from "./partition-session-state.ts";
import type { ReadGroup } from "./read-groups.ts";
import type { Pumped } from "./read-pump.ts";
import type { PartitionReadStats } from "./read-stats.ts";

/** A topic that a session reads. */
export interface Wish {
  readonly topic: Topic;
  readonly group: ReadGroup | undefined;
  readonly maxLagMs: number | undefined;
  readonly readFromMs: number;
  /** Its partitions on this stream, by their id. */
  readonly parts: Map<number, Part>;
}

/** A partition on this stream. */
export class Part implements Pumped {
  readonly id: number;
  readonly wish: Wish;
  readonly partition: Partition;
  readonly createdAtMs: number;
  /** Undefined: it is nobody's, who reads without a consumer. */
  readonly stats: PartitionReadStats | undefined;
  readonly inFlight: InFlight | undefined;
  readonly maxBytes: number;
  state: PartitionSessionState;
  readOffset: number;
  /** Where the messages begin that are new enough. */
  cut = 0;
  isBusy = false;
  isEndTold = false;
  readonly last = { baseOffset: -1, columns: undefined };

  constructor(options: {
    readonly id: number;
    readonly wish: Wish;
    readonly partition: Partition;
    readonly committed: number;
    readonly maxInFlightBytes: number;
    readonly createdAtMs: number;
    readonly stats: PartitionReadStats | undefined;
  }) {
    const { wish, committed, maxInFlightBytes } = options;
    const hasConsumer = wish.group !== undefined;
    this.id = options.id;
    this.wish = wish;
    this.partition = options.partition;
    this.createdAtMs = options.createdAtMs;
    this.stats = options.stats;
    this.state = openPartitionSession(committed, hasConsumer);
    this.readOffset = committed;
    // Only a commit makes room again. Where nothing can be committed, that leaves the size of one response.
    const isLimited = maxInFlightBytes > 0;
    this.inFlight = isLimited && hasConsumer ? new InFlight(maxInFlightBytes) : undefined;
    this.maxBytes = isLimited && !hasConsumer ? maxInFlightBytes : 0;
  }

  get isReading(): boolean {
    return this.state.phase === "reading";
  }
}
