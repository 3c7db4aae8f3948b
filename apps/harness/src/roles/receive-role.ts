import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV, Watch, type WatchRequest, WatchRequestSchema } from "../gen/etcd/etcdserverpb/rpc_pb.ts";
import { nextKey, prefixEnd } from "../keys.ts";

interface ReceiveWatch {
  readonly endpoint: string;
  readonly prefix: string;
  /** The first revision that is wanted. */
  readonly from: bigint;
  /** Done when an event of this revision was received. */
  readonly to: bigint;
}

interface ReceiveSnapshot {
  readonly endpoint: string;
  readonly prefix: string;
  /** Keys of a page. */
  readonly pageKeys: number;
}

interface Received {
  readonly ms: number;
  readonly changes: number;
}

export type ReceiveRole = {
  watch(options: ReceiveWatch): Promise<Received>;
  snapshot(options: ReceiveSnapshot): Promise<Received>;
};

/**
 * What connect-node does with the same answers when nothing is done with them: the limit that Tidemark is measured
 * against. Stock transport, the same requests, decoded by protobuf-es and thrown away.
 */
export function createReceiveRole(): ReceiveRole {
  return { watch, snapshot };
}

function transportTo(endpoint: string) {
  // Without compression, which would make it slower.
  return createGrpcTransport({ baseUrl: endpoint, acceptCompression: [], readMaxBytes: 512 << 20 });
}

async function watch({ endpoint, prefix, from, to }: ReceiveWatch): Promise<Received> {
  const startedMs = performance.now();
  const client = createClient(Watch, transportTo(endpoint));
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  async function* requests(): AsyncGenerator<WatchRequest> {
    const key = Buffer.from(prefix);
    const value = { key, rangeEnd: prefixEnd(key), startRevision: from, progressNotify: true, fragment: false };
    yield create(WatchRequestSchema, { requestUnion: { case: "createRequest", value } });
    await done;
  }
  let changes = 0;
  const cut = new AbortController();
  try {
    for await (const { events, canceled, cancelReason } of client.watch(requests(), { signal: cut.signal })) {
      if (canceled) throw new Error(`etcd ended the watch: ${cancelReason}`);
      changes += events.length;
      if ((events.at(-1)?.kv?.modRevision ?? 0n) >= to) break;
    }
    return { ms: performance.now() - startedMs, changes };
  } finally {
    finish();
    cut.abort();
  }
}

async function snapshot({ endpoint, prefix, pageKeys }: ReceiveSnapshot): Promise<Received> {
  const startedMs = performance.now();
  const client = createClient(KV, transportTo(endpoint));
  const start = Buffer.from(prefix);
  const rangeEnd = prefixEnd(start);
  let changes = 0;
  let revision = 0n;
  for (let key: Uint8Array = start; ; ) {
    const page = await client.range({
      key,
      rangeEnd,
      revision,
      limit: BigInt(pageKeys),
      serializable: revision !== 0n,
    });
    if (revision === 0n) revision = page.header?.revision ?? 0n;
    changes += page.kvs.length;
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { ms: performance.now() - startedMs, changes };
    key = nextKey(last.key);
  }
}
