import net from "node:net";

/** A TCP port in front of another one, which can be cut, or swallow everything in silence. */
export class Relay {
  readonly #targetPort: number;
  readonly #sockets = new Set<net.Socket>();
  readonly #server = net.createServer((socket) => this.#connect(socket));
  #isFrozen = false;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port }, () => resolve((this.#server.address() as net.AddressInfo).port));
    });
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** From now on nothing gets through and nobody is told: a cable that was pulled. New connections are taken. */
  freeze(): void {
    this.#isFrozen = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What waited goes on its way. */
  thaw(): void {
    this.#isFrozen = false;
    for (const socket of this.#sockets) socket.resume();
  }

  /** Ends every connection with a reset. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): Promise<void> {
    this.cut();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #connect(client: net.Socket): void {
    const server = net.connect({ host: "127.0.0.1", port: this.#targetPort });
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      if (this.#isFrozen) from.pause();
      from.on("data", (chunk: Buffer) => {
        if (to.write(chunk)) return;
        from.pause();
        to.once("drain", () => {
          if (!this.#isFrozen) from.resume();
        });
      });
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
    if (this.#isFrozen) for (const socket of [client, server]) socket.pause();
  }
}
