import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SeededRng, seededRng } from "@tidemark/clock";
import { startEtcd, type TcpProxy, tcpProxy, type TestEtcd } from "@tidemark/source-etcd/testing";
import { freePorts } from "@tidemark/tooling/ports";
import { keyText } from "../keys.ts";
import { ChaosFollower } from "./chaos-follower.ts";
import type { ChaosSubject, FaultNeed } from "./chaos-loop.ts";
import { type Era, type KeyState, Ledger } from "./ledger.ts";
import { type FollowDefect, followName } from "../roles/follow-options.ts";
import { judge, type OracleFinding } from "./oracle.ts";
import type { Replica } from "./replica.ts";
import { readReplica } from "./replica-reader.ts";
import { prepareNeeds } from "./needs.ts";
import type { SmallDisk } from "./small-disk.ts";
import { Spoiler } from "./spoiler.ts";
import { Steps, type StepsOptions } from "./steps.ts";
import { Workload } from "./workload.ts";

export interface ChaosOptions extends StepsOptions {
  readonly seed: number;
  /** A follower that is broken on purpose. */
  readonly defect?: FollowDefect;
}

/** What a verification found to be in order. */
export type Verified = {
  readonly changes: number;
  readonly versions: number;
  /** Of these, what came by the watch and not in a snapshot. */
  readonly streamed: number;
  readonly keys: number;
  readonly gaps: number;
  readonly epochs: number;
};

const prefix = "/chaos/";

/** A real etcd, somebody who writes to it, and a follower behind a proxy: everything that a fault needs. */
export class ChaosWorld implements ChaosSubject<Verified> {
  readonly rng: SeededRng;
  readonly ledger = new Ledger();
  readonly folder: string;
  readonly etcd: TestEtcd;
  readonly proxy: TcpProxy;
  readonly follower: ChaosFollower;
  readonly workload: Workload;
  /** A backup of the store that was made, and what it holds. */
  backup: { readonly file: string; readonly era: Era; readonly revision: bigint } | undefined;
  /** On the way from the proxy to the follower; undefined: nothing may be spoiled there. */
  readonly spoiler: Spoiler | undefined;
  /** What the replica is on; undefined: the machine's own, which must not be full. */
  readonly disk: SmallDisk | undefined;
  /** What etcd is on; undefined: the machine's own. */
  readonly storeDisk: SmallDisk | undefined;
  readonly steps: Steps;
  #serving = Promise.resolve();

  /** Use `createChaosWorld`. */
  constructor(options: ChaosOptions, parts: ChaosParts) {
    const { folder, etcd, proxy, sealed, disk, storeDisk } = parts;
    this.rng = seededRng(options.seed);
    this.folder = folder;
    this.etcd = etcd;
    this.proxy = proxy;
    this.spoiler = sealed?.spoiler;
    this.disk = disk;
    this.storeDisk = storeDisk;
    this.steps = new Steps(options, () => `${this.workload.acknowledged} writes; ${this.follower.describe()}`);
    this.follower = new ChaosFollower({
      endpoint: sealed === undefined ? proxy.endpoint : `https://127.0.0.1:${sealed.spoiler.port}`,
      ...(sealed !== undefined && { ca: sealed.ca }),
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
    return join(this.disk?.path ?? this.folder, "replica.db");
  }

  async begin(): Promise<void> {
    // The first snapshot finds something.
    await this.workload.after(50);
    this.follower.start();
  }

  async settle(): Promise<void> {
    // All of it may have been left to the first snapshot, and that would prove little of the watch.
    await this.follower.in("live");
    await this.workload.after(150);
  }

  end(): Promise<void> {
    return this.follower.close();
  }

  counts() {
    return { "kills of the follower": this.follower.kills, "writes to etcd": this.workload.acknowledged };
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
    await this.spoiler?.[Symbol.asyncDispose]();
    await this.proxy.close();
    this.etcd.thaw();
    await this.workload.stop();
    await this.etcd[Symbol.asyncDispose]();
    await this.disk?.[Symbol.asyncDispose]();
    await this.storeDisk?.[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function describeFinding({ kind, message }: OracleFinding): string {
  return `${kind}: ${message}`;
}

interface ChaosParts {
  readonly folder: string;
  readonly etcd: TestEtcd;
  readonly proxy: TcpProxy;
  /** The follower's way is TLS, so that spoiled bytes can be told. */
  readonly sealed: { readonly spoiler: Spoiler; readonly ca: string } | undefined;
  readonly disk: SmallDisk | undefined;
  readonly storeDisk: SmallDisk | undefined;
}

/** Starts all of it, as the faults need it; the follower only when it is told to. */
export async function createChaosWorld(
  options: ChaosOptions,
  needs: ReadonlySet<FaultNeed> = new Set(),
): Promise<{ readonly world: ChaosWorld; readonly lacks: ReadonlySet<FaultNeed> }> {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-chaos-"));
  const { disk, storeDisk, identity, lacks } = await prepareNeeds(needs, folder);
  const where = storeDisk && { dir: join(storeDisk.path, "etcd") };
  if (identity === undefined) {
    const etcd = await startEtcd({ ...where });
    const proxy = await tcpProxy({ target: etcd.endpoint });
    return { world: new ChaosWorld(options, { folder, etcd, proxy, sealed: undefined, disk, storeDisk }), lacks };
  }
  // Whoever writes and compares speaks to it plainly, beside the follower's way.
  const [port = 0, sealedPort = 0] = await freePorts(2);
  const urls = `http://127.0.0.1:${port},https://127.0.0.1:${sealedPort}`;
  const { certFile, keyFile, ca } = identity;
  const args = [
    `--listen-client-urls=${urls}`,
    `--advertise-client-urls=${urls}`,
    `--cert-file=${certFile}`,
    `--key-file=${keyFile}`,
  ];
  const etcd = await startEtcd({ port, args, ...where });
  const proxy = await tcpProxy({ target: `https://127.0.0.1:${sealedPort}` });
  const spoiler = await Spoiler.open(proxy.port);
  return { world: new ChaosWorld(options, { folder, etcd, proxy, sealed: { spoiler, ca }, disk, storeDisk }), lacks };
}
