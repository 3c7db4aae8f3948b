import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRng, type SeededRng, systemClock } from "@tidemark/clock";
import { startEtcd, type TcpProxy, tcpProxy, type TestEtcd } from "@tidemark/source-etcd/testing";
import { Program } from "./program.ts";

export const group = "config";
const prefix = "/config/";

/** A put that etcd said it has done. */
export interface Acknowledged {
  readonly key: string;
  readonly value: string;
  readonly revision: bigint;
}

/** How far a site is. */
export interface Standing {
  /** The same at sites that have the same. */
  readonly vector: string;
  readonly isPublished: boolean;
  readonly conflicts: number;
}

interface SiteMessage {
  readonly origin: string;
  readonly published?: string;
  readonly vector?: readonly { readonly origin: string; readonly generation?: string }[];
  readonly conflicts?: number;
}

/** One site: an etcd, a daemon, and the ways to everything, which can be cut. */
export class Place {
  readonly name: string;
  readonly etcd: TestEtcd;
  readonly url: string;
  readonly dataDir: string;
  readonly daemon: Program;
  readonly toEtcd: TcpProxy;
  readonly toTopics: TcpProxy;
  readonly acknowledged: Acknowledged[] = [];
  deletes = 0;
  /** Edits whose answer was lost. */
  unknown = 0;

  private constructor(name: string, parts: Pick<Place, "etcd" | "url" | "dataDir" | "daemon" | "toEtcd" | "toTopics">) {
    this.name = name;
    this.etcd = parts.etcd;
    this.url = parts.url;
    this.dataDir = parts.dataDir;
    this.daemon = parts.daemon;
    this.toEtcd = parts.toEtcd;
    this.toTopics = parts.toTopics;
  }

  static async open(options: {
    readonly name: string;
    readonly folder: string;
    readonly port: number;
    readonly topicsPort: number;
    /** Node's arguments for `tidemark`. */
    readonly tidemark: readonly string[];
  }): Promise<Place> {
    const { name, folder, port, topicsPort, tidemark } = options;
    const etcd = await startEtcd();
    const toEtcd = await tcpProxy({ target: etcd.endpoint });
    const toTopics = await tcpProxy({ target: `127.0.0.1:${topicsPort}` });
    const dataDir = join(folder, name);
    mkdirSync(dataDir, { recursive: true });
    const config = join(folder, `${name}.json`);
    const content = {
      dataDir,
      listen: `127.0.0.1:${port}`,
      topics: false,
      sources: [{ kind: "etcd", endpoints: [toEtcd.endpoint], prefix }],
      sites: [{ name, group, topics: `grpc://127.0.0.1:${toTopics.port}/local`, source: "etcd" }],
    };
    writeFileSync(config, JSON.stringify(content, undefined, 2));
    const daemon = new Program([...tidemark, "up", "--json", "--log-level", "info", "--config", config]);
    return new Place(name, { etcd, url: `http://127.0.0.1:${port}`, dataDir, daemon, toEtcd, toTopics });
  }

  /** Edits like people do, until the signal says stop: puts, deletes and transactions, on keys that both sites use. */
  async edit(seed: number, perSecond: number, signal: AbortSignal): Promise<void> {
    const rng = seededRng(seed);
    let client = this.etcd.newClient();
    for (let n = 0; !signal.aborted; n++) {
      await systemClock.sleep((rng.float() * 2000) / perSecond, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      const writes = this.#writes(rng, n);
      try {
        const revision = await client.txn(writes);
        for (const { key, value } of writes) {
          // A deletion of what is not there is acknowledged, too, and is nothing.
          if (value === undefined) this.deletes++;
          else this.acknowledged.push({ key, value, revision });
        }
      } catch {
        this.unknown += writes.length;
        client.close();
        client = this.etcd.newClient();
      }
    }
    client.close();
  }

  #writes(rng: SeededRng, n: number): { readonly key: string; readonly value?: string }[] {
    const keys = new Set(Array.from({ length: rng.float() < 0.2 ? 3 : 1 }, () => `${prefix}key-${rng.int(0, 40)}`));
    return [...keys].map((key, index) => (rng.float() < 0.15 ? { key } : { key, value: `${this.name} ${n}.${index}` }));
  }

  async contents(): Promise<Map<string, string>> {
    const client = this.etcd.newClient();
    try {
      const { kvs } = await client.list(prefix);
      return new Map(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
    } finally {
      client.close();
    }
  }

  /** What its daemon tells of the site; undefined while it tells nothing. */
  async standing(): Promise<Standing | undefined> {
    const call = `${this.url}/tidemark.admin.v1.AdminService/Sites`;
    try {
      const headers = { "content-type": "application/json" };
      const response = await fetch(call, { method: "POST", headers, body: "{}", signal: AbortSignal.timeout(5000) });
      const [site] = ((await response.json()) as { readonly sites: readonly SiteMessage[] }).sites;
      const vector = (site?.vector ?? []).map(({ origin, generation }) => `${origin} ${generation}`).sort();
      const own = site?.vector?.find(({ origin }) => origin === site.origin)?.generation;
      return { vector: vector.join(), isPublished: own === site?.published, conflicts: site?.conflicts ?? 0 };
    } catch {
      return undefined;
    }
  }

  heal(): void {
    this.toEtcd.heal();
    this.toTopics.heal();
  }

  async close(): Promise<void> {
    await this.daemon.kill("SIGTERM");
    await this.toEtcd.close();
    await this.toTopics.close();
    await this.etcd[Symbol.asyncDispose]();
  }
}

/** Keys that two sites do not show alike. */
export function differences(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): string[] {
  return [...new Set([...one.keys(), ...other.keys()])].filter((key) => one.get(key) !== other.get(key)).sort();
}
