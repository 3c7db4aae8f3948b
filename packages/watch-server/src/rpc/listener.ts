import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import type { Clock, Timer } from "@tidemark/clock";

type Handler = (
  request: http.IncomingMessage | http2.Http2ServerRequest,
  response: http.ServerResponse | http2.Http2ServerResponse,
) => void;

export interface ListenerOptions {
  readonly clock: Clock;
  readonly handler: Handler;
  readonly maxConnections: number;
  readonly pingIntervalMs: number;
}

/** gRPC clients open with it; no HTTP/1.1 method begins like this. */
const http2Preface = "PRI";

/** How long a new connection may take for its first words: a preface of HTTP/2, or the headers of a first request. */
const firstWordsTimeoutMs = 10_000;

// What one client may have under way towards us: enough for a fast link, small enough for thousands of clients.
const streamWindowBytes = 1024 * 1024;
const connectionWindowBytes = 4 * 1024 * 1024;
const maxConcurrentStreams = 1000;
/** Megabytes a session may queue before new streams are refused. */
const maxSessionMemory = 64;

/**
 * One port for gRPC and Connect over HTTP/2 without TLS and for Connect over HTTP/1.1, so that a plain curl works. Peers
 * that vanished without a word are found by HTTP/2 pings.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #sockets = new Set<net.Socket>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  readonly #limits = new WeakMap<net.Socket, Timer>();
  /** HTTP/1.1 connections and the calls under way on each. */
  readonly #calls = new Map<net.Socket, number>();
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #server: net.Server;

  constructor(options: ListenerOptions) {
    this.#options = options;
    const handler = guarded(options.handler);
    this.#http1 = http.createServer(this.#counting(refusingBrowsers(handler)));
    this.#http2 = http2.createServer(
      { settings: { initialWindowSize: streamWindowBytes, maxConcurrentStreams }, maxSessionMemory },
      handler,
    );
    this.#http2.on("session", (session) => this.#onSession(session));
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#onSocket(socket));
    this.#server.maxConnections = options.maxConnections;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Rejects with the system's error, for example `EADDRINUSE`. */
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

  /** Accepts no more, lets calls that are under way finish, and cuts what is left after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const session of this.#sessions) session.close();
    for (const [socket, calls] of this.#calls) if (calls === 0) socket.destroy();
    const limit = this.#options.clock.setTimer(timeoutMs, () => {
      for (const socket of this.#sockets) socket.destroy();
    });
    await closed;
    limit.cancel();
  }

  #onSocket(socket: net.Socket): void {
    const { clock } = this.#options;
    this.#sockets.add(socket);
    const limit = clock.setTimer(firstWordsTimeoutMs, () => socket.destroy()).unref();
    this.#limits.set(socket, limit);
    socket.once("close", () => {
      limit.cancel();
      this.#sockets.delete(socket);
      this.#calls.delete(socket);
    });
    // A reset is no news: its streams hear of it themselves.
    socket.on("error", () => {});
    let seen = Buffer.alloc(0);
    const sniff = () => {
      const chunk = socket.read() as Buffer | null;
      if (chunk !== null) seen = Buffer.concat([seen, chunk]);
      const start = seen.subarray(0, http2Preface.length).toString("latin1");
      if (start.length < http2Preface.length && http2Preface.startsWith(start)) {
        socket.once("readable", sniff);
        return;
      }
      socket.unshift(seen);
      if (start === http2Preface) {
        // From here on pings tell whether anybody is there.
        limit.cancel();
        this.#http2.emit("connection", socket);
      } else {
        this.#calls.set(socket, 0);
        this.#http1.emit("connection", socket);
      }
    };
    socket.once("readable", sniff);
  }

  /** A connection of HTTP/1.1 that idles would keep `close()` waiting. */
  #counting(handler: Handler): (request: http.IncomingMessage, response: http.ServerResponse) => void {
    return (request, response) => {
      const { socket } = request;
      this.#limits.get(socket)?.cancel();
      this.#calls.set(socket, (this.#calls.get(socket) ?? 0) + 1);
      response.once("close", () => {
        const calls = (this.#calls.get(socket) ?? 1) - 1;
        this.#calls.set(socket, calls);
        if (calls === 0 && !this.#server.listening) socket.destroy();
      });
      handler(request, response);
    };
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const { clock, pingIntervalMs } = this.#options;
    this.#sessions.add(session);
    session.setLocalWindowSize(connectionWindowBytes);
    session.on("error", () => {});
    let isAnswered = true;
    const ping = () => {
      if (session.destroyed || session.closed) return;
      if (!isAnswered) {
        session.destroy();
        return;
      }
      isAnswered = false;
      session.ping((error) => {
        isAnswered = error === null;
      });
      timer = clock.setTimer(pingIntervalMs, ping).unref();
    };
    let timer = clock.setTimer(pingIntervalMs, ping).unref();
    session.once("close", () => {
      timer.cancel();
      this.#sessions.delete(session);
    });
  }
}

/** The adapter throws at requests it cannot make sense of (no authority, no URL); that must not end the process. */
function guarded(handler: Handler): Handler {
  return (request, response) => {
    try {
      handler(request, response);
    } catch {
      refuse(response, 400, "The request has no usable host or path.");
    }
  };
}

/**
 * Pages in a browser send `Origin` with every POST, programs do not. Without this, any page could talk to a store on the
 * loopback address of whoever visits it, by rebinding its own name to it.
 */
function refusingBrowsers(handler: Handler): Handler {
  return (request, response) => {
    if (request.headers.origin === undefined && request.headers["sec-fetch-site"] === undefined) {
      handler(request, response);
    } else {
      refuse(response, 403, "This port serves programs, not pages in a browser.");
    }
  };
}

function refuse(response: http.ServerResponse | http2.Http2ServerResponse, status: number, message: string): void {
  if (response.headersSent) return;
  response.statusCode = status;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`${message}\n`);
}
