import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Clock, systemClock } from "@tidemark/clock";
// Built into what is published: nothing of the kind is installed.
import { freePorts } from "@tidemark/tooling/ports";
import type { EtcdTls } from "../endpoint.ts";
import { EtcdClient } from "../etcd-client.ts";
import { Permission_Type } from "../gen/etcd/authpb/auth_pb.ts";
import { keyBytes, prefixRange } from "../key-range.ts";
import type { EtcdCredentials } from "../token-source.ts";

export interface StartEtcdOptions {
  /**
   * Where its data goes. It is left there in the end.
   * @default a new folder that is removed in the end
   */
  readonly dir?: string;
  /** Port for clients on 127.0.0.1. @default a free one */
  readonly port?: number;
  /** Port for other members on 127.0.0.1. @default a free one */
  readonly peerPort?: number;
  /** More flags, such as `--auto-compaction-retention=1`. They win over ours. */
  readonly args?: readonly string[];
  /** Files in PEM; with them it serves TLS, and with `clientCa` it asks clients for a certificate. */
  readonly tlsFiles?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** How our own client speaks TLS to it. */
  readonly tls?: EtcdTls;
  /** @default "etcd", from PATH */
  readonly command?: string;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** How long it may take until it serves, in milliseconds. @default 20_000 */
  readonly startTimeoutMs?: number;
}

/** A user that may read, write, or both, under one prefix. */
export interface TestEtcdUser extends EtcdCredentials {
  readonly prefix: string;
  /** @default "readwrite" */
  readonly may?: "read" | "write" | "readwrite";
}

const permissionTypes = {
  read: Permission_Type.READ,
  write: Permission_Type.WRITE,
  readwrite: Permission_Type.READWRITE,
} as const;

const run = promisify(execFile);

/** What keeps running if this process forgets it. */
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** A real etcd of one member on loopback ports, to be treated badly. */
export class TestEtcd {
  readonly port: number;
  readonly peerPort: number;
  /** Holds the data. */
  readonly dir: string;
  readonly #options: StartEtcdOptions;
  readonly #clock: Clock;
  #child: ChildProcess | undefined;
  #log = "";
  #client: EtcdClient | undefined;
  #credentials: EtcdCredentials | undefined;

  /** What goes away with it; undefined: nothing. */
  readonly #folder: string | undefined;

  /** Starts nothing; see `startEtcd`. */
  constructor(options: StartEtcdOptions, dir: string, folder: string | undefined, port: number, peerPort: number) {
    this.#options = options;
    this.#folder = folder;
    this.#clock = options.clock ?? systemClock;
    this.dir = dir;
    this.port = port;
    this.peerPort = peerPort;
  }

