import { createServer, type Server, Socket } from "node:net";

/** What happens to the bytes on their way: one of them is another, or some of them are missing. */
export type Spoiling = "corrupt" | "truncate";

export interface SpoilOptions {
  readonly how: Spoiling;
  /** To the client (`down`) or from it. */
  readonly direction: "up" | "down";
  /** Bytes that come through before. */
  readonly afterBytes: number;
  /** Bytes that are missing. @default 1 */
  readonly missingBytes?: number;
}

interface Pending extends SpoilOptions {
  leftBytes: number;
  readonly done: () => void;
}

/**
 * A TCP relay that spoils what it carries, when it is told to, and says nothing about it. Nobody can tell a wrong byte
 * from a right one unless the connection is sealed: what is carried here has to be TLS.
 */
export class Spoiler implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  #pending: Pending | undefined;

  private constructor(server: Server, targetPort: number) {
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
    this.#server = server;
    this.#targetPort = targetPort;
    server.on("connection", (socket) => this.#accept(socket));
  }

  /** In front of a port of this machine. */
  static async open(targetPort: number): Promise<Spoiler> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return new Spoiler(server, targetPort);
  }

  /** Spoils once; resolves when it happened. */
  spoil(options: SpoilOptions): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pending = { ...options, leftBytes: options.afterBytes, done: resolve };
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    const target = new Socket();
    for (const [from, to, direction] of [
      [client, target, "up"],
      [target, client, "down"],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (chunk: Buffer) => {
        if (!to.write(this.#carry(chunk, direction))) from.pause();
      });
      to.on("drain", () => from.resume());
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
    target.connect(this.#targetPort, "127.0.0.1");
  }

  #carry(chunk: Buffer, direction: "up" | "down"): Buffer {
    const pending = this.#pending;
    if (pending === undefined || pending.direction !== direction) return chunk;
    const at = pending.leftBytes;
    if (at >= chunk.length) {
      pending.leftBytes -= chunk.length;
      return chunk;
    }
    this.#pending = undefined;
    pending.done();
    if (pending.how === "truncate") {
      return Buffer.concat([chunk.subarray(0, at), chunk.subarray(at + (pending.missingBytes ?? 1))]);
    }
    const spoiled = Buffer.from(chunk);
    spoiled[at] = (spoiled[at] as number) ^ 0x10;
    return spoiled;
  }
}
