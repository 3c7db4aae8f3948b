import { createServer, type Server, Socket } from "node:net";
import { type Clock, systemClock } from "@tidemark/clock";

export interface TcpProxyOptions {
  /** Where connections go: `127.0.0.1:2379` or `http://127.0.0.1:2379`. */
  readonly target: string;
  /** @default the machine's clock */
  readonly clock?: Clock;
}

export interface TcpProxyStats {
  readonly connections: number;
  /** Connections that are open now. */
  readonly open: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Bytes of one direction on their way. */
interface Pipe {
  readonly from: Socket;
  readonly to: Socket;
  readonly isDown: boolean;
  isBusy: boolean;
}

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  readonly pipes: readonly [Pipe, Pipe];
}

/**
 * A TCP proxy on a loopback port that misbehaves on demand: it cuts connections at a chosen byte, swallows everything
 * without a word (a half-open connection) or all answers, delays, or trickles. One per target; faults hold for all its connections.
 */
export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #host: string;
  readonly #targetPort: number;
  readonly #clock: Clock;
  readonly #pairs = new Set<Pair>();
  #connections = 0;
  #bytesUp = 0;
  #bytesDown = 0;
  #cutAtDown = Number.POSITIVE_INFINITY;
  #onCut: (() => void) | undefined;
  #swallows: "nothing" | "answers" | "everything" = "nothing";
  #isRefusing = false;
  #delayMs = 0;
  #bytesPerSecond = Number.POSITIVE_INFINITY;

  constructor(server: Server, host: string, targetPort: number, clock: Clock) {
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
    this.#server = server;
    this.#host = host;
    this.#targetPort = targetPort;
    this.#clock = clock;
    server.on("connection", (socket) => this.#accept(socket));
  }

  /** To use in place of the target's. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get stats(): TcpProxyStats {
    return {
      connections: this.#connections,
      open: this.#pairs.size,
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
    };
  }

  /** Cuts every connection once so many more bytes have come from the target; resolves when it happened. */
  cutAfter(bytesDown: number): Promise<void> {
    this.#cutAtDown = this.#bytesDown + bytesDown;
    return new Promise((resolve) => {
      this.#onCut = resolve;
    });
  }

  /** Cuts every connection now. */
  cut(): void {
    for (const pair of this.#pairs) this.#end(pair);
  }

  /** Forwards nothing any more and says nothing about it: connections stay, and new ones are accepted. */
  blackHole(): void {
    this.#swallows = "everything";
  }

  /** Forwards nothing any more that comes from the target; what goes there still arrives. */
  loseAnswers(): void {
    this.#swallows = "answers";
  }

  /** Cuts what is there and refuses what comes. */
  refuse(): void {
    this.#isRefusing = true;
    this.cut();
  }

  /** Holds every chunk back for so long, in both directions. 0: no more. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Lets so many bytes a second come from the target on each connection. Infinity: no limit. */
  limit(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Behaves from now on. What was swallowed is lost, so connections are cut that may miss something. */
  heal(): void {
    if (this.#swallows !== "nothing") this.cut();
    this.#swallows = "nothing";
    this.#isRefusing = false;
    this.#delayMs = 0;
    this.#bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#cutAtDown = Number.POSITIVE_INFINITY;
  }

  close(): Promise<void> {
    this.cut();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(client: Socket): void {
    if (this.#isRefusing) {
      client.resetAndDestroy();
      return;
    }
    this.#connections++;
    const upstream = new Socket();
    const pair: Pair = {
      client,
      upstream,
      pipes: [
        { from: client, to: upstream, isDown: false, isBusy: false },
        { from: upstream, to: client, isDown: true, isBusy: false },
      ],
    };
    this.#pairs.add(pair);
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on("error", () => this.#end(pair));
      socket.on("close", () => {
        if (this.#swallows !== "everything") this.#end(pair);
      });
    }
    for (const pipe of pair.pipes) {
      pipe.from.on("readable", () => void this.#pump(pair, pipe));
      pipe.from.on("end", () => {
        if (this.#swallows !== "everything") pipe.to.end();
      });
    }
    upstream.connect(this.#targetPort, this.#host);
  }

  async #pump(pair: Pair, pipe: Pipe): Promise<void> {
    if (pipe.isBusy) return;
    pipe.isBusy = true;
    for (let chunk = pipe.from.read() as Buffer | null; chunk !== null; chunk = pipe.from.read() as Buffer | null) {
      if (this.#delayMs > 0) await this.#clock.sleep(this.#delayMs);
      if (pipe.isDown && this.#bytesPerSecond !== Number.POSITIVE_INFINITY) {
        await this.#clock.sleep((chunk.length * 1_000) / this.#bytesPerSecond);
      }
      if (this.#swallows === "everything" || (this.#swallows === "answers" && pipe.isDown)) continue;
      if (!this.#pairs.has(pair)) break;
      if (pipe.isDown && this.#bytesDown + chunk.length >= this.#cutAtDown) {
        this.#cutInside(pair, pipe, chunk);
        break;
      }
      if (pipe.isDown) this.#bytesDown += chunk.length;
      else this.#bytesUp += chunk.length;
      if (!pipe.to.write(chunk)) {
        await new Promise<void>((resolve) => {
          pipe.to.once("drain", resolve);
          pipe.to.once("close", resolve);
        });
      }
    }
    pipe.isBusy = false;
  }

  /** The bytes before the cut still arrive; then it is over for everybody. */
  #cutInside(pair: Pair, pipe: Pipe, chunk: Buffer): void {
    const rest = chunk.subarray(0, Math.max(0, this.#cutAtDown - this.#bytesDown));
    this.#bytesDown += rest.length;
    this.#cutAtDown = Number.POSITIVE_INFINITY;
    pipe.to.end(rest);
    pair.upstream.destroy();
    this.#pairs.delete(pair);
    this.cut();
    this.#onCut?.();
    this.#onCut = undefined;
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.upstream.destroy();
  }
}

/** Listens on a free loopback port and forwards to `target`. */
export function tcpProxy(options: TcpProxyOptions): Promise<TcpProxy> {
  const url = new URL(options.target.includes("://") ? options.target : `tcp://${options.target}`);
  const server = createServer({ pauseOnConnect: false });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      server.off("error", reject);
      resolve(new TcpProxy(server, url.hostname, Number(url.port), options.clock ?? systemClock));
    });
  });
}