  get endpoint(): string {
    return `${this.#options.tlsFiles === undefined ? "http" : "https"}://127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** A client of the process that runs now; as root once authentication is on. */
  get client(): EtcdClient {
    this.#client ??= this.newClient();
    return this.#client;
  }

  newClient(credentials: EtcdCredentials | undefined = this.#credentials): EtcdClient {
    return new EtcdClient({ endpoint: this.endpoint, credentials, tls: this.#options.tls, clock: this.#clock });
  }

  /** Starts it on its data and resolves when it serves. */
  async start(): Promise<void> {
    const { command = "etcd", args = [], tlsFiles } = this.#options;
    const peers = `http://127.0.0.1:${this.peerPort}`;
    const flags = [
      `--name=test`,
      `--data-dir=${this.dir}`,
      `--listen-client-urls=${this.endpoint}`,
      `--advertise-client-urls=${this.endpoint}`,
      `--listen-peer-urls=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
      `--initial-cluster=test=${peers}`,
      // Alone it wins every election: no need to wait for others.
      `--heartbeat-interval=10`,
      `--election-timeout=100`,
      `--unsafe-no-fsync`,
      `--logger=zap`,
      `--log-level=error`,
      ...(tlsFiles === undefined ? [] : [`--cert-file=${tlsFiles.cert}`, `--key-file=${tlsFiles.key}`]),
      ...(tlsFiles?.clientCa === undefined ? [] : ["--client-cert-auth", `--trusted-ca-file=${tlsFiles.clientCa}`]),
      ...args,
    ];
    const child = spawn(command, flags, { stdio: ["ignore", "ignore", "pipe"] });
    children.add(child);
    this.#child = child;
    this.#log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#log = (this.#log + text).slice(-8_192);
    });
    child.once("exit", () => children.delete(child));
    const failed = new Promise<never>((_, reject) => {
      child.once("error", reject);
      // Not "exit": only then has everything been read that it said.
      child.once("close", (code) => reject(new Error(`etcd ended with ${code} before it served:\n${this.#log}`)));
    });
    await Promise.race([this.#untilServing(), failed]);
    failed.catch(() => {});
  }

  /** SIGKILL, and waits for the end. */
  kill9(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** SIGTERM, and waits for the end. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** SIGSTOP: it keeps its connections and says nothing. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  /** SIGCONT. */
  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Kills it if it runs, and starts it on the same data and ports. */
  async restart(): Promise<void> {
    await this.kill9();
    await this.start();
  }

  /** Kills it, forgets its data, and starts it on the same ports: the new cluster has the same id. */
  async wipe(): Promise<void> {
    await this.kill9();
    await rm(this.dir, { recursive: true, force: true });
    this.#credentials = undefined;
    await this.start();
  }

  /** Forgets what was superseded before `revision`; by default before now. */
  async compact(revision?: bigint): Promise<bigint> {
    const at = revision ?? (await this.client.revision());
    await this.client.compact(at);
    return at;
  }

  /** Saves a backup with `etcdctl`. */
  async saveBackup(file: string): Promise<void> {
    await etcdctl(["--endpoints", this.endpoint, "snapshot", "save", file]);
  }

  /** Kills it, replaces its data by a backup, and starts it on the same ports: the cluster has the same id as before. */
  async restoreBackup(file: string): Promise<void> {
    await this.kill9();
    await rm(this.dir, { recursive: true, force: true });
    const peers = `http://127.0.0.1:${this.peerPort}`;
    await etcdctl([
      "snapshot",
      "restore",
      file,
      `--data-dir=${this.dir}`,
      "--name=test",
      `--initial-cluster=test=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
    ]);
    await this.start();
  }

  /** Switches authentication on, with a root of this password and with these users. */
  async enableAuth(rootPassword: string, users: readonly TestEtcdUser[] = []): Promise<void> {
    const { link } = this.client;
    const { auth } = link;
    await link.call((options) => auth.userAdd({ name: "root", password: rootPassword }, options));
    await link.call((options) => auth.roleAdd({ name: "root" }, options));
    await link.call((options) => auth.userGrantRole({ user: "root", role: "root" }, options));
    for (const user of users) {
      const { start, end } = prefixRange(keyBytes(user.prefix));
      const permType = permissionTypes[user.may ?? "readwrite"];
      await link.call((options) => auth.userAdd({ name: user.user, password: user.password }, options));
      await link.call((options) => auth.roleAdd({ name: user.user }, options));
      const perm = { permType, key: start, rangeEnd: end };
      await link.call((options) => auth.roleGrantPermission({ name: user.user, perm }, options));
      await link.call((options) => auth.userGrantRole({ user: user.user, role: user.user }, options));
    }
    await link.call((options) => auth.authEnable({}, options));
    this.#credentials = { user: "root", password: rootPassword };
    this.#dropClient();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.thaw();
    await this.kill9();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.#dropClient();
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  #dropClient(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #untilServing(): Promise<void> {
    const until = this.#clock.monotonic() + (this.#options.startTimeoutMs ?? 20_000);
    const child = this.#child;
    for (;;) {
      using client = this.newClient();
      try {
        // A quorum read: from then on it knows everything it knew before.
        await client.link.range({ key: Uint8Array.of(0), limit: 1n, keysOnly: true });
        return;
      } catch (error) {
        if (this.#child !== child) throw error;
        if (this.#clock.monotonic() > until) throw new Error(`etcd does not serve:\n${this.#log}`, { cause: error });
      }
      await this.#clock.sleep(20);
    }
  }
}

/** Starts a real etcd from PATH with a data folder of its own, on free loopback ports, and resolves when it serves. */
export async function startEtcd(options: StartEtcdOptions = {}): Promise<TestEtcd> {
  const [port = 0, peerPort = 0] = await freePorts(2);
  const folder = options.dir === undefined ? await mkdtemp(join(tmpdir(), "tidemark-etcd-")) : undefined;
  const dir = options.dir ?? join(folder ?? "", "data");
  const etcd = new TestEtcd(options, dir, folder, options.port ?? port, options.peerPort ?? peerPort);
  try {
    await etcd.start();
  } catch (error) {
    await etcd[Symbol.asyncDispose]();
    throw error;
  }
  return etcd;
}

async function etcdctl(args: readonly string[]): Promise<void> {
  await run("etcdctl", [...args], { env: { ...process.env, ETCDCTL_API: "3" } });
}
