import { parseSortableInteger } from "@tidemark/store-watch/contract";
import { keyId, type SourceProbe } from "@tidemark/store-watch/testing";
import { expect } from "vitest";
import { Event_EventType } from "../../src/gen/etcd/mvccpb/kv_pb.ts";
import { prefixRange } from "../../src/key-range.ts";
import { createWatch } from "../../src/watch-requests.ts";
import type { EtcdClient, EtcdWrite } from "../../src/testing.ts";

/** What one revision did, as text: hexadecimal keys, values by their digits, deletions as null. */
type Changes = Readonly<Record<string, string | null>>;

const bytes = (data: string | Uint8Array) => (typeof data === "string" ? Buffer.from(data) : Buffer.from(data));

/** The list of what was done to an etcd, to hold against what a source said about it. */
export class Ledger {
  readonly #revisions = new Map<bigint, Changes>();
  readonly #prefix: string;

  /** @param prefix what the source follows; other writes are not its business. */
  constructor(prefix: string | Uint8Array = "") {
    this.#prefix = bytes(prefix).toString("hex");
  }

  get last(): bigint {
    return [...this.#revisions.keys()].reduce((a, b) => (a > b ? a : b), 0n);
  }

  async put(client: EtcdClient, key: string | Uint8Array, value: string | Uint8Array): Promise<bigint> {
    const revision = await client.put(key, value);
    this.note(revision, [{ key, value }]);
    return revision;
  }

  async delete(client: EtcdClient, key: string | Uint8Array): Promise<bigint> {
    const revision = await client.delete(key);
    this.note(revision, [{ key }]);
    return revision;
  }

  async txn(client: EtcdClient, writes: readonly EtcdWrite[]): Promise<bigint> {
    const revision = await client.txn(writes);
    this.note(revision, writes);
    return revision;
  }

  /** For writes that somebody else made. A deletion of what is not there must not be noted. */
  note(revision: bigint, writes: readonly EtcdWrite[]): void {
    const changes = writes.map(({ key, value }) => [
      bytes(key).toString("hex"),
      value === undefined ? null : bytes(value).toString("hex"),
    ]);
    this.#revisions.set(revision, Object.fromEntries(changes.filter(([key]) => key?.startsWith(this.#prefix))));
  }

  /** Reads from etcd itself what was done, up to a revision: where writes failed and may have been done all the same. */
  async read(client: EtcdClient, upTo: bigint): Promise<void> {
    const done = new AbortController();
    async function* requests() {
      yield createWatch(prefixRange(Buffer.alloc(0)), 1n, false);
      await new Promise<void>((resolve) => done.signal.addEventListener("abort", () => resolve()));
    }
    for await (const { events } of client.link.watch(requests(), done.signal)) {
      for (const { type, kv } of events) {
        if (kv === undefined) continue;
        this.note(kv.modRevision, [type === Event_EventType.PUT ? { key: kv.key, value: kv.value } : { key: kv.key }]);
      }
      if (this.last >= upTo) break;
    }
    done.abort();
  }

  /** Forgets everything: the store was wiped. */
  clear(): void {
    this.#revisions.clear();
  }

  /** Forgets what came after a revision: an earlier state was restored. */
  restore(revision: bigint): void {
    for (const each of this.#revisions.keys()) if (each > revision) this.#revisions.delete(each);
  }

  /** What the keys are after everything. */
  state(): Map<string, string> {
    const state = new Map<string, string>();
    const revisions = [...this.#revisions].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [key, value] of revisions.flatMap(([, changes]) => Object.entries(changes))) {
      if (value === null) state.delete(key);
      else state.set(key, value);
    }
    return state;
  }

  /**
   * Every revision after `after` was handed on once, whole and in order, and nothing else was; and the state is the
   * store's. Call it once the source has come to the end.
   */
  check(probe: SourceProbe, after: bigint): void {
    const wanted = [...this.#revisions]
      .filter(([revision, changes]) => revision > after && Object.keys(changes).length > 0)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const got = probe.groups.map(({ cursor, changes }) => {
      const entries = changes.map(({ key, value, version }) => {
        expect(version).toBe(cursor);
        return [keyId(key), value === undefined ? null : Buffer.from(value).toString("hex")];
      });
      expect(new Set(entries.map(([key]) => key)).size, "a key twice in one revision").toBe(entries.length);
      return [parseSortableInteger(cursor), Object.fromEntries(entries)] as const;
    });
    // Counted first: the difference of two long lists says nothing.
    expect(got.length, "groups").toBe(wanted.length);
    expect(got).toEqual(wanted);
    this.checkState(probe);
  }

  checkState(probe: SourceProbe): void {
    const state = [...probe.state].map(([key, value]) => [key, Buffer.from(value).toString("hex")] as const);
    // Maps are compared without their order.
    expect(new Map(state)).toEqual(this.state());
  }
}
