import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "@tidemark/tooling/ports";
import { openStore, type Store, serveWatch, type WatchServer } from "@tidemark/watch-server";
import { onTestFinished } from "vitest";

/** A real store behind a real port, which can go away and come back in several ways. */
export class Site {
  readonly file: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "tidemark-source-"));
  #port = 0;
  #store: Store | undefined;
  #server: WatchServer | undefined;

  constructor() {
    this.file = join(this.#folder, "store.db");
  }

  get store(): Store {
    if (this.#store === undefined) throw new Error("the site is down");
    return this.#store;
  }

  get port(): number {
    return this.#port;
  }

  get address(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async up(): Promise<this> {
    // Its own also while it is down: one that the system gives out could be somebody else's by then.
    if (this.#port === 0) [this.#port] = (await freePorts(1)) as [number];
    this.#store = await openStore({ file: this.file });
    this.#server = await serveWatch({ store: this.#store, listen: { port: this.#port }, closeTimeoutMs: 500 });
    return this;
  }

  async down(): Promise<void> {
    await this.#server?.close();
    await this.#store?.close();
    this.#server = undefined;
    this.#store = undefined;
  }

  async restart(): Promise<void> {
    await this.down();
    await this.up();
  }

  /** An empty store of another identity takes its place. */
  async wipe(): Promise<void> {
    await this.down();
    this.removeFiles();
    await this.up();
  }

  removeFiles(): void {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${this.file}${suffix}`, { force: true });
  }

  async dispose(): Promise<void> {
    await this.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export async function testSite(): Promise<Site> {
  const site = await new Site().up();
  onTestFinished(() => site.dispose());
  return site;
}

/** A TCP relay that can be cut anywhere. */
export class Relay {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #frozen = new WeakSet<net.Socket>();
  /** After so many bytes towards the watcher the connection is cut. */
  #cutAfter = Number.POSITIVE_INFINITY;
  cuts = 0;
  bytes = 0;

  constructor(port: number) {
    this.#server = net.createServer((near) => {
      const far = net.connect(port, "127.0.0.1");
      this.#pipe(near, far);
      this.#pipe(far, near, true);
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  cutAfter(bytes: number): void {
    this.#cutAfter = bytes;
  }

  /** The connections there are now stay open, and nothing comes through them any more. */
  freeze(): void {
    for (const socket of this.#sockets) this.#frozen.add(socket);
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #pipe(from: net.Socket, to: net.Socket, isCounted = false): void {
    this.#sockets.add(from);
    from.on("data", (data) => {
      if (this.#frozen.has(from)) return;
      const room = isCounted ? this.#cutAfter : Number.POSITIVE_INFINITY;
      if (isCounted) {
        this.#cutAfter -= data.length;
        this.bytes += data.length;
      }
      if (data.length < room) {
        if (!to.write(data)) from.pause();
        return;
      }
      // Not even what was sent before is sure to arrive.
      this.#cutAfter = Number.POSITIVE_INFINITY;
      this.cuts++;
      to.write(data.subarray(0, room), () => {
        from.resetAndDestroy();
        to.destroy();
      });
    });
    to.on("drain", () => from.resume());
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}

export async function testRelay(port: number): Promise<Relay> {
  const relay = await new Relay(port).listen();
  onTestFinished(() => relay.close());
  return relay;
}
