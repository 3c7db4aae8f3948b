import { type SeededRng, seededRng } from "@tidemark/clock";
import type { HistoryFaults, SourceFaults } from "@tidemark/store-watch/testing";
import type { LinkFaults } from "./topic-network.ts";

/** What may be left out of a world, to find out what a failure needs. */
export const faultGroups = [
  "source",
  "history",
  "crash",
  "link",
  "partition",
  "restart",
  "clock",
  "retention",
  "pruning",
  "replace",
  "poison",
] as const;

type FaultGroup = (typeof faultGroups)[number];

/** Everything that decides about one world: the seed, and what was taken away from it. */
export interface SimChoice {
  readonly seed: number;
  readonly without?: readonly FaultGroup[];
  /** Sites at most, from the first; at least 2. */
  readonly sites?: number;
  /** Followers at most, from the first. */
  readonly followers?: number;
  /** Edits of each place at most. */
  readonly edits?: number;
}

export interface ReplicaPlan {
  readonly name: string;
  readonly capabilities: { readonly resumable: boolean; readonly transactional: boolean; readonly versioned: boolean };
  readonly source: SourceFaults;
  readonly history: HistoryFaults;
  readonly flushIntervalMs: number;
  readonly commitAttempts: number;
  readonly hasPoison: boolean;
}

export type PolicyPlan = "last-writer" | "keep" | "join";

export interface SitePlan {
  readonly name: string;
  readonly policy: PolicyPlan;
  /** Users edit a store of the site's own, and not its graph. */
  readonly replica: ReplicaPlan | undefined;
  /** What other sites made is written into that store. */
  readonly hasSink: boolean;
  /** Of a commit: to be refused before, or to fail after it was made. */
  readonly busy: number;
  /** Chance that a publisher sends again what the topic has. */
  readonly forgets: number;
  /** Undefined: it keeps every version. */
  readonly retention: { readonly keepMs: number; readonly holdMs: number } | undefined;
  /** Undefined: as is usual. */
  readonly upkeepMs: number | undefined;
  /** Mean time between two visits of somebody who reads the whole history; undefined: nobody does. */
  readonly consumerMs: number | undefined;
  /** When it joins the group. */
  readonly startMs: number;
}

export interface SimPlan {
  readonly sites: readonly SitePlan[];
  readonly followers: readonly ReplicaPlan[];
  readonly edits: number;
  readonly keys: number;
  readonly pauseMs: number;
  readonly link: LinkFaults;
  /** Mean time between events of each kind, in milliseconds; Infinity: never. */
  readonly everyMs: {
    readonly crash: number;
    readonly partition: number;
    readonly restart: number;
    readonly clock: number;
  };
  readonly hasPeers: boolean;
  readonly retentionMs: number;
  /** What values of sites are made longer by: the topic gives up whole segments of its log, so they have to fill. */
  readonly paddingBytes: number;
}

const day = 24 * 3_600_000;

/** The world of a seed. What is taken away changes nothing else about it. */
export function planOf(choice: SimChoice): SimPlan {
  const root = seededRng(choice.seed).fork("plan");
  const has = (group: FaultGroup) => !(choice.without ?? []).includes(group);
  const shape = root.fork("shape");
  const commonPolicy = shape.float() < 0.6 ? shape.pick<PolicyPlan>(["last-writer", "keep", "join"]) : undefined;
  const stores = shape.pick([0, 0.5, 1]);
  const sinks = shape.pick([0.5, 1]);
  const hasPeers = shape.float() < 0.4;
  const siteCount = shape.int(2, 5);
  const followerCount = shape.int(0, 3);
  const edits = shape.int(4, 30);
  const sites = Array.from({ length: siteCount }, (_, index): SitePlan => {
    const rng = root.fork(`site ${index}`);
    const policy = commonPolicy ?? rng.pick<PolicyPlan>(["last-writer", "keep", "join"]);
    const replica = rng.float() < stores ? siteReplica(rng.fork("replica"), `store-${index}`, has) : undefined;
    const busy = rng.pick([0, 0.02, 0.1]);
    const hasSink = rng.float() < sinks;
    return {
      name: `site-${index}`,
      policy,
      replica,
      hasSink,
      busy: has("history") ? busy : 0,
      forgets: has("link") ? some(rng.fork("forgets"), 0.5) : 0,
      retention: undefined,
      upkeepMs: undefined,
      consumerMs: undefined,
      startMs: 0,
    };
  });
  const pruned = has("pruning") ? withPruning(sites, root.fork("pruning"), hasPeers) : sites;
  const followers = Array.from({ length: followerCount }, (_, index) =>
    follower(root.fork(`follower ${index}`), `follower-${index}`, has),
  );
  const net = root.fork("net");
  const often = (group: FaultGroup, choices: readonly number[]) => {
    const drawn = net.pick([...choices, Number.POSITIVE_INFINITY]);
    return has(group) ? drawn : Number.POSITIVE_INFINITY;
  };
  const link = linkFaults(net.fork("link"));
  const everyMs = {
    crash: often("crash", [60_000, 300_000]),
    partition: often("partition", [120_000, 600_000]),
    restart: often("restart", [200_000, 900_000]),
    clock: often("clock", [300_000]),
  };
  // Only a site with peers gets over the loss of messages.
  const retentionMs = hasPeers && has("retention") ? net.pick([60_000, 30 * day]) : 30 * day;
  return {
    sites: pruned.slice(0, Math.max(2, choice.sites ?? siteCount)),
    followers: followers.slice(0, choice.followers ?? followerCount),
    edits: Math.min(edits, choice.edits ?? edits),
    keys: shape.int(1, 8),
    pauseMs: shape.pick([500, 5_000, 60_000]),
    link: has("link") ? link : { latencyMs: link.latencyMs, refuse: 0, cut: 0, silence: 0 },
    everyMs,
    hasPeers,
    retentionMs,
    paddingBytes: retentionMs < day ? 1_000 : 0,
  };
}

