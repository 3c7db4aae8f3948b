import type { Clock, Timer } from "@tidemark/clock";
import { resolveConnection, type StreamConnectionOptions } from "./connection-options.ts";
import { type ConnectionEvent, type ConnectionState, nextConnectionState } from "./connection-state.ts";
import { channels } from "./diagnostics.ts";
import { HandshakeChannel } from "./handshake-channel.ts";
import { Pinger } from "./pinger.ts";
import type { StreamProtocol, StreamTransport } from "./protocol.ts";
import { AsyncQueue } from "./queue.ts";
import { StreamError } from "./stream-error.ts";
import { checkTokenRefresh, TokenRefresher } from "./token-refresher.ts";
import { judged } from "./verdict.ts";
import { Watchdog } from "./watchdog.ts";

/** Why a stream is over. */
export interface StreamCloseInfo {
  /** The first error; undefined when the stream ended in good order after `close()`. Later errors are not kept (P10). */
  readonly error?: unknown;
}

/** What happens to a connection, told synchronously, so that nothing can come in between. */
export interface StreamConnectionObserver<Out, In, Session> {
  /** After the handshake and before the first message (P3). A throw ends the connection as `HOOK_FAILED`. */
  onLive?(connection: StreamConnection<Out, In, Session>): void;
  /** The stream has done its work for the first time (X1); see `StreamProtocol.isProgress`. */
  onProgress?(connection: StreamConnection<Out, In, Session>): void;
  /** `onMessage` has held back reading for longer than `heldNoticeMs`, or has let go again after that (0). */
  onHeld?(connection: StreamConnection<Out, In, Session>, heldMs: number): void;
  /** A token could not be had or was not acknowledged in time. The next refresh happens all the same (X17). */
  onRefreshFailed?(connection: StreamConnection<Out, In, Session>, error: unknown): void;
  /** The stream is over and its transport is cancelled. */
  onDead?(connection: StreamConnection<Out, In, Session>, info: StreamCloseInfo): void;
}

/** What a connection of its own needs beside the options that a reconnector passes on. */
export interface StreamConnectionOwner<Out, In, Session> {
  /** @default 0 */
  readonly id?: number;
  /** @default nobody */
  readonly observer?: StreamConnectionObserver<Out, In, Session>;
}

/**
 * One bidirectional stream from its handshake to its end. It owns its transport from its first moment, is closed exactly
 * once, and keeps the first error. Most users have it from a `StreamReconnector`.
 */
export class StreamConnection<Out, In, Session> {
  /** Counts the connections of a reconnector from 1. */
  readonly id: number;
  /** Resolves when the stream is over and its transport cancelled. Never rejects. */
  readonly closed: Promise<StreamCloseInfo>;
  readonly #protocol: StreamProtocol<Out, In, Session>;
  readonly #options: Required<StreamConnectionOptions>;
  readonly #clock: Clock;
  readonly #observer: StreamConnectionObserver<Out, In, Session>;
  readonly #transport: StreamTransport<Out, In>;
  readonly #outgoing: AsyncQueue<Out>;
  readonly #controller = new AbortController();
  readonly #resolveClosed: (info: StreamCloseInfo) => void;
  readonly #silence: Watchdog;
  readonly #heldNotice: Watchdog;
  readonly #holdLimit: Watchdog;
  #state: ConnectionState = { type: "new" };
  #opening: PromiseWithResolvers<Session> | undefined;
  #incoming: AsyncIterator<In> | undefined;
  #handshake: HandshakeChannel<Out, In> | undefined;
  #session: { readonly value: Session } | undefined;
  #pinger: Pinger | undefined;
  #refresher: TokenRefresher<Out, In> | undefined;
  /** The handshake's watchdog, later the grace of `close`. */
  #timer: Timer | undefined;
  #closeReason: unknown;
  #startedMs = 0;
  #messages = 0;
  #hasProgressed = false;
  #isHeldReported = false;

