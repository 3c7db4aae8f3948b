import type { GraphWaiting } from "@tidemark/store-watch";
import type { SyncError } from "./sync-error.ts";

/** What a site does and where it stands: plain data. */
export interface SiteStatus {
  /** `retrying`: something that is to go on does not, and is tried again until it does. */
  readonly state: "running" | "retrying" | "failed" | "closed";
  /** What is wrong, for a person; undefined: nothing. */
  readonly problem: string | undefined;
  /** Peers that have yet to be asked for what the channel may not have any more. */
  readonly behind: readonly string[];
  /** Names this site in the vectors of all sites. */
  readonly origin: string;
  /** The last generation of each origin that is here. */
  readonly vector: Readonly<Record<string, number>>;
  /** Up to these generations only what nothing has taken the place of is kept here. */
  readonly horizon: Readonly<Record<string, number>>;
  /** Sites for which superseded versions are kept, because they have not said yet that they have what came after. */
  readonly heldBy: readonly string[];
  /** The last generation of this site that the channel has. */
  readonly published: number;
  /** Batches that are here and wait for something that they build on. */
  readonly waiting: readonly GraphWaiting[];
  /** Keys with more than one head. */
  readonly conflicts: number;
  readonly counters: SiteCounters;
}

export interface SiteCounters {
  /** Batches that came from peers. */
  readonly caughtUp: number;
  /** Snapshots of peers that were taken over. */
  readonly bootstraps: number;
  /** Superseded versions that were removed. */
  readonly pruned: number;
  /** Edits of the site's store that were taken over. */
  readonly ingested: number;
  /** Keys that were written into the site's store. */
  readonly stored: number;
  /** Keys that were not, because the store had something newer. */
  readonly refused: number;
  /** Batches of others that were applied. */
  readonly applied: number;
  /** Batches that had been here already. */
  readonly duplicates: number;
  /** Own batches that came back. */
  readonly echoes: number;
  /** Groups of keys whose conflict was resolved here. */
  readonly resolved: number;
  /** Calls of the policy that threw; the conflict stays open and is tried again with the next change. */
  readonly policyFailures: number;
  /** Failures after which a part of the site was started again. */
  readonly retries: number;
}

export type SiteEvent =
  | { readonly type: "applied"; readonly batches: number; readonly versions: number; readonly waiting: number }
  | { readonly type: "published"; readonly generation: number }
  /** What the channel did not have any more came from a peer. */
  | { readonly type: "caught-up"; readonly peer: string; readonly batches: number }
  /** A peer has pruned what this site does not have: this site is new or was away for too long. Its snapshot is asked for. */
  | { readonly type: "too-late"; readonly peer: string; readonly error: unknown }
  /** A peer's snapshot was taken over. What was made here and nobody else has yet is still there. */
  | { readonly type: "bootstrapped"; readonly peer: string; readonly versions: number }
  | { readonly type: "pruned"; readonly versions: number; readonly heldBy: readonly string[] }
  | { readonly type: "peer-failed"; readonly peer: string; readonly error: unknown }
  /** The channel has lost messages that this site has not seen; the peers are asked for them. */
  | { readonly type: "too-old" }
  | { readonly type: "resolved"; readonly keys: number }
  | { readonly type: "policy-failed"; readonly error: unknown }
  | { readonly type: "retrying"; readonly error: unknown; readonly delayMs: number }
  /** What carries the changes is out of touch, and tries again by itself. */
  | { readonly type: "disconnected"; readonly error: unknown }
  /** Another process writes the graph now, or nobody knows whether a commit happened: nothing is done here until it is back. */
  | { readonly type: "lost"; readonly error: unknown }
  /** The graph is written here again: everything begins anew from what it has. */
  | { readonly type: "resumed" }
  | { readonly type: "failed"; readonly error: SyncError };
