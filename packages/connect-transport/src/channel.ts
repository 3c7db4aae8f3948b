import type { Transport } from "@connectrpc/connect";
import {
  type FrameChannelOptions,
  type ResolvedChannel,
  type ResolvedTransport,
  resolveChannel,
  resolveTransport,
  type TransportOptions,
} from "./channel-options.ts";
import type { ClientCallOptions } from "./client-call.ts";
import { ClientSession } from "./client-session.ts";
import { connectionError } from "./failure.ts";
import type { MessageSplitter } from "./frame-decoder.ts";
import { FrameStream } from "./frame-stream.ts";
import { createTransport } from "./transport.ts";

export interface FrameStreamOptions {
  /** Go with the request. A function is called when the stream is started; its signal aborts when the stream is over. */
  readonly headers?: HeadersInit | ((signal: AbortSignal) => HeadersInit | Promise<HeadersInit>);
  /** After which the call fails with `DeadlineExceeded`, on both sides; in milliseconds. @default none */
  readonly timeoutMs?: number;
  /** Largest message that is taken, in bytes. @default that of the channel */
  readonly readMaxBytes?: number;
  /** Takes large messages apart while they arrive. @default nobody: a message is handed on when it is whole */
  readonly splitter?: MessageSplitter;
}

/**
 * One HTTP/2 connection for gRPC calls. The first call opens it, and the next call after it died opens it anew. Windows are
 * raised on the streams and on the connection; nothing is compressed.
 */
export class FrameChannel implements AsyncDisposable {
  readonly #options: ResolvedChannel;
  /** Everything of connect but its pipeline: give it to `createClient`. */
  readonly transport: Transport;
  /** The newest one, and those before that still finish their calls. */
  #current: ClientSession | undefined;
  readonly #sessions = new Set<ClientSession>();
  #wasOpened = false;
  #end: { readonly reason: unknown } | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Does no I/O.
   *
   * @throws {ConnectError} `InvalidArgument` for an option out of its bounds.
   */
  constructor(options: FrameChannelOptions) {
    this.#options = resolveChannel(options);
    this.transport = this.#transportOf(this.#options);
  }

  /** `http://host:port` */
  get origin(): string {
    return this.#options.origin;
  }

  /** Another transport over the same connection. What is not said is as for the channel's own. */
  createTransport(options: TransportOptions): Transport {
    return this.#transportOf(resolveTransport(options, this.#options));
  }

  /** One call of a bidirectional method, such as `/package.Service/Method`. Does no I/O before it is started. */
  stream(path: string, options: FrameStreamOptions = {}): FrameStream {
    const { headers } = options;
    return new FrameStream({
      ...this.#callOptions(path),
      readMaxBytes: options.readMaxBytes ?? this.#options.readMaxBytes,
      timeoutMs: options.timeoutMs,
      splitter: options.splitter,
      headers: async (signal) => new Headers(typeof headers === "function" ? await headers(signal) : headers),
    });
  }

  /**
   * Resolves when the peer's HTTP/2 layer answered. Opens the connection if there is none.
   *
   * @throws {ConnectError} `Unavailable`
   * @throws `signal.reason`
   */
  async ping(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const session = await abortable(this.#connect(), signal);
    await session.ping(signal);
  }

  /** Takes no more calls, lets those under way finish, and cuts what is left after `closeTimeoutMs`. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Cuts the connection and every call on it. Calls fail with the reason. Idempotent. */
  destroy(reason?: unknown): void {
    this.#end ??= { reason: reason ?? connectionError("the channel was destroyed") };
    for (const session of this.#sessions) session.destroy(this.#end.reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { clock, closeTimeoutMs } = this.#options;
    this.#end ??= { reason: connectionError("the channel is closed") };
    const closed = Promise.all([...this.#sessions].map((session) => session.close()));
    const limit = clock.setTimer(closeTimeoutMs, () => {
      for (const session of this.#sessions) session.destroy(this.#end?.reason);
    });
    await closed;
    limit.cancel();
  }

  #transportOf(options: ResolvedTransport): Transport {
    const { origin, pathPrefix } = this.#options;
    return createTransport(options, {
      baseUrl: origin + pathPrefix,
      call: (path) => this.#callOptions(path),
      authority: origin,
      connect: () => this.#connect(),
    });
  }

  #callOptions(path: string): Omit<ClientCallOptions, "headers" | "timeoutMs" | "readMaxBytes"> {
    const { clock, origin, pathPrefix, sendBufferBytes } = this.#options;
    const url = new URL(origin);
    return {
      clock,
      authority: url.host,
      scheme: url.protocol === "https:" ? "https" : "http",
      path: pathPrefix + path,
      sendBufferBytes,
      connect: () => this.#connect(),
    };
  }

  async #connect(): Promise<ClientSession> {
    if (this.#end !== undefined) throw this.#end.reason;
    let session = this.#current;
    if (session === undefined || !session.isUsable) {
      if (this.#wasOpened && !this.#options.reopens) {
        throw session?.reason ?? connectionError(`the connection to ${this.origin} is gone`);
      }
      this.#wasOpened = true;
      session = new ClientSession(this.#options, (closed) => this.#sessions.delete(closed));
      this.#sessions.add(session);
      this.#current = session;
    }
    await session.opened();
    return session;
  }
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
