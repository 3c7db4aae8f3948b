import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import type { History, HistoryGraph } from "@tidemark/store-watch";
import type { Channel } from "./channel.ts";
import type { ConflictPolicy } from "./resolution.ts";
import type { Peer } from "./peer.ts";
import type { Sink } from "./sink.ts";
import { SyncError } from "./sync-error.ts";

/** The site's own store: what is edited there goes to the other sites, what they make is written there. */
export interface SiteStore {
  /** The history that a watcher follows the store into; the graph is one of it. */
  readonly history: Pick<History, "position" | "follow">;
  /** The watcher's stream. */
  readonly stream: string;
  /** Left out: the store is a source alone, and shows nothing of the other sites. */
  readonly sink?: Sink;
}

export interface SiteRetention {
  /** A version is kept for so long after something took its place here, in milliseconds, from 0 on. */
  readonly keepMs: number;
  /**
   * How long a version is kept for a site that does not have what took its place, in milliseconds, at least `keepMs`. One that
   * was away for longer gets a snapshot instead of every version.
   * @default 604800000 (a week)
   */
  readonly holdMs?: number;
}

export interface SiteOptions {
  /** Where the site keeps its versions: `history.openGraph(…)`. One site has it at a time. */
  readonly graph: HistoryGraph;
  /** What connects the sites: `topicChannel(…)`. */
  readonly channel: Channel;
  /** Left out: the graph itself is what is written to and read. */
  readonly store?: SiteStore | undefined;
  /**
   * Sites to get from what the channel has lost. Without one a loss stops the site, because it could not become like the
   * others again.
   * @default none
   */
  readonly peers?: readonly Peer[];
  /**
   * How long a change may wait for one that it builds on before the peers are asked for that, in milliseconds.
   * @default 10000
   */
  readonly catchUpAfterMs?: number;
  /**
   * How long superseded versions are kept. Without it they are for good. What is shown stays in any case, and so does what
   * an open conflict needs, what a consumer of the history has not seen, and what the other sites have not.
   * @default none
   */
  readonly retention?: SiteRetention | undefined;
  /**
   * How often the other sites are told what is here, if there is anything new, and superseded versions are looked for, in
   * milliseconds. A version is kept everywhere for that long at least.
   * @default 60000
   */
  readonly upkeepMs?: number;
  /**
   * What happens where two sites changed a key without knowing of each other. Sites may have different ones.
   * @default "last-writer"
   */
  readonly policy?: ConflictPolicy;
  /**
   * First wait after a failure that may pass, in milliseconds. Doubles with every further one, with full jitter.
   * @default 100
   */
  readonly initialDelayMs?: number;
  /**
   * Longest wait between two attempts, in milliseconds.
   * @default 30000
   */
  readonly maxDelayMs?: number;
  /**
   * Bytes of changes that are read from the history to be published at once; one batch may be more.
   * @default 1048576
   */
  readonly maxPublishBytes?: number;
  readonly clock?: Clock;
  readonly rng?: Rng;
}

export const siteRetentionDefaults = { holdMs: 7 * 24 * 3_600_000 } as const satisfies Partial<SiteRetention>;

export const siteDefaults = {
  policy: "last-writer",
  peers: [],
  catchUpAfterMs: 10_000,
  upkeepMs: 60_000,
  initialDelayMs: 100,
  maxDelayMs: 30_000,
  maxPublishBytes: 1024 * 1024,
} as const satisfies Partial<SiteOptions>;

export interface ResolvedSite extends Required<SiteOptions> {
  readonly retention: Required<SiteRetention> | undefined;
}

/** @throws {SyncError} `OPTIONS_INVALID` */
export function resolveSite(options: SiteOptions): ResolvedSite {
  const resolved = {
    ...options,
    store: options.store,
    policy: options.policy ?? siteDefaults.policy,
    peers: options.peers ?? siteDefaults.peers,
    catchUpAfterMs: options.catchUpAfterMs ?? siteDefaults.catchUpAfterMs,
    retention: options.retention && { ...siteRetentionDefaults, ...options.retention },
    upkeepMs: options.upkeepMs ?? siteDefaults.upkeepMs,
    initialDelayMs: options.initialDelayMs ?? siteDefaults.initialDelayMs,
    maxDelayMs: options.maxDelayMs ?? siteDefaults.maxDelayMs,
    maxPublishBytes: options.maxPublishBytes ?? siteDefaults.maxPublishBytes,
    clock: options.clock ?? systemClock,
    rng: options.rng ?? systemRng,
  };
  const { policy, catchUpAfterMs, retention, upkeepMs, initialDelayMs, maxDelayMs, maxPublishBytes } = resolved;
  if (policy !== "last-writer" && policy !== "keep" && typeof policy !== "function") {
    throw invalid(`policy must be "last-writer", "keep" or a function, got ${String(policy)}`);
  }
  if (!(catchUpAfterMs > 0)) throw invalid(`catchUpAfterMs must be above 0, got ${catchUpAfterMs}`);
  if (!(upkeepMs > 0)) throw invalid(`upkeepMs must be above 0, got ${upkeepMs}`);
  if (retention !== undefined && !(retention.keepMs >= 0 && retention.keepMs <= retention.holdMs)) {
    throw invalid(`retention.keepMs must be in [0, holdMs = ${retention.holdMs}], got ${retention.keepMs}`);
  }
  if (!(initialDelayMs > 0 && initialDelayMs <= maxDelayMs)) {
    throw invalid(`initialDelayMs must be in (0, maxDelayMs = ${maxDelayMs}], got ${initialDelayMs}`);
  }
  if (!Number.isFinite(maxDelayMs)) throw invalid(`maxDelayMs must be finite, got ${maxDelayMs}`);
  if (!(Number.isInteger(maxPublishBytes) && maxPublishBytes > 0)) {
    throw invalid(`maxPublishBytes must be a whole number above 0, got ${maxPublishBytes}`);
  }
  return resolved;
}

function invalid(message: string): SyncError {
  return new SyncError("OPTIONS_INVALID", message);
}
