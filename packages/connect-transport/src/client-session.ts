import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import type { Timer } from "@tidemark/clock";
import type { ResolvedChannel } from "./channel-options.ts";
import { connectionError } from "./failure.ts";

/** One HTTP/2 connection, from its opening to its end. */
export class ClientSession {
  readonly #options: ResolvedChannel;
  readonly #session: ClientHttp2Session;
  readonly #opened: Promise<void>;
  readonly #onClose: (session: ClientSession) => void;
  #openStreams = 0;
  #pingTimer: Timer | undefined;
  #end: { readonly reason: unknown } | undefined;
  readonly #closed: Promise<void>;
  #onGone = () => {};

  /** Begins to connect. */
  constructor(options: ResolvedChannel, onClose: (session: ClientSession) => void) {
    this.#options = options;
    this.#onClose = onClose;
    const { origin, streamWindowBytes, maxSessionMemory, tls, clock, connectTimeoutMs } = options;
    this.#session = connect(origin, {
      settings: { initialWindowSize: streamWindowBytes, enablePush: false },
      maxSessionMemory,
      ...tls,
    });
    const session = this.#session;
    let resolveClosed = () => {};
    this.#closed = new Promise((resolve) => (resolveClosed = resolve));
    this.#opened = new Promise((resolve, reject) => {
      const limit = clock.setTimer(connectTimeoutMs, () =>
        this.destroy(connectionError(`no connection to ${origin} within ${connectTimeoutMs} ms`)),
      );
      limit.unref();
      this.#onGone = () => {
        this.#onGone = () => {};
        limit.cancel();
        this.#pingTimer?.cancel();
        this.#end ??= { reason: connectionError(`the connection to ${origin} was closed`) };
        reject(this.#end.reason as Error);
        resolveClosed();
        this.#onClose(this);
      };
      session.once("connect", () => {
        limit.cancel();
        // Node says so even of a session that was destroyed meanwhile, and then takes no setting.
        if (session.destroyed) return;
        session.setLocalWindowSize(options.connectionWindowBytes);
        // Only calls keep the process alive.
        if (this.#openStreams === 0) session.unref();
        resolve();
      });
      // Stays: what happens later reaches the calls through their streams, and `reason`. "close" follows.
      session.on("error", (error) => {
        this.#end ??= { reason: connectionError(`the connection to ${origin} failed`, error) };
      });
      session.once("close", () => this.#onGone());
    });
    // Who waits for it hears of it; nobody has to wait.
    this.#opened.catch(() => {});
  }

  /** Whether new calls may go over it. False as well after the peer's GOAWAY, while old calls still finish. */
  get isUsable(): boolean {
    return this.#end === undefined && !this.#session.closed && !this.#session.destroyed;
  }

  /** Whether it is gone, and with it every call. */
  get isGone(): boolean {
    return this.#session.destroyed;
  }

  /** Why it ended. */
  get reason(): unknown {
    return this.#end?.reason;
  }

  /** Rejects with a `ConnectError` when there is no connection, or no more. */
  opened(): Promise<void> {
    return this.#opened;
  }

  /**
   * @param signal resets the stream with CANCEL.
   * @throws Node's error for headers that HTTP/2 does not allow.
   */
  request(headers: OutgoingHttpHeaders, signal?: AbortSignal): ClientHttp2Stream {
    if (!this.isUsable) throw this.reason ?? connectionError(`the connection to ${this.#options.origin} is going away`);
    const stream = this.#session.request(headers, signal === undefined ? {} : { signal });
    if (this.#openStreams++ === 0) {
      this.#session.ref();
      this.#startPings();
    }
    stream.once("close", () => {
      if (--this.#openStreams > 0) return;
      this.#pingTimer?.cancel();
      this.#pingTimer = undefined;
      if (!this.#session.destroyed) this.#session.unref();
    });
    return stream;
  }

  /** Resolves when the peer's HTTP/2 layer answered. @throws `signal.reason` */
  ping(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const session = this.#session;
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const lost = () => this.reason ?? connectionError(`the connection to ${this.#options.origin} is closed`);
      if (session.destroyed) {
        reject(lost() as Error);
        return;
      }
      const onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      session.ping((error) => {
        signal.removeEventListener("abort", onAbort);
        if (error === null) resolve();
        else reject(connectionError("a ping was not answered", error));
      });
    });
  }

  /** Takes no more calls, and is closed when those on it are over. */
  close(): Promise<void> {
    this.#session.close();
    return this.#closed;
  }

  /** Cuts it and every call on it. Idempotent. */
  destroy(reason: unknown): void {
    this.#end ??= { reason };
    this.#session.destroy();
    // Node waits for the socket, and does so for ever where TLS let us in and refused us then.
    this.#onGone();
  }

  #startPings(): void {
    const { pingIntervalMs, clock, origin } = this.#options;
    if (pingIntervalMs === undefined) return;
    let isAnswered = true;
    const beat = () => {
      if (this.#session.destroyed) return;
      if (!isAnswered) {
        this.destroy(connectionError(`${origin} did not answer a ping within ${pingIntervalMs} ms`));
        return;
      }
      isAnswered = false;
      this.#session.ping((error) => {
        if (error === null) isAnswered = true;
      });
      this.#pingTimer = clock.setTimer(pingIntervalMs, beat).unref();
    };
    this.#pingTimer = clock.setTimer(pingIntervalMs, beat).unref();
  }
}
