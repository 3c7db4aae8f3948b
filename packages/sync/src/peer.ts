/**
 * Another site's history, for what the channel does not have any more: for a site that is new, or was away for longer than
 * the channel keeps messages.
 */
export interface Peer {
  /** Names it for people. */
  readonly name: string;
  /** Batches that a site with this vector does not have, each after what it builds on; empty: nothing more. */
  missing(vector: Readonly<Record<string, number>>, signal: AbortSignal): Promise<readonly Uint8Array[]>;
}