  /**
   * Does no I/O, and owns its transport when it returns (P2).
   *
   * @throws {StreamError} `OPTIONS_INVALID`; whatever `protocol.openTransport` throws.
   */
  constructor(
    protocol: StreamProtocol<Out, In, Session>,
    options: StreamConnectionOptions & StreamConnectionOwner<Out, In, Session> = {},
  ) {
    this.#options = resolveConnection(options);
    checkTokenRefresh(protocol.tokenRefresh);
    this.id = options.id ?? 0;
    this.#protocol = protocol;
    this.#clock = this.#options.clock;
    this.#observer = options.observer ?? {};
    this.#outgoing = new AsyncQueue<Out>({ highWaterMark: this.#options.maxOutgoing });
    ({ promise: this.closed, resolve: this.#resolveClosed } = Promise.withResolvers<StreamCloseInfo>());
    const { silenceTimeoutMs, heldNoticeMs, holdTimeoutMs } = this.#options;
    this.#silence = new Watchdog(this.#clock, silenceTimeoutMs, () =>
      this.#lose("SILENT", `no message for ${silenceTimeoutMs} ms`),
    );
    this.#heldNotice = new Watchdog(this.#clock, heldNoticeMs, (heldMs) => this.#reportHeld(heldMs));
    this.#holdLimit = new Watchdog(this.#clock, holdTimeoutMs, () =>
      this.#failHook("onMessage", new Error(`its promise did not settle within ${holdTimeoutMs} ms`)),
    );
    this.#transport = protocol.openTransport();
  }

  /**
   * What the handshake resolved with.
   *
   * @throws {StreamError} `NOT_LIVE` before the handshake is done.
   */
  get session(): Session {
    if (this.#session === undefined) {
      throw new StreamError("NOT_LIVE", `${this.#protocol.name}: there is no session before the handshake is done`);
    }
    return this.#session.value;
  }

  /** Between the handshake and `close()` or the end of the stream. */
  get isLive(): boolean {
    return this.#state.type === "live";
  }

