import { type Clock, systemClock } from "@tidemark/clock";
import { type EtcdTls, parseEndpoint } from "./endpoint.ts";
import { EtcdLink } from "./etcd-link.ts";
import type { KeyValue } from "./gen/etcd/mvccpb/kv_pb.ts";
import type { RequestOp } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import { keyBytes, nextKey, prefixRange } from "./key-range.ts";
import { type EtcdCredentials, TokenSource } from "./token-source.ts";

export interface EtcdClientOptions {
  readonly endpoint: string;
  readonly credentials?: EtcdCredentials | undefined;
  readonly tls?: EtcdTls | undefined;
  readonly clock?: Clock;
  /** @default 30_000 */
  readonly requestTimeoutMs?: number;
}

/** One write of a transaction; without a value it deletes. */
export interface EtcdWrite {
  readonly key: string | Uint8Array;
  readonly value?: string | Uint8Array;
  readonly lease?: bigint;
}

const bytes = keyBytes;

/**
 * A small client for tools and tests: one endpoint, one connection, opened by the first call and not opened again once it
 * broke. Every write returns its revision.
 */
export class EtcdClient {
  readonly link: EtcdLink;

  constructor(options: EtcdClientOptions) {
    const { credentials, tls } = options;
    this.link = new EtcdLink({
      endpoint: parseEndpoint(options.endpoint, tls !== undefined),
      tls,
      tokens: credentials === undefined ? undefined : new TokenSource(credentials),
      clock: options.clock ?? systemClock,
      requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
      maxMessageBytes: 512 << 20,
      windowBytes: 4 << 20,
    });
  }

  async put(key: string | Uint8Array, value: string | Uint8Array, lease = 0n): Promise<bigint> {
    const request = { key: bytes(key), value: bytes(value), lease };
    return revisionOf(await this.link.call((options) => this.link.kv.put(request, options)));
  }

  async delete(key: string | Uint8Array): Promise<bigint> {
    return revisionOf(await this.link.call((options) => this.link.kv.deleteRange({ key: bytes(key) }, options)));
  }

  async deletePrefix(prefix: string | Uint8Array): Promise<bigint> {
    const { start, end } = prefixRange(bytes(prefix));
    const request = { key: start, rangeEnd: end };
    return revisionOf(await this.link.call((options) => this.link.kv.deleteRange(request, options)));
  }

  /** All of them at one revision. */
  async txn(writes: readonly EtcdWrite[]): Promise<bigint> {
    const success = writes.map(({ key, value, lease = 0n }): { request: RequestOp["request"] } => ({
      request:
        value === undefined
          ? { case: "requestDeleteRange", value: { key: bytes(key) } as never }
          : { case: "requestPut", value: { key: bytes(key), value: bytes(value), lease } as never },
    }));
    return revisionOf(await this.link.call((options) => this.link.kv.txn({ success }, options)));
  }

  async get(key: string | Uint8Array): Promise<KeyValue | undefined> {
    return (await this.link.range({ key: bytes(key) })).kvs[0];
  }

  /** Every key with this prefix, in order, page by page, at one revision. */
  async list(prefix: string | Uint8Array = ""): Promise<{ readonly kvs: KeyValue[]; readonly revision: bigint }> {
    const { start, end } = prefixRange(bytes(prefix));
    const kvs: KeyValue[] = [];
    let revision = 0n;
    for (let key = start; ; ) {
      const page = await this.link.range({ key, rangeEnd: end, limit: 1_000n, revision });
      if (revision === 0n) revision = revisionOf(page);
      kvs.push(...page.kvs);
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { kvs, revision };
      key = nextKey(last.key);
    }
  }

  /** The store's revision, as a quorum knows it. */
  async revision(): Promise<bigint> {
    return revisionOf(await this.link.range({ key: Uint8Array.of(0), keysOnly: true, limit: 1n }));
  }

  /** Forgets what was superseded before `revision`. */
  async compact(revision: bigint): Promise<void> {
    await this.link.call((options) => this.link.kv.compact({ revision, physical: true }, options));
  }

  async grantLease(ttlSeconds: number): Promise<bigint> {
    const grant = await this.link.call((options) => this.link.lease.leaseGrant({ TTL: BigInt(ttlSeconds) }, options));
    return grant.ID;
  }

  async revokeLease(id: bigint): Promise<bigint> {
    return revisionOf(await this.link.call((options) => this.link.lease.leaseRevoke({ ID: id }, options)));
  }

  close(): void {
    this.link.close(new Error("the client was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function revisionOf({ header }: { readonly header?: { readonly revision: bigint } | undefined }): bigint {
  return header?.revision ?? 0n;
}
