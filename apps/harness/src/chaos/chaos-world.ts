import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SeededRng, seededRng } from "@tidemark/clock";
import { startEtcd, type TcpProxy, tcpProxy, type TestEtcd } from "@tidemark/source-etcd/testing";
import { keyText } from "../keys.ts";
import { ChaosFollower } from "./chaos-follower.ts";
import { type Era, type KeyState, Ledger } from "./ledger.ts";
import { type FollowDefect, followName } from "../roles/follow-options.ts";
import { judge, type OracleFinding } from "./oracle.ts";
import type { Replica } from "./replica.ts";
import { readReplica } from "./replica-reader.ts";
import { Workload } from "./workload.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly signal?: AbortSignal;
  /** How long one fault or one check may take before it counts as stuck, in milliseconds. @default 60_000 */
  readonly stepTimeoutMs?: number;
  /** A follower that is broken on purpose. */
  readonly defect?: FollowDefect;
}

/** What a verification found to be in order. */
export interface Verified {
  readonly changes: number;
  readonly versions: number;
  /** Of these, what came by the watch and not in a snapshot. */
  readonly streamed: number;
  readonly keys: number;
  readonly gaps: number;
  readonly epochs: number;
}

const prefix = "/chaos/";

/** A real etcd, somebody who writes to it, and a follower behind a proxy: everything that a fault needs. */
export class ChaosWorld {
  readonly seed: number;
  readonly rng: SeededRng;
  readonly ledger = new Ledger();
  readonly folder: string;
  readonly etcd: TestEtcd;
  readonly proxy: TcpProxy;
  readonly follower: ChaosFollower;
  readonly workload: Workload;
  /** A backup of the store that was made, and what it holds. */
  backup: { readonly file: string; readonly era: Era; readonly revision: bigint } | undefined;
  readonly #options: ChaosOptions;
  #serving = Promise.resolve();
  readonly #log: string[] = [];

  /** Use `createChaosWorld`. */
  constructor(options: ChaosOptions, folder: string, etcd: TestEtcd, proxy: TcpProxy) {
    this.#options = options;
    this.seed = options.seed;
    this.rng = seededRng(options.seed);
    this.folder = folder;
    this.etcd = etcd;
    this.proxy = proxy;
    this.follower = new ChaosFollower({
      endpoint: proxy.endpoint,
      prefix,
      file: this.replicaFile,
      heartbeatIntervalMs: 300,
      silenceTimeoutMs: 900,
      maxBackoffMs: 100,
      // Small, so that batches are staged and the stream is held back.
      maxBufferBytes: 1 << 20,
      maxGroupBytes: 64 << 10,
      ...(options.defect !== undefined && { defect: options.defect }),
    });
    this.workload = new Workload({
      endpoint: etcd.endpoint,
      prefix,
      ledger: this.ledger,
      rng: this.rng.fork("workload"),
      serving: () => this.#serving,
    });
  }

  get replicaFile(): string {
    return join(this.folder, "replica.db");
  }

  /** What happened, for the report of a failure. */
  get log(): readonly string[] {
    return this.#log;
  }

  /** Nothing may hang: what does not come in time is an error that tells where everything stands. */
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const { stepTimeoutMs = 60_000, signal } = this.#options;
    signal?.throwIfAborted();
    this.#log.push(name);
    const { promise: stuck, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(new Error(`stuck for ${stepTimeoutMs / 1000} s in "${name}": ${this.follower.describe()}`));
    }, stepTimeoutMs);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([work(), stuck]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Does something to etcd during which it does not serve; who writes waits until it is done. */
  async whileDown(work: () => Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#serving = promise;
    try {
      await work();
    } finally {
      resolve();
    }
  }

  /**
   * Waits until the follower has everything, and compares it with what was done: through a SQLite connection that knows
   * nothing of the follower, and an etcd client that goes past the proxy.
   *
   * @throws with everything that was found.
   */
  async verify(): Promise<Verified> {
    await this.workload.pause();
    if (!this.follower.isRunning) this.follower.start();
    await this.follower.sync();
    const fsck = await this.follower.fsck();
    const replica = readReplica(this.replicaFile, followName);
    using client = this.etcd.newClient();
    const { kvs } = await client.list(prefix);
    const store = new Map(
      kvs.map(({ key, value, modRevision }): [string, KeyState] => [
        keyText(key),
        { value: keyText(value), revision: modRevision },
      ]),
    );
    const findings = [
      ...fsck.findings.map(({ invariant, message }) => `fsck ${invariant}: ${message}`),
      ...judge({ ledger: this.ledger, replica, store }).map(describeFinding),
    ];
    if (!fsck.isClean && findings.length === 0) findings.push("fsck is not clean and does not say why");
    if (findings.length > 0) throw new Error([...findings, "", ...this.#story(replica)].join("\n"));
    this.workload.resume();
    return {
      changes: this.ledger.changes,
      versions: replica.versions.length,
      streamed: replica.versions.filter(({ via }) => via === "stream").length,
      keys: store.size,
      gaps: replica.gaps.length,
      epochs: replica.epochs.length,
    };
  }

  /** What one has to know to understand a finding. */
  #story({ epochs, gaps, cursor, versions }: Replica): string[] {
    const lives = this.ledger.eras.map(({ reason, entries, compactions }, index) => {
      const last = entries.reduce((max, { revision }) => (revision > max ? revision : max), 0n);
      return `life ${index} of the store: ${reason}, up to revision ${last}, compacted at ${compactions.join(", ") || "none"}`;
    });
    return [
      ...lives,
      ...epochs.map((epoch) => {
        const own = versions.filter((version) => version.epoch === epoch);
        const [first, last] = [own[0], own.at(-1)];
        return `epoch ${epoch}: positions ${first?.position}-${last?.position}, from ${first?.via} at ${first?.cursor} to ${last?.cursor}`;
      }),
      ...gaps.map(({ reason, from, position, detail }) => `gap at ${position} from ${from}: ${reason}: ${detail}`),
      `the replica stands at ${cursor?.revision} of epoch ${cursor?.epoch}`,
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // In this order: the writers may wait for an etcd that will not come back.
    this.workload.resume();
    await this.follower.kill();
    await this.proxy.close();
    this.etcd.thaw();
    await this.workload.stop();
    await this.etcd[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function describeFinding({ kind, message }: OracleFinding): string {
  return `${kind}: ${message}`;
}

/** Starts all of it; the follower only when it is told to. */
export async function createChaosWorld(options: ChaosOptions): Promise<ChaosWorld> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-chaos-"));
  const etcd = await startEtcd();
  const proxy = await tcpProxy({ target: etcd.endpoint });
  return new ChaosWorld(options, folder, etcd, proxy);
}
