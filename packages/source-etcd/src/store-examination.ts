import { EtcdError } from "./etcd-error.ts";
import type { EtcdLink } from "./etcd-link.ts";
import type { StatusResponse } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import type { KeyRange } from "./key-range.ts";
import { replacedBecause, type StoreIdentity } from "./store-identity.ts";
import type { Anchor } from "./watch-state.ts";

/** What we know of the store from before. */
export interface KnownStore {
  readonly identity: StoreIdentity;
  readonly cursor: bigint;
  readonly anchor: Anchor | undefined;
}

export interface StoreExamination {
  readonly clusterId: bigint;
  /** Such as `3.4.23`; undefined where etcd does not tell us. */
  readonly version: string | undefined;
  /** Entries of the raft log that this member had applied; undefined where etcd does not tell us. */
  readonly appliedIndex: bigint | undefined;
  /** Why it is not the store we know, as a sentence. */
  readonly replacedBecause: string | undefined;
}

/**
 * Asks who is there and whether it is the store we know. The first question is a quorum read: it waits until this member
 * has caught up, so a member that lags behind is not taken for a store that was restored.
 *
 * @throws {EtcdError}
 */
export async function examineStore(
  link: EtcdLink,
  range: KeyRange,
  known: KnownStore | undefined,
  signal: AbortSignal,
): Promise<StoreExamination> {
  const { header } = await link.range({ key: range.start, keysOnly: true, limit: 1n }, signal);
  if (header === undefined) throw new EtcdError("PROTOCOL", `${link.endpoint.name} sent an answer without a header`);
  const status = await statusOf(link, signal);
  // Behind a load balancer another member may have answered, and may lag.
  const isCurrent = status?.header !== undefined && status.header.revision >= header.revision;
  const idleEntries = isCurrent ? status.raftIndex - (status.header?.revision ?? 0n) : undefined;
  const { clusterId, revision } = header;
  let reason: string | undefined;
  if (known !== undefined) {
    reason = replacedBecause(known.identity, known.cursor, { clusterId, revision, idleEntries });
    reason ??= await contradictionTo(known.anchor, link, signal);
  }
  return { clusterId, version: status?.version, appliedIndex: status?.raftAppliedIndex, replacedBecause: reason };
}

/**
 * Whether everything after `revision` is still there to be watched. Costs one quorum read of one key.
 *
 * @returns the store's revision.
 * @throws {EtcdError} `COMPACTED` when it is not.
 */
export async function assertNotCompacted(
  link: EtcdLink,
  range: KeyRange,
  revision: bigint,
  signal: AbortSignal,
): Promise<bigint> {
  const { header } = await link.range({ key: range.start, keysOnly: true, limit: 1n, revision }, signal);
  return header?.revision ?? 0n;
}

/** Some etcd services hide it, and no question of ours is worth failing for. */
async function statusOf(link: EtcdLink, signal: AbortSignal): Promise<StatusResponse | undefined> {
  try {
    return await link.status(signal);
  } catch (error) {
    if (EtcdError.is(error) && (error.code === "NOT_ETCD" || error.code === "PERMISSION_DENIED")) return undefined;
    throw error;
  }
}

/** The last put we know must be in the store as we know it, unless it is compacted away. */
async function contradictionTo(
  anchor: Anchor | undefined,
  link: EtcdLink,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (anchor === undefined) return undefined;
  try {
    const { key, revision, createRevision, version } = anchor;
    const kv = (await link.range({ key, revision, keysOnly: true }, signal)).kvs[0];
    if (kv?.modRevision === revision && kv.createRevision === createRevision && kv.version === version)
      return undefined;
    return `What happened at revision ${revision} is not what we have seen: the store was wiped or restored.`;
  } catch (error) {
    if (EtcdError.is(error) && error.code === "COMPACTED") return undefined;
    throw error;
  }
}
