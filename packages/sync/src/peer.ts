import type { GraphSnapshotPart } from "@tidemark/store-watch";

/**
 * Another site's history, for what the channel does not have any more: for a site that is new, or was away for longer than
 * the channel keeps messages.
 */
export interface Peer {
  /** Names it for people. */
  readonly name: string;
  /**
   * Batches that a site with this vector does not have, each after what it builds on; empty: nothing more.
   *
   * @throws an error with `code: "TOO_OLD"` when it has pruned some of them: then its snapshot is asked for
   */
  missing(vector: Readonly<Record<string, number>>, signal: AbortSignal): Promise<readonly Uint8Array[]>;
  /**
   * What stands for everything that it has pruned, a part at a time; `after` is the `next` of the part before. Left out: what
   * it has pruned cannot be had from it.
   */
  snapshot?(after: string | undefined, signal: AbortSignal): Promise<GraphSnapshotPart>;
}
