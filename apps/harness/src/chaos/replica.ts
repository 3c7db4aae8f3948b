import type { GapReason } from "@tidemark/store-watch/contract";

/** A replica as it was found in its database; keys and values are bytes as latin1 text, cursors are revisions again. */
export interface Replica {
  /** Where the stream goes on. */
  readonly cursor: { readonly epoch: string; readonly revision: bigint } | undefined;
  /** In the order in which they began. */
  readonly epochs: readonly string[];
  /** In the order of their positions. */
  readonly versions: readonly ReplicaVersion[];
  /** In the order in which they were recorded. */
  readonly gaps: readonly ReplicaGap[];
  /** What is live now. */
  readonly current: ReadonlyMap<string, { readonly value: string; readonly revision: bigint }>;
}

export interface ReplicaVersion {
  readonly position: number;
  readonly epoch: string;
  readonly key: string;
  /** Undefined: a deletion. */
  readonly value: string | undefined;
  /** The source's version: the revision of the change; of a sweep, of the snapshot. */
  readonly revision: bigint;
  readonly via: "stream" | "snapshot" | "sweep" | "retry";
  readonly batch: number;
  /** The cursor of its batch. */
  readonly cursor: bigint;
}

export interface ReplicaGap {
  readonly reason: GapReason;
  readonly detail: string;
  /** The last position before it. */
  readonly position: number;
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
}
