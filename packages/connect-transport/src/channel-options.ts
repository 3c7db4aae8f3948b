import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { DescMethodStreaming } from "@bufbuild/protobuf";
import { type Clock, systemClock } from "@tidemark/clock";
import type { MessageSplitter } from "./frame-decoder.ts";
import type { ConnectionOptions } from "node:tls";

/** Whom to trust and who one is, as Node's `tls.connect` takes it. */
export type ChannelTls = Pick<
  ConnectionOptions,
  "ca" | "cert" | "key" | "passphrase" | "pfx" | "servername" | "rejectUnauthorized" | "checkServerIdentity"
>;

/** What one transport of a channel does with its calls. */
export interface TransportOptions {
  /** As connect's transports take them: the last one is applied first. */
  readonly interceptors?: readonly Interceptor[];
  /** Of calls that set none, in milliseconds. @default none */
  readonly defaultTimeoutMs?: number;
  /** Largest message that is taken, in bytes, in [1, 2^32). A larger one ends its call. @default 64_000_000 */
  readonly readMaxBytes?: number;
  /** Largest message that is sent, in bytes, in [1, 2^32). A larger one fails before it travels. @default 4_294_967_295 */
  readonly writeMaxBytes?: number;
  /** Asked for each stream: who takes its large messages apart while they arrive. @default nobody */
  readonly splitterOf?: (method: DescMethodStreaming) => MessageSplitter | undefined;
}

export interface FrameChannelOptions extends TransportOptions {
  /** `http://host:port`, or `https:` for TLS; a path is put in front of every method's. */
  readonly baseUrl: string;
  /** Only with `https:`. `cert` and `key` make it mutual. @default what Node trusts */
  readonly tls?: ChannelTls;
  /**
   * What may be on its way to us on one stream, in bytes, in [65_535, 2^31). HTTP/2's own 64 KiB allow one window a round
   * trip, which is 4 MB/s at 10 ms. It is also what a stream that nobody reads can hold in memory.
   *
   * Node reads nothing from a connection while a write to it waits. Where both ends run on Node and fill the buffers of the
   * system in both directions at once, neither reads again, and `stallTimeoutMs` is what ends it. On a connection that
   * carries much both ways, let one direction have at most what these buffers hold, such as 128 KiB, on the stream and on
   * the connection.
   * @default 16_777_216
   */
  readonly streamWindowBytes?: number;
  /** The same for all streams together, in bytes. @default 33_554_432 */
  readonly connectionWindowBytes?: number;
  /** What waits to be sent on one stream before its source is held back, in bytes, above 0. @default 1_048_576 */
  readonly sendBufferBytes?: number;
  /** How long TCP and TLS may take, in milliseconds, above 0. @default 10_000 */
  readonly connectTimeoutMs?: number;
  /**
   * While calls are open, a PING is sent this often; one that is not answered within the same time cuts the connection, in
   * milliseconds, above 0. Many gRPC servers end connections that ping more than every 5 minutes. @default none
   */
  readonly pingIntervalMs?: number;
  /**
   * Without `pingIntervalMs`: when something waits to be sent and nothing has come in for so long, one PING is sent, every
   * 5 minutes at most. If it is not answered within the same time, the connection is cut; in milliseconds, above 0.
   * @default 30_000
   */
  readonly stallTimeoutMs?: number;
  /**
   * False: the connection is made once. After its end every call fails with what ended it, so that all that was said was
   * said to the same peer. @default true
   */
  readonly reopens?: boolean;
  /** How long `close()` lets calls finish, in milliseconds. @default 5000 */
  readonly closeTimeoutMs?: number;
  /**
   * In MiB, what Node lets a connection hold. It counts what is still to be sent, does not forget what was cut off, and
   * refuses every answer above the limit, which would be 10. @default 1024
   */
  readonly maxSessionMemory?: number;
  /** @default the system's */
  readonly clock?: Clock;
}

export const frameChannelDefaults = {
  readMaxBytes: 64_000_000,
  writeMaxBytes: 2 ** 32 - 1,
  streamWindowBytes: 16 * 1024 * 1024,
  connectionWindowBytes: 32 * 1024 * 1024,
  sendBufferBytes: 1024 * 1024,
  connectTimeoutMs: 10_000,
  stallTimeoutMs: 30_000,
  reopens: true,
  closeTimeoutMs: 5000,
  maxSessionMemory: 1024,
} as const satisfies Partial<FrameChannelOptions>;

export interface ResolvedTransport {
  readonly interceptors: readonly Interceptor[];
  readonly defaultTimeoutMs: number | undefined;
  readonly readMaxBytes: number;
  readonly writeMaxBytes: number;
  readonly splitterOf: TransportOptions["splitterOf"];
}

