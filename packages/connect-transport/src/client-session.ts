import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import type { Timer } from "@tidemark/clock";
import type { ResolvedChannel } from "./channel-options.ts";
import { connectionError, silentPeer } from "./failure.ts";

/** gRPC servers let clients ping so often by default, in milliseconds. */
const probeEveryMs = 300_000;

/** One HTTP/2 connection, from its opening to its end. */
export class ClientSession {
  readonly #options: ResolvedChannel;
  readonly #session: ClientHttp2Session;
  #socket: Socket | undefined;
  readonly #opened: Promise<void>;
  readonly #onClose: (session: ClientSession) => void;
  readonly #streams = new Set<ClientHttp2Stream>();
  #pingTimer: Timer | undefined;
  #stallTimer: Timer | undefined;
  #probedAtMs = Number.NEGATIVE_INFINITY;
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
        this.#stallTimer?.cancel();
        this.#end ??= { reason: connectionError(`the connection to ${origin} was closed`) };
        reject(this.#end.reason as Error);
        resolveClosed();
        this.#onClose(this);
      };
      session.once("connect", (_session, socket) => {
        limit.cancel();
        this.#socket = socket as Socket;
        // Node says so even of a session that was destroyed meanwhile, and then takes no setting.
        if (session.destroyed) return;
        session.setLocalWindowSize(options.connectionWindowBytes);
        // Only calls keep the process alive.
        if (this.#streams.size === 0) session.unref();
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
    if (this.#streams.size === 0) {
      this.#session.ref();
      this.#startPings();
    }
    this.#streams.add(stream);
    this.watchWrites();
    stream.once("close", () => {
      this.#streams.delete(stream);
      if (this.#streams.size > 0) return;
      this.#pingTimer?.cancel();
      this.#stallTimer?.cancel();
      this.#pingTimer = this.#stallTimer = undefined;
      if (!this.#session.destroyed) this.#session.unref();
    });
    return stream;
  }

  /**
   * Something was handed to a stream. As long as it waits, and nothing comes in meanwhile, it may be that both ends wait
   * for each other to read: only a PING tells that from a peer that takes its time.
   */
  watchWrites(): void {
    const { pingIntervalMs, stallTimeoutMs, clock } = this.#options;
    // Pings that are sent anyway find out, too.
    if (pingIntervalMs !== undefined || this.#stallTimer !== undefined || this.#session.destroyed) return;
    const before = this.#socket?.bytesRead;
    this.#stallTimer = clock.setTimer(stallTimeoutMs, () => {
      this.#stallTimer = undefined;
      if (this.#session.destroyed || this.#waitingBytes() === 0) return;
      const isSilent = this.#socket?.bytesRead === before;
      if (isSilent && clock.monotonic() - this.#probedAtMs >= probeEveryMs) this.#probe();
      else this.watchWrites();
    });
    this.#stallTimer.unref();
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
    const isWaiting = this.#waitingBytes() > 0;
    this.#session.destroy();
    // Node waits for a write that is under way, which may be for ever.
    if (isWaiting) this.#socket?.destroy();
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
        this.destroy(silentPeer(origin, pingIntervalMs, this.#waitingBytes()));
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

  #probe(): void {
    const { stallTimeoutMs, clock, origin } = this.#options;
    this.#probedAtMs = clock.monotonic();
    const limit = clock.setTimer(stallTimeoutMs, () =>
      this.destroy(silentPeer(origin, stallTimeoutMs, this.#waitingBytes())),
    );
    this.#stallTimer = limit.unref();
    this.#session.ping(() => {
      if (this.#stallTimer !== limit) return;
      limit.cancel();
      this.#stallTimer = undefined;
      this.watchWrites();
    });
  }

  /** What was handed to streams and is not on its way. */
  #waitingBytes(): number {
    let bytes = 0;
    for (const { writableLength } of this.#streams) bytes += writableLength;
    return bytes;
  }
}
