import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import type { GrpcTransportOptions } from "@connectrpc/connect-node";
import { type Endpoint, type EtcdTls, tlsSessionOptions } from "./endpoint.ts";
import { Watch } from "./gen/etcd/etcdserverpb/rpc_pb.ts";
import { inPieces } from "./response-splitter.ts";

type SessionManager = NonNullable<GrpcTransportOptions["sessionManager"]>;

const watchPath = `/${Watch.typeName}/${Watch.method.watch.name}`;
/** Large enough that what a message costs does not count, small enough that nobody waits for one. */
const pieceBytes = 128 << 10;

/** In MiB, for the windows and what waits to be read. Node's own limit of 10 would break the session. */
const maxSessionMemory = 256;

/**
 * One HTTP/2 connection to one endpoint, for its whole life: it is never opened again, so that everything said on it was
 * said to the same member. Connect's own session manager has no way to raise the connection's window.
 */
export class Http2Session implements SessionManager {
  readonly authority: string;
  readonly #tls: EtcdTls | undefined;
  readonly #windowBytes: number;
  #session: ClientHttp2Session | undefined;
  #opened: Promise<ClientHttp2Session> | undefined;
  #end: { readonly reason: unknown } | undefined;

  /**
   * Does no I/O.
   *
   * @param windowBytes what may be on its way to us on one stream; twice as much on all of them together. HTTP/2's own
   * 64 KiB would allow one window a round trip, which is 4 MB/s at 10 ms.
   */
  constructor(endpoint: Endpoint, tls: EtcdTls | undefined, windowBytes: number) {
    this.authority = endpoint.origin;
    this.#windowBytes = windowBytes;
    this.#tls = endpoint.isTls ? (tls ?? {}) : undefined;
  }

  async request(method: string, path: string, headers: OutgoingHttpHeaders): Promise<ClientHttp2Stream> {
    const session = await (this.#opened ??= this.#open());
    if (this.#end !== undefined) throw this.#end.reason;
    const stream = session.request({ ...headers, ":method": method, ":path": path });
    return path === watchPath ? readInPieces(stream) : stream;
  }

  notifyResponseByteRead(): void {}

  /** Resolves when the peer answered an HTTP/2 PING. */
  ping(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const session = this.#session;
      const onAbort = () => reject(signal.reason);
      if (signal.aborted) return onAbort();
      if (session === undefined || session.destroyed) return reject(new Error("the HTTP/2 connection is closed"));
      signal.addEventListener("abort", onAbort, { once: true });
      session.ping((error) => {
        signal.removeEventListener("abort", onAbort);
        if (error === null) resolve();
        else reject(error);
      });
      return undefined;
    });
  }

  /** Cuts the connection and everything on it. Idempotent. */
  destroy(reason: unknown): void {
    this.#end ??= { reason };
    this.#session?.destroy();
  }

  #open(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) throw this.#end.reason;
      const session = connect(this.authority, {
        settings: { initialWindowSize: this.#windowBytes, enablePush: false },
        maxSessionMemory,
        ...(this.#tls === undefined ? {} : tlsSessionOptions(this.#tls)),
      });
      this.#session = session;
      session.once("connect", () => {
        // Node says so even of a session that was destroyed meanwhile, and then takes no setting.
        if (session.destroyed) return;
        session.setLocalWindowSize(this.#windowBytes * 2);
        resolve(session);
      });
      // Stays: what happens after the connection was made reaches the callers through their streams.
      session.on("error", (error) => {
        this.#end ??= { reason: error };
        reject(error);
      });
      session.once("close", () => {
        this.#end ??= { reason: new Error("the HTTP/2 connection was closed") };
        reject(this.#end.reason);
      });
    });
  }
}

/** Connect reads a stream as the iterable that it is. If it ever did otherwise, messages would be large again, and right. */
function readInPieces(stream: ClientHttp2Stream): ClientHttp2Stream {
  const chunks: () => AsyncIterator<Uint8Array> = stream[Symbol.asyncIterator].bind(stream);
  Object.defineProperty(stream, Symbol.asyncIterator, { value: () => inPieces(chunks(), pieceBytes) });
  return stream;
}
