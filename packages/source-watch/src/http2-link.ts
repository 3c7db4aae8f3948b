import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import type { GrpcTransportOptions } from "@connectrpc/connect-node";

type SessionManager = NonNullable<GrpcTransportOptions["sessionManager"]>;

/**
 * How much may be on its way to us unread. With the 64 KiB of HTTP/2's default a store 10 ms away sends 4 MB a second, and
 * no more; connect's own session manager can raise the stream's window, but not that of the connection.
 */
const windowBytes = 8 * 1024 * 1024;
/** In MiB; Node's default of 10 is close to what such a window may queue. */
const maxSessionMemory = 64;

/** One HTTP/2 connection that is opened once, by the first request, and never again. */
export class Http2Link implements SessionManager {
  readonly authority: string;
  #opening: Promise<ClientHttp2Session> | undefined;
  #session: ClientHttp2Session | undefined;
  #isCut = false;
  #reason: unknown;

  /** Does no I/O. */
  constructor(authority: string) {
    this.authority = authority;
  }

  async request(method: string, path: string, headers: OutgoingHttpHeaders): Promise<ClientHttp2Stream> {
    if (this.#isCut) throw this.#reason;
    this.#opening ??= this.#open();
    const session = await this.#opening;
    if (this.#isCut) throw this.#reason;
    return session.request({ ...headers, ":method": method, ":path": path });
  }

  notifyResponseByteRead(): void {}

  /** Resolves when the peer's HTTP/2 layer answered. */
  ping(signal: AbortSignal): Promise<void> {
    const session = this.#session;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    if (session === undefined || session.destroyed) return Promise.reject(new Error("the connection is closed"));
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      session.ping((error) => {
        signal.removeEventListener("abort", onAbort);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Cuts the connection and every call on it. Idempotent. */
  cut(reason: unknown): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.#reason = reason ?? new Error("the connection was cut");
    this.#session?.destroy();
  }

  #open(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      const session = connect(this.authority, {
        settings: { initialWindowSize: windowBytes, enablePush: false },
        maxSessionMemory,
      });
      this.#session = session;
      session.once("connect", () => {
        // The event can come after a cut.
        if (session.destroyed) return;
        session.setLocalWindowSize(windowBytes);
        resolve(session);
      });
      // Stays: later errors reach the callers through their streams.
      session.on("error", reject);
      session.once("close", () => {
        this.cut(undefined);
        reject(this.#reason as Error);
      });
    });
  }
}
