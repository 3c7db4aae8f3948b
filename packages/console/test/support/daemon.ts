import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { createMigrationSource, createStatus, type MigrationSample } from "@tidemark/status";
import { toNodeListener } from "@tidemark/status/http";
import {
  type Frame,
  FrameBuffer,
  type History,
  type HistoryStream,
  openHistory,
  type SourceCapabilities,
} from "@tidemark/store-watch";
import { onTestFinished } from "vitest";
import { AdminService } from "../../src/gen/tidemark/admin/v1/admin_pb.ts";
import { createConsoleHandler } from "../../src/index.ts";
import { createAdmin, type StreamFacts, type Told } from "./admin.ts";

const capabilities: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

export type Put = readonly [key: string | Uint8Array, value: string | Uint8Array | null];

/** A real history behind the page and the AdminService, on a port that can be taken away. */
export class Daemon {
  readonly history: History;
  readonly #stream: HistoryStream;
  readonly #name: string;
  readonly #stop = new AbortController();
  readonly #admin: ReturnType<typeof createAdmin>;
  readonly #server: Server;
  /** What `/healthz` tells of migrations. */
  samples: readonly MigrationSample[] = [];
  #buffer = new FrameBuffer();
  #revision = 0;

  private constructor(history: History, stream: HistoryStream) {
    this.history = history;
    this.#stream = stream;
    this.#name = stream.name;
    this.#admin = createAdmin(history, this.#stop.signal);
    const page = toNodeListener(createConsoleHandler());
    const source = createMigrationSource({ read: () => this.samples, ttlMs: 0 });
    const health = toNodeListener(createStatus({ migrations: source }).handle);
    const services = connectNodeAdapter({ routes: (router) => router.service(AdminService, this.#admin.service) });
    this.#server = createServer((request, response) => {
      if (!page(request, response) && !health(request, response)) services(request, response);
    });
  }

  static async open({ name = "store", kind = "watch", port = 0 } = {}): Promise<Daemon> {
    const folder = mkdtempSync(join(tmpdir(), "tidemark-console-"));
    const history = await openHistory({ file: join(folder, "history.db") });
    const stream = await history.openStream({ name, kind, description: "embedded store", scope: "all", capabilities });
    const daemon = new Daemon(history, stream);
    await daemon.#append([{ type: "reset", epoch: "one" }]);
    await daemon.listen(port);
    onTestFinished(async () => {
      daemon.#stop.abort();
      await daemon.close();
      await history.close();
      rmSync(folder, { recursive: true, force: true });
    });
    return daemon;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, "127.0.0.1", resolve);
    });
  }

  /** Takes the port away and cuts every connection; the history stays. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  /** One transaction of the source. */
  async put(...changes: readonly Put[]): Promise<void> {
    this.#revision++;
    const version = this.#version();
    const frames = changes.map(
      ([key, value]): Frame => ({
        type: "change",
        key: typeof key === "string" ? Buffer.from(key) : key,
        value: value === null ? undefined : typeof value === "string" ? Buffer.from(value) : value,
        version,
      }),
    );
    await this.#append([...frames, { type: "commit", cursor: version }]);
  }

  /** Frames of any kind, in a transaction of their own. */
  async tell(...frames: readonly Frame[]): Promise<void> {
    this.#revision++;
    await this.#append([...frames, { type: "commit", cursor: this.#version() }]);
  }

  /** How many pages are told changes now. */
  get watching(): number {
    return this.#admin.watching();
  }

  /** What it does besides following a stream. */
  does(change: Told): void {
    Object.assign(this.#admin.told, change);
    this.#admin.setFacts(this.#name, {});
  }

  setFacts(facts: StreamFacts): void {
    this.#admin.setFacts(this.#name, facts);
  }

  #version(): string {
    const digits = String(this.#revision);
    return String.fromCharCode(96 + digits.length) + digits;
  }

  async #append(frames: readonly Frame[]): Promise<void> {
    for (const frame of frames) this.#buffer.write(frame);
    const { buffer } = await this.#stream.append(this.#buffer);
    buffer.clear();
    this.#buffer = buffer;
  }
}

/** A line between the page and its daemon that can be frozen: bytes stay on their way, nobody is told. */
export async function openLine(port: number): Promise<{ readonly url: string; freeze(): void; thaw(): void }> {
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const server = createTcpServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (chunk) => to.write(chunk));
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on("error", () => {});
      if (isFrozen) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    freeze: () => {
      isFrozen = true;
      for (const socket of sockets) socket.pause();
    },
    thaw: () => {
      isFrozen = false;
      for (const socket of sockets) socket.resume();
    },
  };
}