/** In half of the worlds some sites prune, and the last one may join when much is gone already. */
function withPruning(sites: readonly SitePlan[], rng: SeededRng, hasPeers: boolean): readonly SitePlan[] {
  if (rng.float() < 0.5) return sites;
  // How long others are waited for: for good, or for less than some are away.
  const holdMs = rng.pick([30 * day, 60_000, 30_000]);
  const startMs = hasPeers && rng.float() < 0.6 ? 60_000 + rng.float() * rng.pick([120_000, 600_000]) : 0;
  return sites.map((site, index): SitePlan => {
    const each = rng.fork(site.name);
    const keepMs = each.pick([0, 5_000, 30_000]);
    return {
      ...site,
      retention: each.float() < 0.75 ? { keepMs, holdMs } : undefined,
      upkeepMs: each.pick([5_000, 10_000, 60_000]),
      consumerMs: each.float() < 0.4 ? each.pick([2_000, 60_000]) : undefined,
      startMs: index === sites.length - 1 ? startMs : 0,
    };
  });
}

type Has = (group: FaultGroup) => boolean;

/** Each fault is there or not, and as bad as the seed says: seeds differ more than one plan for all would. */
function some(rng: SeededRng, most: number): number {
  const isThere = rng.float() < 0.5;
  const size = rng.float() * most;
  return isThere ? size : 0;
}

function linkFaults(rng: SeededRng): LinkFaults {
  return {
    latencyMs: rng.pick([1, 20, 400]),
    refuse: some(rng, 0.3),
    cut: some(rng, 0.05),
    silence: some(rng, 0.03),
  };
}

function historyFaults(rng: SeededRng, has: Has): HistoryFaults {
  const faults = {
    delay: some(rng, 0.3),
    busy: some(rng, 0.3),
    unknown: some(rng, 0.05),
    lost: some(rng, 0.05),
    hang: some(rng, 0.02),
    open: some(rng, 0.3),
  };
  const crash = some(rng, 0.05);
  return { ...(has("history") ? faults : {}), crash: has("crash") ? crash : 0 };
}

function sourceFaults(rng: SeededRng, has: Has): SourceFaults {
  const faults = {
    refuse: some(rng, 0.3),
    disconnect: some(rng, 0.1),
    crash: some(rng, 0.03),
    silence: some(rng, 0.02),
    delay: some(rng, 0.3),
    compact: some(rng, 0.3),
    duplicate: some(rng, 0.1),
  };
  return has("source") ? faults : {};
}

function commonReplica(rng: SeededRng): Pick<ReplicaPlan, "flushIntervalMs" | "commitAttempts"> {
  return {
    flushIntervalMs: rng.pick([0, 0, 20, 500]),
    commitAttempts: rng.pick([3, Number.POSITIVE_INFINITY]),
  };
}

/** The store of a site: every edit has a version, so that writing into it can compare. */
function siteReplica(rng: SeededRng, name: string, has: Has): ReplicaPlan {
  const capabilities = { resumable: rng.float() < 0.8, transactional: true, versioned: true };
  const { duplicate, ...source } = sourceFaults(rng.fork("source"), has);
  return {
    name,
    capabilities,
    // Only cursors that can be resumed tell a repetition.
    source: { ...source, ...(capabilities.resumable && duplicate !== undefined && { duplicate }) },
    history: historyFaults(rng.fork("history"), has),
    ...commonReplica(rng),
    hasPoison: false,
  };
}

/** A store that is only followed: it may be wiped and restored, lack versions and transactions, and hold what is refused. */
function follower(rng: SeededRng, name: string, has: Has): ReplicaPlan {
  const capabilities = {
    resumable: rng.float() < 0.8,
    transactional: rng.float() < 0.8,
    versioned: rng.float() < 0.8,
  };
  const { duplicate, ...source } = sourceFaults(rng.fork("source"), has);
  const lives = rng.fork("lives");
  const replaced = { wipe: some(lives, 0.1), restore: some(lives, 0.1) };
  const mayRepeat = capabilities.versioned && capabilities.resumable && duplicate !== undefined;
  return {
    name,
    capabilities,
    source: { ...source, ...(mayRepeat && { duplicate }), ...(has("replace") && has("source") && replaced) },
    history: historyFaults(rng.fork("history"), has),
    ...commonReplica(rng),
    hasPoison: has("poison"),
  };
}
