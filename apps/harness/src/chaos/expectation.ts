import { type Era, type KeyState, type LedgerEntry, lineageOf, stateAt } from "./ledger.ts";
import type { Replica, ReplicaGap } from "./replica.ts";

/** One version that has to be in the history, once. */
export interface ExpectedVersion {
  readonly key: string;
  readonly value: string | undefined;
  readonly revision: bigint;
  readonly via: "stream" | "snapshot" | "sweep";
}

/** What has to be in the history as one batch, whole. */
export interface ExpectedGroup {
  readonly kind: "snapshot" | "stream";
  /** The batch's cursor. */
  readonly revision: bigint;
  readonly versions: readonly ExpectedVersion[];
}

/** A snapshot that an epoch of the history tells of. */
interface PlannedSnapshot {
  /** The last position before it. */
  readonly position: number;
  /**
   * Its revision. Undefined: a gap says that there was one, but it found nothing that had changed, and a batch without
   * versions is not written down; then it was at most at `atMost`.
   */
  readonly revision: bigint | undefined;
  readonly atMost: bigint;
  /** What its gap says: from where on nothing is known. Undefined: there is no gap. */
  readonly blindFrom: bigint | undefined;
}

/** One epoch of the history: what it says about itself. */
export interface EpochPlan {
  readonly epoch: string;
  /** In order; the first is where it began. */
  readonly snapshots: readonly PlannedSnapshot[];
  /** Its gaps but for the one that led to it. */
  readonly gaps: readonly ReplicaGap[];
  /** Up to which revision it was followed. */
  readonly end: bigint;
}

/** Splits a replica's history by epochs, in their order; those in which nothing was committed are left out. */
export function epochPlans(replica: Replica): readonly EpochPlan[] {
  const { epochs, versions, gaps, cursor } = replica;
  const changes = gaps.filter(({ reason }) => reason === "epoch-changed");
  const plans = epochs.map((epoch, index): EpochPlan => {
    const [cameBy, goneBy] = [changes[index - 1], changes[index]];
    const own = gaps.slice(
      cameBy === undefined ? 0 : gaps.indexOf(cameBy) + 1,
      goneBy === undefined ? gaps.length : gaps.indexOf(goneBy),
    );
    const isLast = index === epochs.length - 1;
    const end = isLast ? cursor?.revision : goneBy?.from;
    return plan(epoch, replica, own, end);
  });
  return plans.filter(({ epoch }) => versions.some((version) => version.epoch === epoch));
}

function plan(epoch: string, replica: Replica, gaps: readonly ReplicaGap[], until: bigint | undefined): EpochPlan {
  const versions = replica.versions.filter((version) => version.epoch === epoch);
  const end = until ?? versions.at(-1)?.cursor ?? 0n;
  const blindFrom = (position: number) =>
    gaps
      .flatMap((gap) => (gap.position === position && gap.from !== undefined ? [gap.from] : []))
      .reduce<bigint | undefined>((least, from) => (least === undefined || from < least ? from : least), undefined);
  const snapshots = new Map<number, PlannedSnapshot>();
  const first = versions[0];
  if (first?.via === "stream") {
    // It began with a snapshot of nothing, which left no batch: the store may have had keys before, and lost them.
    const position = first.position - 1;
    snapshots.set(position, { position, revision: undefined, atMost: first.cursor - 1n, blindFrom: undefined });
  }
  let lastBatch = -1;
  for (const { via, batch, position, cursor } of versions) {
    const isNew = batch !== lastBatch;
    lastBatch = batch;
    if (via === "stream" || !isNew) continue;
    const before = position - 1;
    snapshots.set(before, { position: before, revision: cursor, atMost: cursor, blindFrom: blindFrom(before) });
  }
  for (const { position, reason } of gaps) {
    if (reason !== "compacted" || snapshots.has(position)) continue;
    const next = versions.find((version) => version.position > position);
    const atMost = next === undefined ? end : next.cursor - 1n;
    snapshots.set(position, { position, revision: undefined, atMost, blindFrom: blindFrom(position) });
  }
  return { epoch, snapshots: [...snapshots.values()].toSorted((a, b) => a.position - b.position), gaps, end };
}

/**
 * Everything that one epoch of the history has to contain if what it says about its snapshots and gaps is true: of each
 * snapshot what differs from the state before, and every revision after it, up to the next gap.
 *
 * @param live what was live in the replica before this epoch, by key; it is changed to what is live after it. A version of
 * an earlier epoch has no state that could be compared.
 */
export function expectedOf(
  { snapshots, end }: EpochPlan,
  era: Era,
  live: Map<string, KeyState | undefined>,
): readonly ExpectedGroup[] {
  const lineage = lineageOf(era);
  const groups: ExpectedGroup[] = [];
  let index = 0;
  const follow = (from: bigint, to: bigint) => {
    for (; index < lineage.length; index++) {
      const entry = lineage[index] as LedgerEntry;
      if (entry.revision > to) break;
      if (entry.revision > from) groups.push(streamGroup(entry, live));
    }
  };
  if (snapshots.length === 0) follow(0n, end);
  for (const [at, snapshot] of snapshots.entries()) {
    const revision = snapshot.revision ?? quietRevision(lineage, snapshot, live);
    if (snapshot.revision !== undefined) groups.push(snapshotGroup(revision, lineage, live));
    const next = snapshots[at + 1];
    // Without a gap before the next snapshot nothing is excused.
    const to = next === undefined ? end : (next.blindFrom ?? next.atMost);
    follow(revision, to);
  }
  return groups.filter(({ versions }) => versions.length > 0);
}

function streamGroup({ revision, changes }: LedgerEntry, live: Map<string, KeyState | undefined>): ExpectedGroup {
  const versions = changes.map(({ key, value }): ExpectedVersion => {
    if (value === undefined) live.delete(key);
    else live.set(key, { value, revision });
    return { key, value, revision, via: "stream" };
  });
  return { kind: "stream", revision, versions };
}

function snapshotGroup(
  revision: bigint,
  lineage: readonly LedgerEntry[],
  live: Map<string, KeyState | undefined>,
): ExpectedGroup {
  const state = stateAt(lineage, revision);
  const versions: ExpectedVersion[] = [];
  for (const key of live.keys()) {
    if (state.has(key)) continue;
    live.delete(key);
    versions.push({ key, value: undefined, revision, via: "sweep" });
  }
  for (const [key, now] of state) {
    if (live.get(key)?.revision !== now.revision) versions.push({ key, ...now, via: "snapshot" });
    live.set(key, now);
  }
  return { kind: "snapshot", revision, versions };
}

/** The last revision at which a snapshot could have found nothing new; where there is none, its gap excuses nothing. */
function quietRevision(
  lineage: readonly LedgerEntry[],
  { blindFrom = 0n, atMost }: PlannedSnapshot,
  live: ReadonlyMap<string, KeyState | undefined>,
): bigint {
  const state = stateAt(lineage, blindFrom);
  const differing = new Set<string>();
  let quiet = blindFrom;
  for (const { revision, changes } of lineage) {
    if (revision <= blindFrom) continue;
    if (revision > atMost) break;
    for (const { key, value } of changes) {
      if (value === undefined) state.delete(key);
      else state.set(key, { value, revision });
      if (state.get(key)?.revision === live.get(key)?.revision) differing.delete(key);
      else differing.add(key);
    }
    if (differing.size === 0) quiet = revision;
  }
  return quiet;
}