  /** Aborts when the stream ends, with its first error or the reason of `close`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Starts the I/O and shakes hands, under a watchdog. Called once.
   *
   * @throws the error that ended the stream; {@link StreamError} `CLOSED` when `close` did.
   */
  open(): Promise<Session> {
    if (this.#state.type === "dead") return Promise.reject(this.#endError());
    if (this.#opening !== undefined) {
      return Promise.reject(new StreamError("PROTOCOL", `${this.#protocol.name}: open() must be called once`));
    }
    this.#opening = Promise.withResolvers<Session>();
    const { promise } = this.#opening;
    this.#dispatch({ type: "open" });
    return promise;
  }

  /**
   * Queues a message. False: `maxOutgoing` or more messages wait, so wait for `drained()`; or the stream is over and the
   * message went nowhere, which `drained()` tells by rejecting. Before the handshake is done it takes nothing. Never
   * throws.
   */
  send(message: Out): boolean {
    return this.#session !== undefined && this.#outgoing.push(message);
  }

  /**
   * Resolves when fewer than `maxOutgoing` messages wait.
   *
   * @throws {StreamError} `CLOSED` or `CONNECTION_LOST` when the stream takes no more messages, `NOT_LIVE` when it takes
   * none yet. @throws `signal.reason`.
   */
  drained(signal?: AbortSignal): Promise<void> {
    if (this.#session === undefined && !this.#isDead()) {
      return Promise.reject(new StreamError("NOT_LIVE", `${this.#protocol.name}: the handshake is not done`));
    }
    return this.#outgoing.ready(signal);
  }

  /** Ends the stream at once with an error of our own. The first error wins (P10). */
  fail(error: unknown): void {
    // Something may throw undefined; it is an error all the same.
    this.#dispatch({ type: "failed", error: error ?? lostError(this.#protocol.name, undefined) });
  }

  /**
   * Half-closes, so that what was queued is still sent, takes the peer's last messages for `closeGraceMs`, and cancels.
   * Before the handshake is done it cancels at once. Idempotent; never rejects.
   */
  async close(reason?: unknown): Promise<void> {
    this.#closeReason ??= reason;
    this.#dispatch({ type: "close" });
    await this.closed;
  }

  #dispatch(event: ConnectionEvent): void {
    const [state, ...effects] = nextConnectionState(this.#state, event);
    this.#state = state;
    for (const effect of effects) {
      if (effect === "start") this.#start();
      else if (effect === "go-live") this.#goLive();
      else if (effect === "half-close") this.#halfClose();
      else this.#die();
    }
  }

  #start(): void {
    const { handshakeTimeoutMs } = this.#options;
    this.#startedMs = this.#clock.monotonic();
    this.#timer = this.#clock.setTimer(handshakeTimeoutMs, () =>
      this.#lose("HANDSHAKE_TIMEOUT", `the handshake was not done within ${handshakeTimeoutMs} ms`),
    );
    let shaking: Promise<Session>;
    try {
      const incoming = this.#transport.start(this.#outgoing)[Symbol.asyncIterator]();
      this.#incoming = incoming;
      this.#handshake = new HandshakeChannel<Out, In>(
        this.#protocol.name,
        incoming,
        (message) => this.#outgoing.push(message),
        this.#controller.signal,
      );
      shaking = Promise.resolve(this.#protocol.handshake(this.#handshake));
    } catch (error) {
      this.#failTransport(error);
      return;
    }
    shaking.then(
      (session) => this.#handshaken(session),
      (error: unknown) => this.#failTransport(error),
    );
  }

  #handshaken(session: Session): void {
    if (this.#state.type !== "handshaking") return;
    if (this.#handshake?.isReceiving) {
      // Whoever reads next would miss the message that this receive takes.
      const message = `${this.#protocol.name}: the handshake is done but its receive() is not`;
      this.fail(judged(new StreamError("PROTOCOL", message), "fatal"));
      return;
    }
    this.#session = { value: session };
    this.#dispatch({ type: "handshaken" });
  }

  #goLive(): void {
    this.#timer?.cancel();
    this.#handshake?.end(new StreamError("PROTOCOL", `${this.#protocol.name}: the handshake is over`));
    if (channels.connectionOpened.hasSubscribers) {
      const durationMs = this.#clock.monotonic() - this.#startedMs;
      channels.connectionOpened.publish({ protocol: this.#protocol.name, connectionId: this.id, durationMs });
    }
    try {
      this.#observer.onLive?.(this);
    } catch (error) {
      this.#failHook("onLive", error);
    }
    // The hook may have ended it.
    if (this.#isDead()) return;
    this.#opening?.resolve((this.#session as { readonly value: Session }).value);
    void this.#read(this.#incoming as AsyncIterator<In>);
    if (this.#state.type !== "live") return;
    this.#silence.touch();
    if (this.#transport.ping !== undefined) {
      this.#pinger = new Pinger(this.#transport as Required<StreamTransport<Out, In>>, this.#clock, this.#options, {
        signal: this.#controller.signal,
        onFailed: (error) => this.#failTransport(error),
      });
    }
    const { tokenRefresh } = this.#protocol;
    if (tokenRefresh !== undefined) {
      this.#refresher = new TokenRefresher(tokenRefresh, {
        clock: this.#clock,
        signal: this.#controller.signal,
        usedToken: this.#handshake?.token,
        send: (message) => void this.#outgoing.push(message),
        onFailed: (error) => this.#notify("onRefreshFailed", () => this.#observer.onRefreshFailed?.(this, error)),
      });
    }
  }

  async #read(incoming: AsyncIterator<In>): Promise<void> {
    for (;;) {
      let result: IteratorResult<In>;
      try {
        result = await incoming.next();
      } catch (error) {
        this.#failTransport(error);
        return;
      }
      if (this.#isDead()) return;
      if (result.done) {
        const error = new StreamError("CONNECTION_LOST", `${this.#protocol.name}: the peer ended the stream`, {
          retryable: true,
        });
        this.#dispatch({ type: "peer-ended", error: judged(error, "fast") });
        return;
      }
      const message = result.value;
      this.#messages++;
      if (this.#state.type === "live") this.#silence.touch();
      if (this.#isAside(message)) continue;
      try {
        const held = this.#protocol.onMessage(message, this);
        if (held !== undefined) await this.#hold(held);
      } catch (error) {
        this.fail(error);
      }
      if (this.#isDead()) return;
    }
  }

  /** Whether the message is none of `onMessage`'s business: it is the core's, or the stream is over. */
  #isAside(message: In): boolean {
    try {
      if (this.#protocol.tokenRefresh !== undefined && (this.#refresher?.takes(message) ?? false)) return true;
      if (!this.#hasProgressed && this.#protocol.isProgress?.(message)) {
        this.#hasProgressed = true;
        this.#observer.onProgress?.(this);
      }
    } catch (error) {
      this.#failHook("isReply or isProgress", error);
    }
    return this.#isDead();
  }

  /** Waits for what `onMessage` promised. Meanwhile it is we who do not listen, so the peer cannot be called silent. */
  async #hold(held: Promise<void>): Promise<void> {
    this.#silence.pause();
    this.#heldNotice.touch();
    this.#holdLimit.touch();
    try {
      await held;
    } finally {
      this.#heldNotice.pause();
      this.#holdLimit.pause();
      if (this.#state.type === "live") this.#silence.touch();
      if (this.#isHeldReported) this.#reportHeld(0);
    }
  }

  #reportHeld(heldMs: number): void {
    this.#isHeldReported = heldMs > 0;
    if (!this.#isDead()) this.#notify("onHeld", () => this.#observer.onHeld?.(this, heldMs));
  }

  #halfClose(): void {
    this.#silence.stop();
    this.#pinger?.stop();
    this.#refresher?.stop();
    this.#outgoing.close();
    const { closeGraceMs } = this.#options;
    if (closeGraceMs === 0) this.#dispatch({ type: "grace-over" });
    else this.#timer = this.#clock.setTimer(closeGraceMs, () => this.#dispatch({ type: "grace-over" }));
  }

  #die(): void {
    const error = this.#state.type === "dead" ? this.#state.error : undefined;
    const endError = this.#endError();
    this.#timer?.cancel();
    this.#silence.stop();
    this.#heldNotice.stop();
    this.#holdLimit.stop();
    this.#pinger?.stop();
    this.#refresher?.stop();
    this.#cancelTransport(endError);
    this.#outgoing.cancel(error === undefined ? endError : lostError(this.#protocol.name, error));
    this.#handshake?.end(endError);
    this.#opening?.reject(endError);
    this.#controller.abort(endError);
    if (channels.connectionClosed.hasSubscribers && this.#session !== undefined) {
      const durationMs = this.#clock.monotonic() - this.#startedMs;
      const protocol = this.#protocol.name;
      channels.connectionClosed.publish({
        protocol,
        connectionId: this.id,
        durationMs,
        messages: this.#messages,
        error,
      });
    }
    const info = error === undefined ? {} : { error };
    this.#resolveClosed(info);
    this.#notify("onDead", () => this.#observer.onDead?.(this, info));
  }

  /** P11: the stream is over, and what it has to say about that changes nothing. */
  #cancelTransport(reason: unknown): void {
    try {
      this.#transport.cancel(reason);
    } catch {}
    try {
      // Lets a transport that is a generator run its `finally`.
      this.#incoming?.return?.().catch(() => {});
    } catch {}
  }

  #isDead(): boolean {
    return this.#state.type === "dead";
  }

  /** What those who wait are told at the end. */
  #endError(): Error {
    if (this.#state.type === "dead" && this.#state.error !== undefined) return this.#state.error as Error;
    return new StreamError("CLOSED", `${this.#protocol.name}: the stream was closed`, { cause: this.#closeReason });
  }

  /** The stream is lost for a reason of the core's own; a new one is the remedy. */
  #lose(code: "HANDSHAKE_TIMEOUT" | "SILENT", what: string): void {
    this.fail(judged(new StreamError(code, `${this.#protocol.name}: ${what}`, { retryable: true }), "fast"));
  }

  #failHook(hook: string, cause: unknown): void {
    const message = `${this.#protocol.name}: ${hook} failed: ${cause instanceof Error ? cause.message : String(cause)}`;
    this.fail(judged(new StreamError("HOOK_FAILED", message, { cause }), "fatal"));
  }

  /** An abort that nobody here asked for is a lost connection and nothing else (P12). */
  #failTransport(error: unknown): void {
    const isAbort = error instanceof Error && error.name === "AbortError";
    this.fail(isAbort ? lostError(this.#protocol.name, error) : error);
  }

  /** An observer that throws must not break what is under way; the stream ends visibly instead (X22). */
  #notify(hook: string, tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.#failHook(hook, error);
    }
  }
}

function lostError(name: string, cause: unknown): StreamError {
  const lost = new StreamError("CONNECTION_LOST", `${name}: the stream was lost`, { cause, retryable: true });
  return judged(lost, "fast");
}
