import type { TlsOptions } from "node:tls";
import { systemClock } from "@tidemark/clock";
import { checkWhole, checkWindows } from "./channel-options.ts";
import { createServingHandler, type FrameHandlerOptions } from "./frame-handler.ts";
import { Listener } from "./listener.ts";

/** Who the server is, and which clients it asks for a certificate, as Node's `tls.createServer` takes it. */
export type ServerTls = Pick<
  TlsOptions,
  "ca" | "cert" | "key" | "passphrase" | "pfx" | "requestCert" | "rejectUnauthorized" | "minVersion" | "SNICallback"
>;

export interface FrameServerOptions extends FrameHandlerOptions {
  /** TLS, with `requestCert` for mutual TLS. @default none */
  readonly tls?: ServerTls;
  /**
   * What may be on its way to us on one stream, in bytes, in [65_535, 2^31). It is also what a stream that its handler
   * holds back can occupy.
   * @default 16_777_216
   */
  readonly streamWindowBytes?: number;
  /** The same for all streams of a connection together, in bytes. @default 33_554_432 */
  readonly connectionWindowBytes?: number;
  /** More are refused at once. At least 1. @default 4096 */
  readonly maxConnections?: number;
  /** Calls under way on one connection. At least 1. @default 1000 */
  readonly maxStreamsPerConnection?: number;
  /** How long a new connection may take for its first words, in milliseconds, above 0. @default 10_000 */
  readonly handshakeTimeoutMs?: number;
  /** A connection that does not answer a PING within this time is cut, in milliseconds, above 0. @default 30_000 */
  readonly pingIntervalMs?: number;
  /** How long `close()` lets calls finish, in milliseconds. @default 5000 */
  readonly closeTimeoutMs?: number;
  /**
   * In MiB, what Node lets a connection hold. It does not forget what was cut off, and refuses new calls above.
   * @default 1024
   */
  readonly maxSessionMemory?: number;
}

export const frameServerDefaults = {
  streamWindowBytes: 16 * 1024 * 1024,
  connectionWindowBytes: 32 * 1024 * 1024,
  maxConnections: 4096,
  maxStreamsPerConnection: 1000,
  handshakeTimeoutMs: 10_000,
  pingIntervalMs: 30_000,
  closeTimeoutMs: 5000,
  maxSessionMemory: 1024,
} as const satisfies Partial<FrameServerOptions>;

export interface ListenOptions {
  /** Nobody but this machine is let in by default. @default "127.0.0.1" */
  readonly host?: string;
  /** 0: any free one. @default 0 */
  readonly port?: number;
}

export interface ServerAddress {
  /** For clients: `http://127.0.0.1:2136`. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

/** A gRPC server: hot paths in frames, everything else through connect. */
export interface FrameServer extends AsyncDisposable {
  /** Rejects with the system's error, for example `EADDRINUSE`. Once. */
  listen(options?: ListenOptions): Promise<ServerAddress>;
  /** Undefined before `listen`. */
  readonly address: ServerAddress | undefined;
  /** Open connections. */
  readonly connections: number;
  /** Calls under way on hot paths. */
  readonly openCalls: number;
  /**
   * Takes other certificates for connections that are made from now on. Whether clients are asked for one stays as it is.
   * Throws the system's error for what is no certificate, and an error on a server without TLS; then nothing has changed.
   */
  setTls(tls: Pick<ServerTls, "ca" | "cert" | "key" | "passphrase" | "pfx" | "minVersion">): void;
  /**
   * Accepts no more, ends hot calls with `Unavailable` after what they had sent, lets connect's finish, and cuts what is
   * left after `closeTimeoutMs`. That time is for handlers that still run and for answers that ended well and are still
   * fetched; nobody else is waited for: not a client that is idle, keeps its half of a call open, or does not read what
   * failed anyway. Idempotent.
   */
  close(): Promise<void>;
}

/**
 * One port for gRPC and Connect over HTTP/2 and, for connect's routes, HTTP/1.1, so that a plain curl works. Clients that
 * vanished without a word are found by PINGs.
 *
 * @throws {ConnectError} `InvalidArgument` for an option out of its bounds.
 */
export function createFrameServer(options: FrameServerOptions): FrameServer {
  const handler = createServingHandler(options);
  const resolved = {
    clock: options.clock ?? systemClock,
    tls: options.tls,
    streamWindowBytes: options.streamWindowBytes ?? frameServerDefaults.streamWindowBytes,
    connectionWindowBytes: options.connectionWindowBytes ?? frameServerDefaults.connectionWindowBytes,
    maxConnections: options.maxConnections ?? frameServerDefaults.maxConnections,
    maxStreamsPerConnection: options.maxStreamsPerConnection ?? frameServerDefaults.maxStreamsPerConnection,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? frameServerDefaults.handshakeTimeoutMs,
    pingIntervalMs: options.pingIntervalMs ?? frameServerDefaults.pingIntervalMs,
    closeTimeoutMs: options.closeTimeoutMs ?? frameServerDefaults.closeTimeoutMs,
    maxSessionMemory: options.maxSessionMemory ?? frameServerDefaults.maxSessionMemory,
  };
  checkWindows(resolved);
  checkWhole("maxConnections", resolved.maxConnections, 1, 2 ** 31 - 1);
  checkWhole("maxStreamsPerConnection", resolved.maxStreamsPerConnection, 1, 2 ** 31 - 1);
  checkWhole("handshakeTimeoutMs", resolved.handshakeTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("pingIntervalMs", resolved.pingIntervalMs, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("closeTimeoutMs", resolved.closeTimeoutMs, 0, Number.MAX_SAFE_INTEGER);
  checkWhole("maxSessionMemory", resolved.maxSessionMemory, 1, 2 ** 31 - 1);

  const listener = new Listener(resolved, handler);
  let address: ServerAddress | undefined;
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= listener.close(resolved.closeTimeoutMs);
    return closing;
  };
  return {
    async listen({ host = "127.0.0.1", port = 0 } = {}) {
      const bound = await listener.listen(host, port);
      const shown = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
      const scheme = options.tls === undefined ? "http" : "https";
      address = { url: `${scheme}://${shown}:${bound.port}`, host: bound.address, port: bound.port };
      return address;
    },
    get address() {
      return address;
    },
    get connections() {
      return listener.connections;
    },
    get openCalls() {
      return handler.openCalls;
    },
    setTls: (tls) => listener.setTls(tls),
    close,
    [Symbol.asyncDispose]: close,
  };
}