export interface ResolvedChannel extends ResolvedTransport {
  readonly origin: string;
  /** In front of every method's path; without a slash at its end. */
  readonly pathPrefix: string;
  readonly tls: ChannelTls | undefined;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  readonly sendBufferBytes: number;
  readonly connectTimeoutMs: number;
  readonly pingIntervalMs: number | undefined;
  readonly stallTimeoutMs: number;
  readonly reopens: boolean;
  readonly closeTimeoutMs: number;
  readonly maxSessionMemory: number;
  readonly clock: Clock;
}

/** @throws {ConnectError} `InvalidArgument` */
export function resolveTransport(options: TransportOptions, base: Partial<ResolvedTransport> = {}): ResolvedTransport {
  const readMaxBytes = options.readMaxBytes ?? base.readMaxBytes ?? frameChannelDefaults.readMaxBytes;
  const writeMaxBytes = options.writeMaxBytes ?? base.writeMaxBytes ?? frameChannelDefaults.writeMaxBytes;
  checkWhole("readMaxBytes", readMaxBytes, 1, 2 ** 32 - 1);
  checkWhole("writeMaxBytes", writeMaxBytes, 1, 2 ** 32 - 1);
  return {
    interceptors: options.interceptors ?? base.interceptors ?? [],
    defaultTimeoutMs: options.defaultTimeoutMs ?? base.defaultTimeoutMs,
    readMaxBytes,
    writeMaxBytes,
    splitterOf: options.splitterOf ?? base.splitterOf,
  };
}

/** @throws {ConnectError} `InvalidArgument` */
export function resolveChannel(options: FrameChannelOptions): ResolvedChannel {
  const url = URL.parse(options.baseUrl);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    const got = JSON.stringify(options.baseUrl);
    throw invalid(`baseUrl must look like http://127.0.0.1:2136 or https://…, got ${got}`);
  }
  if (url.username !== "" || url.search !== "" || url.hash !== "") {
    throw invalid("baseUrl must have no user, query or fragment: give credentials as headers");
  }
  if (options.tls !== undefined && url.protocol !== "https:") {
    throw invalid(`tls needs an https: baseUrl, got ${url.origin}`);
  }
  const resolved: ResolvedChannel = {
    ...resolveTransport(options),
    origin: url.origin,
    pathPrefix: url.pathname.replace(/\/+$/, ""),
    tls: url.protocol === "https:" ? (options.tls ?? {}) : undefined,
    streamWindowBytes: options.streamWindowBytes ?? frameChannelDefaults.streamWindowBytes,
    connectionWindowBytes: options.connectionWindowBytes ?? frameChannelDefaults.connectionWindowBytes,
    sendBufferBytes: options.sendBufferBytes ?? frameChannelDefaults.sendBufferBytes,
    connectTimeoutMs: options.connectTimeoutMs ?? frameChannelDefaults.connectTimeoutMs,
    pingIntervalMs: options.pingIntervalMs,
    stallTimeoutMs: options.stallTimeoutMs ?? frameChannelDefaults.stallTimeoutMs,
    reopens: options.reopens ?? frameChannelDefaults.reopens,
    closeTimeoutMs: options.closeTimeoutMs ?? frameChannelDefaults.closeTimeoutMs,
    maxSessionMemory: options.maxSessionMemory ?? frameChannelDefaults.maxSessionMemory,
    clock: options.clock ?? systemClock,
  };
  checkWindows(resolved);
  checkWhole("sendBufferBytes", resolved.sendBufferBytes, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("connectTimeoutMs", resolved.connectTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  if (resolved.pingIntervalMs !== undefined) {
    checkWhole("pingIntervalMs", resolved.pingIntervalMs, 1, Number.MAX_SAFE_INTEGER);
  }
  checkWhole("stallTimeoutMs", resolved.stallTimeoutMs, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("closeTimeoutMs", resolved.closeTimeoutMs, 0, Number.MAX_SAFE_INTEGER);
  checkWhole("maxSessionMemory", resolved.maxSessionMemory, 1, 2 ** 31 - 1);
  return resolved;
}

/** @throws {ConnectError} `InvalidArgument` */
export function checkWindows(windows: {
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
}): void {
  // RFC 9113, 6.5.2 and 6.9: a window has 31 bits; that of the connection cannot go below its first value.
  checkWhole("streamWindowBytes", windows.streamWindowBytes, 65_535, 2 ** 31 - 1);
  checkWhole("connectionWindowBytes", windows.connectionWindowBytes, 65_535, 2 ** 31 - 1);
}

/** @throws {ConnectError} `InvalidArgument` */
export function checkWhole(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalid(`${name} must be a whole number in [${min}, ${max}], got ${value}`);
}

const invalid = (message: string) => new ConnectError(message, Code.InvalidArgument);
