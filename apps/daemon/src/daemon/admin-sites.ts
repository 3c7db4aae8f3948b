import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { ConflictGroup, GraphHead, GraphWaiting } from "@tidemark/store-watch";
import type { ConflictSchema, SiteSchema } from "../gen/tidemark/admin/v1/admin_pb.ts";
import type { SiteEdit } from "@tidemark/sync";
import { redact } from "../redact.ts";

/** A site of the daemon, as far as the admin service needs it: what `openSite` and `openGraph` give does. */
export interface SitePort {
  readonly name: string;
  /** The stream of the history that holds the graph. */
  readonly stream: string;
  /** Over which topic, and which store is written to. May be shown: no secrets. */
  readonly description: string;
  readonly site: {
    status(): Promise<SitePortStatus>;
    conflicts(): Promise<readonly ConflictGroup[]>;
    write(edits: readonly SiteEdit[]): Promise<unknown>;
  };
  readonly graph: { heads(key: Uint8Array): Promise<readonly GraphHead[]> };
}

/** Of `SiteStatus`, what is shown. */
interface SitePortStatus {
  readonly state: string;
  readonly problem: string | undefined;
  readonly origin: string;
  readonly vector: Readonly<Record<string, number>>;
  readonly published: number;
  readonly waiting: readonly GraphWaiting[];
  readonly conflicts: number;
  readonly counters: {
    readonly applied: number;
    readonly stored: number;
    readonly resolved: number;
    readonly retries: number;
  };
}

export async function toSite({
  name,
  stream,
  description,
  site,
}: SitePort): Promise<MessageInitShape<typeof SiteSchema>> {
  const { origin, state, problem, published, vector, waiting, conflicts, counters } = await site.status();
  const held = new Map(waiting.map((each) => [each.origin, each.batches]));
  const origins = new Set([...Object.keys(vector), ...held.keys()]);
  return {
    name,
    stream,
    description: redact(description),
    origin,
    state,
    problem: redact(problem ?? ""),
    published: BigInt(published),
    vector: [...origins].toSorted().map((each) => ({
      origin: each,
      generation: BigInt(vector[each] ?? 0),
      waiting: held.get(each) ?? 0,
    })),
    conflicts,
    applied: BigInt(counters.applied),
    stored: BigInt(counters.stored),
    resolved: BigInt(counters.resolved),
    retries: BigInt(counters.retries),
  };
}

/** The first keys in conflict; those that only a transaction ties to one are left out. */
export async function toConflicts(
  { site }: SitePort,
  limit: number,
): Promise<{ readonly conflicts: MessageInitShape<typeof ConflictSchema>[]; readonly hasMore: boolean }> {
  const keys = (await site.conflicts()).flatMap((group) => group.keys).filter(({ heads }) => heads.length > 1);
  return {
    hasMore: keys.length > limit,
    conflicts: keys.slice(0, limit).map(({ key, heads }) => ({
      key: Uint8Array.from(key),
      heads: heads.map(({ id, value, position }) => ({
        position,
        origin: id.origin,
        generation: BigInt(id.generation),
        deleted: value === undefined,
        value: Uint8Array.from(value ?? []),
      })),
    })),
  };
}

/** Writes what one of the heads says, in the place of all of them; refuses when they are not those that were looked at. */
export async function resolveConflict(
  { site, graph }: SitePort,
  key: Uint8Array,
  seen: readonly bigint[],
  take: bigint,
): Promise<void> {
  const heads = await graph.heads(key);
  const now = heads.map(({ position }) => position).toSorted((a, b) => (a < b ? -1 : 1));
  const looked = seen.toSorted((a, b) => (a < b ? -1 : 1));
  const chosen = heads.find(({ position }) => position === take);
  if (chosen === undefined || now.length !== looked.length || now.some((position, i) => position !== looked[i])) {
    throw new ConnectError("The key was changed meanwhile: look at it again before you decide.", Code.Aborted);
  }
  // Whatever comes between the look and the write stays a head of its own.
  await site.write([{ key, value: chosen.value, parents: heads.map(({ id }) => id) }]);
}
