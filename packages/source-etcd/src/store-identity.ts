/**
 * Which history a revision number belongs to. A cluster id alone does not tell: it is made of the peer addresses and the
 * cluster token, so a wiped or restored cluster that is started as before has it again.
 *
 * What helps is the raft log. Every revision takes one entry of it, and some entries (elections, leases, compactions,
 * members, users) make no revision. So the number of entries without a revision, `idleEntries` = raft index - revision,
 * never shrinks as long as a cluster lives. A restored one begins a new log at its old revision, far below; a wiped one
 * begins at the few entries that every new cluster has.
 *
 * Told apart: another cluster id; a store whose revision is behind ours; fewer idle entries than when we began, also when
 * the store has meanwhile come past our revision; and, as long as this process lives, another content of the last put we
 * know. Not told apart after a restart of this process: a wiped store under the same id that has come past our revision,
 * if the old one had no idle entries but those of a new cluster when we began to follow it.
 */
export interface StoreIdentity {
  readonly clusterId: bigint;
  /** Counts the histories that one replica has followed, from 0, so that coming back to an earlier one is new too. */
  readonly generation: number;
  /** At least so many entries of the raft log made no revision when we began; undefined: it could not be known. */
  readonly idleEntries: bigint | undefined;
}

/** The store's identity as the epoch of cursors and versions, such as `cdf818194e3a8c32.0.4`. */
export function formatEpoch({ clusterId, generation, idleEntries }: StoreIdentity): string {
  return `${clusterId.toString(16)}.${generation}.${idleEntries ?? "x"}`;
}

/** Undefined for what `formatEpoch` did not write. */
export function parseEpoch(epoch: string): StoreIdentity | undefined {
  const [, id = "", generation = "", idle = ""] = /^([0-9a-f]+)\.(\d+)\.(-?\d+|x)$/.exec(epoch) ?? [];
  if (id === "") return undefined;
  return {
    clusterId: BigInt(`0x${id}`),
    generation: Number(generation),
    idleEntries: idle === "x" ? undefined : BigInt(idle),
  };
}

/** What a member says, after a quorum read, so that it is not behind anything that anybody was told before. */
export interface StoreSighting {
  readonly clusterId: bigint;
  readonly revision: bigint;
  /** At most so many entries of the raft log made no revision; undefined: it could not be known. */
  readonly idleEntries: bigint | undefined;
}

/** Why this is not the store that `known` and `cursor` are about, as a sentence; undefined if it may be. */
export function replacedBecause(known: StoreIdentity, cursor: bigint, seen: StoreSighting): string | undefined {
  if (seen.clusterId !== known.clusterId) {
    return `The cluster's id is ${seen.clusterId.toString(16)} now; it was ${known.clusterId.toString(16)}.`;
  }
  if (seen.revision < cursor) {
    return `The store is at revision ${seen.revision}, but we have followed it to ${cursor}: it was wiped or restored.`;
  }
  if (known.idleEntries !== undefined && seen.idleEntries !== undefined && seen.idleEntries < known.idleEntries) {
    return (
      `The store's log has ${seen.idleEntries} entries without a revision, and had ${known.idleEntries} before: ` +
      "it was wiped or restored, and has come past where we were."
    );
  }
  return undefined;
}

/** Stands for an epoch that is not ours: whatever is found differs from it. */
export const unknownStore: StoreIdentity = { clusterId: 0n, generation: 0, idleEntries: undefined };
