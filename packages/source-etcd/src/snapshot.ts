import { type ChangeFrame, type Epoch, type FrameSink, sortableInteger } from "@tidemark/store-watch/contract";
import { EtcdError } from "./etcd-error.ts";
import type { EtcdLink } from "./etcd-link.ts";
import type { RangeResponse, ResponseHeader } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import type { KeyValue } from "./gen/etcd/mvccpb/kv_pb.ts";
import { type KeyRange, nextKey } from "./key-range.ts";
import { nextPageLimit, type PageLimits, smallerPageLimit } from "./page-limit.ts";
import { type Anchor, anchorOf } from "./watch-state.ts";

export interface SnapshotOptions {
  readonly link: EtcdLink;
  readonly range: KeyRange;
  readonly sink: FrameSink;
  readonly signal: AbortSignal;
  readonly limits: PageLimits;
  /** Called once the state's revision is known and before the first frame; says which epoch it belongs to. */
  begin(header: ResponseHeader): Epoch;
}

export interface SnapshotResult {
  readonly revision: bigint;
  /** The newest key in it. */
  readonly anchor: Anchor | undefined;
}

/** How often in a row etcd may compact the revision away before the last page of it was read. */
const maxRestarts = 3;

/**
 * Hands on every key of the range as it was at one revision, from `begin-snapshot` to `snapshot-end`. The first page is a
 * quorum read and fixes the revision; the others are read at that revision, the next one while one is handed on. If etcd
 * compacts the revision in between, it begins again.
 *
 * @throws {EtcdError}
 */
export async function loadSnapshot(options: SnapshotOptions): Promise<SnapshotResult> {
  for (let restarts = 0; ; restarts++) {
    try {
      return await loadOnce(options);
    } catch (error) {
      if (!EtcdError.is(error) || error.code !== "COMPACTED") throw error;
      if (restarts >= maxRestarts) {
        throw new EtcdError(
          "COMPACTED",
          `${options.link.endpoint.name} compacts its history faster than a snapshot can be read: let it keep history for longer (--auto-compaction-retention)`,
          { cause: error },
        );
      }
    }
  }
}

async function loadOnce({ link, range, sink, signal, limits, begin }: SnapshotOptions): Promise<SnapshotResult> {
  const pages = new Pages(link, range, limits, signal);
  let page = await pages.fetch(range.start, 0n);
  const header = page.header;
  if (header === undefined) throw new EtcdError("PROTOCOL", `${link.endpoint.name} sent an answer without a header`);
  signal.throwIfAborted();
  const { revision } = header;
  sink.write({ type: "begin-snapshot", epoch: begin(header) });
  sink.status({ state: "snapshotting", received: 0 });
  let anchor: Anchor | undefined;
  for (let received = 0; ; ) {
    const last = page.kvs.at(-1);
    const next = page.more && last !== undefined ? pages.fetch(nextKey(last.key), revision) : undefined;
    // Its failure is met below; until then nobody may call it unhandled.
    next?.catch(() => {});
    let hasRoom = true;
    let newest = page.kvs[0];
    for (const kv of page.kvs) {
      if (newest === undefined || kv.modRevision > newest.modRevision) newest = kv;
      if (!sink.write(rowFrame(kv))) hasRoom = false;
    }
    if (newest !== undefined && newest.modRevision > (anchor?.revision ?? 0n)) anchor = anchorOf(newest);
    received += page.kvs.length;
    sink.status({ state: "snapshotting", received });
    sink.alive();
    if (!hasRoom) await sink.ready(signal);
    if (next !== undefined) page = await next;
    // Once the connection is gone somebody else may be writing.
    signal.throwIfAborted();
    if (next === undefined) break;
  }
  sink.write({ type: "snapshot-end", cursor: sortableInteger(revision) });
  return { revision, anchor };
}

function rowFrame(kv: KeyValue): ChangeFrame {
  const lease = kv.lease === 0n ? "" : `,"lease":"${kv.lease}"`;
  return {
    type: "change",
    key: kv.key,
    value: kv.value,
    version: sortableInteger(kv.modRevision),
    attributes: `{"create_revision":"${kv.createRevision}","version":"${kv.version}"${lease}}`,
  };
}

/** Asks for pages of a size that suits the values. */
class Pages {
  readonly #link: EtcdLink;
  readonly #end: Uint8Array;
  readonly #limits: PageLimits;
  readonly #signal: AbortSignal;
  #limit: number;

  constructor(link: EtcdLink, { end }: KeyRange, limits: PageLimits, signal: AbortSignal) {
    this.#link = link;
    this.#end = end;
    this.#limits = limits;
    this.#signal = signal;
    this.#limit = limits.firstKeys;
  }

  async fetch(key: Uint8Array, revision: bigint): Promise<RangeResponse> {
    for (;;) {
      const limit = BigInt(this.#limit);
      try {
        // What is at a revision that this member has shown us cannot change, so its own word is enough.
        const serializable = revision !== 0n;
        const request = { key, rangeEnd: this.#end, limit, revision, serializable };
        const page = await this.#link.range(request, this.#signal);
        this.#limit = nextPageLimit(this.#limits, this.#limit, page.kvs.length, bytesOf(page.kvs));
        return page;
      } catch (error) {
        if (!EtcdError.is(error) || error.code !== "TOO_LARGE" || this.#limit === 1) throw error;
        this.#limit = smallerPageLimit(this.#limit);
      }
    }
  }
}

function bytesOf(kvs: readonly KeyValue[]): number {
  let bytes = 0;
  for (const { key, value } of kvs) bytes += key.length + value.length + 32;
  return bytes;
}
