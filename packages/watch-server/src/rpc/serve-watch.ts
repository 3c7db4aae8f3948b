import { Code, ConnectError } from "@connectrpc/connect";

import type { Clock } from "@tidemark/clock";
import { createFrameServer, type ServerTls } from "@tidemark/connect-transport";
import type { Store } from "../store.ts";
import { StoreError } from "../store-error.ts";
import { watchRoutes, type WatchRoutesOptions } from "./watch-routes.ts";

export interface ServeWatchOptions {
  /** The server does not close it. */
  readonly store: Store;
  /** Where to listen. Nobody but this machine is let in by default: there is no authentication. */
  readonly listen?: {
    /** @default "127.0.0.1" */
    readonly host?: string;
    /** 0: any free one. @default 0 */
    readonly port?: number;
  };
  /** TLS, with `requestCert` for mutual TLS. @default none */
  readonly tls?: ServerTls;
  /** Who is let in: `requestGate` sees a call before its request is read. @default everybody */
  readonly guard?: WatchRoutesOptions["guard"];
  /** More are refused at once. At least 1. @default 4096 */
  readonly maxConnections?: number;
  /** Largest request, in bytes. @default 16_777_216 */
  readonly maxRequestBytes?: number;
  /** A connection that does not answer a ping within this time is cut, in milliseconds, above 0. @default 30_000 */
  readonly pingIntervalMs?: number;
  /** How long `close()` lets calls finish, in milliseconds. @default 5000 */
  readonly closeTimeoutMs?: number;
  /** @default the system's */
  readonly clock?: Clock;
}

export const serveWatchDefaults = {
  listen: { host: "127.0.0.1", port: 0 },
  maxConnections: 4096,
  maxRequestBytes: 16 * 1024 * 1024,
  pingIntervalMs: 30_000,
  closeTimeoutMs: 5000,
} as const satisfies Partial<ServeWatchOptions>;

export interface WatchServer extends AsyncDisposable {
  /** For clients: `http://127.0.0.1:7400`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Open connections. */
  readonly connections: number;
  /** Takes other certificates for connections that are made from now on. Throws the system's error for what is none. */
  setTls(tls: Pick<ServerTls, "ca" | "cert" | "key">): void;
  /** Ends watches with UNAVAILABLE, lets other calls finish, then closes. Idempotent. */
  close(): Promise<void>;
}

/**
 * Serves a store's WatchService over gRPC and Connect.
 *
 * @throws StoreError `OPTIONS_INVALID`, `LISTEN_FAILED` (the port is taken, or not ours to take).
 */
export async function serveWatch(options: ServeWatchOptions): Promise<WatchServer> {
  const { store, clock } = options;
  const host = options.listen?.host ?? serveWatchDefaults.listen.host;
  const port = options.listen?.port ?? serveWatchDefaults.listen.port;
  const maxConnections = options.maxConnections ?? serveWatchDefaults.maxConnections;
  const readMaxBytes = options.maxRequestBytes ?? serveWatchDefaults.maxRequestBytes;
  const pingIntervalMs = options.pingIntervalMs ?? serveWatchDefaults.pingIntervalMs;
  const closeTimeoutMs = options.closeTimeoutMs ?? serveWatchDefaults.closeTimeoutMs;
  check("listen.port", port, 0, 65_535);
  check("maxConnections", maxConnections, 1, 2 ** 31 - 1);
  check("maxRequestBytes", readMaxBytes, 1, 2 ** 31 - 1);
  check("pingIntervalMs", pingIntervalMs, 1, Number.MAX_SAFE_INTEGER);
  check("closeTimeoutMs", closeTimeoutMs, 0, Number.MAX_SAFE_INTEGER);

  const shutdown = new AbortController();
  const server = createFrameServer({
    routes: watchRoutes(store, {
      signal: shutdown.signal,
      ...(options.guard !== undefined && { guard: options.guard }),
    }),
    ...(options.tls !== undefined && { tls: options.tls }),
    readMaxBytes,
    maxConnections,
    pingIntervalMs,
    closeTimeoutMs,
    // Enough for a fast link, and small enough for thousands of clients: requests are short.
    streamWindowBytes: 1024 * 1024,
    connectionWindowBytes: 4 * 1024 * 1024,
    ...(clock && { clock }),
  });
  const { url, ...bound } = await server.listen({ host, port }).catch((error: unknown) => {
    throw listenError(error, host, port);
  });

  let closing: Promise<void> | undefined;
  const close = () => {
    shutdown.abort(new ConnectError("the server is closing", Code.Unavailable));
    closing ??= server.close();
    return closing;
  };
  return {
    address: url,
    ...bound,
    get connections() {
      return server.connections;
    },
    setTls: (tls) => server.setTls(tls),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function check(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new StoreError("OPTIONS_INVALID", `${name} must be a whole number in [${min}, ${max}], got ${value}`);
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there. Stop it, or choose another port (0: any free one)",
  EACCES: "this user may not listen there. Choose a port above 1023",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "there is no such host",
};

function listenError(error: unknown, host: string, port: number): StoreError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reason = reasons[code] ?? code;
  return new StoreError("LISTEN_FAILED", `cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
}
