import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { createServer as createTlsServer, type SecureContextOptions, Server as TlsServer } from "node:tls";
import type { Clock, Timer } from "@tidemark/clock";
import type { ServingHandler } from "./frame-handler.ts";
import type { ServerTls } from "./frame-server.ts";
import { ServerSession } from "./server-session.ts";

export interface ListenerOptions {
  readonly clock: Clock;
  readonly tls: ServerTls | undefined;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  readonly maxConnections: number;
  readonly maxStreamsPerConnection: number;
  readonly handshakeTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly maxSessionMemory: number;
}

/** gRPC clients open with it; no HTTP/1.1 method begins like this. */
const http2Preface = "PRI";

/** A port: sorts connections by what they speak, watches over them, and lets go of them. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #handler: ServingHandler;
  readonly #sockets = new Set<net.Socket>();
  /** Those that have not said yet what they speak, by whom they come from: behind TLS it is another socket that tells. */
  readonly #silent = new Map<string, net.Socket>();
  readonly #talking = new Map<string, net.Socket>();
  readonly #sessions = new Set<ServerSession>();
  readonly #handshakes = new WeakMap<net.Socket, Timer>();
  /** HTTP/1.1 connections and the calls under way on each. */
  readonly #http1Calls = new Map<net.Socket, number>();
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #server: net.Server;
  #isClosing = false;

  constructor(options: ListenerOptions, handler: ServingHandler) {
    const {
      tls,
      handshakeTimeoutMs: handshakeTimeout,
      streamWindowBytes,
      maxStreamsPerConnection,
      maxSessionMemory,
      maxConnections,
    } = options;
    this.#options = options;
    this.#handler = handler;
    this.#http1 = http.createServer((request, response) => this.#onHttp1(request, response));
    const settings = { initialWindowSize: streamWindowBytes, maxConcurrentStreams: maxStreamsPerConnection };
    this.#http2 = http2.createServer({ settings, maxSessionMemory });
    const onConnection = (socket: net.Socket) => this.#onConnection(socket);
    this.#server =
      tls === undefined
        ? net.createServer(onConnection)
        : createTlsServer({ ...tls, ALPNProtocols: ["h2", "http/1.1"], handshakeTimeout }, onConnection);
    this.#server.on("connection", (socket: net.Socket) => this.#onSocket(socket));
    this.#http2.on("session", (session) => this.#onSession(session));
    this.#http2.on("stream", (stream, headers, flags, raw) => {
      handler.onStream(stream, headers, flags, raw);
      if (this.#isClosing) handler.endCalls();
    });
    this.#server.maxConnections = maxConnections;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  setTls(context: SecureContextOptions): void {
    if (!(this.#server instanceof TlsServer)) throw new Error("This server was started without TLS.");
    this.#server.setSecureContext(context);
  }

  listen(host: string, port: number): Promise<net.AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off("error", reject);
        // Later errors are about single connections (too many open files); the rest go on.
        this.#server.on("error", () => {});
        resolve(this.#server.address() as net.AddressInfo);
      });
    });
  }

  async close(timeoutMs: number): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#handler.endCalls();
    for (const session of this.#sessions) session.close();
    for (const [socket, calls] of this.#http1Calls) if (calls === 0) socket.destroy();
    for (const socket of this.#silent.values()) socket.destroy();
    const limit = this.#options.clock.setTimer(timeoutMs, () => {
      for (const socket of this.#sockets) socket.destroy();
    });
    await closed;
    // The server counts them as closed a little before they are.
    await Promise.all([...this.#sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve))));
    limit.cancel();
  }

  #onSocket(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    const from = peerOf(socket);
    this.#silent.set(from, socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#silent.delete(from);
      this.#talking.delete(from);
    });
    // A reset is no news: its streams hear of it themselves.
    socket.on("error", () => {});
  }

  /** Looks which protocol it is: without TLS nothing else tells. */
  #onConnection(socket: net.Socket): void {
    const { clock, handshakeTimeoutMs } = this.#options;
    const handshake = clock.setTimer(handshakeTimeoutMs, () => socket.destroy()).unref();
    this.#handshakes.set(socket, handshake);
    socket.once("close", () => {
      handshake.cancel();
      this.#http1Calls.delete(socket);
    });
    socket.on("error", () => {});
    let seen = Buffer.alloc(0);
    const look = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk !== null) seen = Buffer.concat([seen, chunk]);
      const start = seen.subarray(0, http2Preface.length).toString("latin1");
      if (start.length < http2Preface.length && http2Preface.startsWith(start)) {
        socket.once("readable", look);
        return;
      }
      socket.unshift(seen);
      const from = peerOf(socket);
      this.#silent.delete(from);
      if (start === http2Preface) {
        this.#talking.set(from, socket);
        // From here on pings tell whether anybody is there.
        this.#handshakes.get(socket)?.cancel();
        this.#http2.emit("connection", socket);
      } else {
        this.#http1Calls.set(socket, 0);
        this.#http1.emit("connection", socket);
      }
    };
    socket.once("readable", look);
  }

  /** Counts calls: a connection of HTTP/1.1 that idles would keep `close()` waiting. */
  #onHttp1(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { socket } = request;
    this.#handshakes.get(socket)?.cancel();
    this.#http1Calls.set(socket, (this.#http1Calls.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const calls = (this.#http1Calls.get(socket) ?? 1) - 1;
      this.#http1Calls.set(socket, calls);
      if (calls === 0 && this.#isClosing) socket.destroy();
    });
    this.#handler.onRequest(request, response);
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const { clock, pingIntervalMs, connectionWindowBytes } = this.#options;
    const socket = this.#talking.get(peerOf(session.socket));
    const watched = new ServerSession(session, {
      clock,
      pingIntervalMs,
      connectionWindowBytes,
      isFailed: (stream) => this.#handler.isFailed(stream),
      onDone: () => socket !== undefined && destroyAfterAll(socket),
      onDead: () => socket?.destroy(),
    });
    this.#sessions.add(watched);
    session.once("close", () => this.#sessions.delete(watched));
  }
}

/** When the goodbye is written. A socket that is destroyed before loses it. */
function destroyAfterAll(socket: net.Socket): void {
  if (socket.writableFinished) socket.destroy();
  else socket.once("finish", () => socket.destroy());
}

const peerOf = (socket: Pick<net.Socket, "remoteAddress" | "remotePort">) =>
  `${socket.remoteAddress} ${socket.remotePort}`;
