import type { Timer } from "@tidemark/clock";
import { backoffDelayMs } from "./backoff.ts";
import { StreamConnection } from "./connection.ts";
import { channels } from "./diagnostics.ts";
import { EventHub } from "./event-hub.ts";
import type { RetryClass, StreamProtocol } from "./protocol.ts";
import {
  resolveReconnector,
  type StreamCloseOptions,
  type StreamDone,
  type StreamEvent,
  type StreamReconnectorOptions,
  type StreamReconnectorState,
} from "./reconnector-options.ts";
import {
  initialReconnectorState,
  nextReconnectorState,
  type ReconnectorEffect,
  type ReconnectorEvent,
  type ReconnectorState,
} from "./reconnector-state.ts";
import { StreamError } from "./stream-error.ts";
import { checkTokenRefresh } from "./token-refresher.ts";
import { judged, verdictOf } from "./verdict.ts";
import { Waiters } from "./waiters.ts";

type Report = ReconnectorEffect & { readonly type: "report" };
type HubEvent = Exclude<StreamEvent, { readonly type: "skipped" }>;

/**
 * Keeps one stream alive: connects, and connects again after every failure that may pass, never with two streams open at
 * once, never in a hurry, and never without saying so.
 */
export class StreamReconnector<Out, In, Session> {
  /** Resolves when it is over for good. Never rejects. */
  readonly done: Promise<StreamDone>;
  readonly #protocol: StreamProtocol<Out, In, Session>;
  readonly #options: ReturnType<typeof resolveReconnector<Out, In, Session>>;
  readonly #hub = new EventHub<HubEvent>();
  readonly #waiters = new Waiters<StreamConnection<Out, In, Session>>();
  readonly #resolveDone: (done: StreamDone) => void;
  #state: ReconnectorState;
  /** Events that came while another was being handled; a hook may cause them. */
  readonly #pending: ReconnectorEvent[] = [];
  #isDispatching = false;
  /** The one connection there is, live or not. */
  #connection: StreamConnection<Out, In, Session> | undefined;
  #connections = 0;
  #permit: AbortController | undefined;
  /** The back-off in `waiting`, the way to stability in `live`. */
  #timer: Timer | undefined;
  #closing:
    | { readonly result: PromiseWithResolvers<void>; readonly timer: Timer; readonly flush: () => void }
    | undefined;

  /** @throws {StreamError} `OPTIONS_INVALID`. */
  constructor(protocol: StreamProtocol<Out, In, Session>, options: StreamReconnectorOptions<Out, In, Session> = {}) {
    this.#protocol = protocol;
    this.#options = resolveReconnector(options);
    checkTokenRefresh(protocol.tokenRefresh);
    this.#state = initialReconnectorState(this.#options.maxAttempts);
    ({ promise: this.done, resolve: this.#resolveDone } = Promise.withResolvers<StreamDone>());
  }

  /** What it does. */
  get state(): StreamReconnectorState {
    if (this.#state.type === "closed" || this.#state.type === "failed") return this.#state.type;
    return this.#state.type === "ending" || this.#state.isClosing ? "closing" : this.#state.type;
  }

  /** The live connection; set only after its handshake (P3). */
  get current(): StreamConnection<Out, In, Session> | undefined {
    return this.#state.type === "live" ? this.#connection : undefined;
  }

  /** How many attempts in a row have failed. */
  get attempt(): number {
    return "attempt" in this.#state ? this.#state.attempt : 0;
  }

  /** Begins to connect (P25: never the constructor). Does nothing when called again. */
  start(): void {
    this.#dispatch({ type: "start" });
  }

  /**
   * The current connection, or the next. Settles for every caller, whatever happens (P9).
   *
   * @throws {StreamError} `CLOSED`, `GAVE_UP`, `HOOK_FAILED`, or `FAILED` with the fatal error as its cause.
   * @throws `options.signal.reason`.
   */
  connected(options: { readonly signal?: AbortSignal } = {}): Promise<StreamConnection<Out, In, Session>> {
    if (options.signal?.aborted) return Promise.reject(options.signal.reason as Error);
    if (this.#isOver || this.#state.type === "ending") return Promise.reject(this.#overError());
    const { current } = this;
    return current === undefined ? this.#waiters.wait(options.signal) : Promise.resolve(current);
  }

  /**
   * Runs `flush` while it still reconnects, closes the live stream, and ends. Bounded by `closeTimeoutMs`. Every caller
   * gets the outcome of the first call. When it is over already: rejects if it failed and there is something to flush.
   *
   * @throws {StreamError} `CLOSE_TIMEOUT` when `flush` did not finish in time, `FLUSH_FAILED`, `FAILED`, `GAVE_UP`,
   * `HOOK_FAILED`, or `CLOSED` when `destroy` cut it short. The stream is gone in every case.
   */
  close(options: StreamCloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.result.promise;
    const { flush } = options;
    if (this.#isOver) {
      return flush && this.#state.type === "failed" ? Promise.reject(this.#overError()) : Promise.resolve();
    }
    const closeTimeoutMs = options.closeTimeoutMs ?? this.#options.closeTimeoutMs;
    const result = Promise.withResolvers<void>();
    const timer = this.#options.clock.setTimer(closeTimeoutMs, () => this.#dispatch({ type: "close-timeout" }));
    this.#closing = { result, timer, flush: () => this.#flush(flush) };
    this.#dispatch({ type: "close", hasFlush: flush !== undefined });
    return result.promise;
  }

  /** Cuts everything now. Who waits is rejected with `CLOSED`. Idempotent. */
  destroy(reason?: unknown): void {
    this.#dispatch({ type: "destroy", reason });
  }

  /** What happens from now on. Ends with `closed` or `failed`; leaving the loop lets go. */
  events(): AsyncIterable<StreamEvent> {
    return this.#hub.subscribe();
  }

  /** `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** One event at a time: what a hook causes happens after what caused the hook (X12). */
  #dispatch(event: ReconnectorEvent): void {
    this.#pending.push(event);
    if (this.#isDispatching) return;
    this.#isDispatching = true;
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      const [state, ...effects] = nextReconnectorState(this.#state, next);
      this.#state = state;
      for (const effect of effects) this.#run(effect);
    }
    this.#isDispatching = false;
  }

  #run(effect: ReconnectorEffect): void {
    switch (effect.type) {
      case "connect":
        return this.#connect();
      case "publish":
        return this.#publish();
      case "report":
        return this.#report(effect);
      case "flush":
        return this.#closing?.flush();
      case "close-connection":
        this.#timer?.cancel();
        void this.#connection?.close();
        return;
      case "cut":
        return this.#cut(effect.reason);
      case "finish":
        return this.#finish(effect.error, effect.closeError);
    }
  }

  #connect(): void {
    const permit = new AbortController();
    this.#permit = permit;
    const broken = (error: unknown) => {
      if (!permit.signal.aborted) this.#break("limiter", error);
    };
    try {
      this.#options.limiter.acquire(permit.signal).then(() => {
        if (!permit.signal.aborted) this.#open();
      }, broken);
    } catch (error) {
      broken(error);
    }
  }

  #open(): void {
    const id = ++this.#connections;
    this.#hub.emit({ type: "connecting", connectionId: id, attempt: this.attempt });
    let connection: StreamConnection<Out, In, Session>;
    try {
      connection = new StreamConnection(this.#protocol, {
        ...this.#options,
        id,
        observer: {
          onLive: () => this.#dispatch({ type: "connected" }),
          onProgress: () => this.#dispatch({ type: "proven" }),
          onHeld: (_, heldMs) => this.#hub.emit({ type: "held", connectionId: id, heldMs }),
          onRefreshFailed: (_, error) => this.#hub.emit({ type: "refresh-failed", connectionId: id, error }),
          onDead: (_, info) => this.#lost(info.error ?? this.#closedByUser()),
        },
      });
    } catch (error) {
      this.#lost(error);
      return;
    }
    if (this.#state.type !== "connecting") {
      // `openTransport` itself ended us.
      connection.fail(this.#overError());
      return;
    }
    this.#connection = connection;
    // Its end is told by `onDead`.
    connection.open().catch(() => {});
  }

  #publish(): void {
    const connection = this.#connection as StreamConnection<Out, In, Session>;
    this.#timer = this.#options.clock.setTimer(this.#options.stableAfterMs, () => this.#dispatch({ type: "proven" }));
    this.#timer.unref();
    this.#hub.emit({ type: "connected", connectionId: connection.id });
    this.#hook("onConnected", () => this.#options.onConnected?.(connection));
    // The hook may have ended it; then there will be another.
    if (connection.isLive) this.#waiters.resolve(connection);
  }

  #lost(error: unknown): void {
    if (this.#isOver) return;
    if (this.#state.type === "ending") {
      this.#dispatch({ type: "lost", error, retryClass: "fatal" });
      return;
    }
    let verdict = verdictOf(error);
    let reason = error;
    if (verdict === undefined) {
      try {
        verdict = this.#checkClass(this.#protocol.classify(error));
      } catch (cause) {
        // X22: a protocol that cannot tell must not decide by accident.
        reason = this.#hookError("classify", cause);
        verdict = "fatal";
      }
    }
    this.#dispatch({ type: "lost", error: reason, retryClass: verdict });
  }

  #checkClass(retryClass: RetryClass): RetryClass {
    if (retryClass === "fast" || retryClass === "slow" || retryClass === "fatal") return retryClass;
    throw new TypeError(`expected "fast", "slow" or "fatal", got ${String(retryClass)}`);
  }

  #report({ error, retryClass, attempt, isRetried }: Report): void {
    const { clock, rng } = this.#options;
    const connectionId = this.#connections;
    this.#timer?.cancel();
    this.#connection = undefined;
    const delayMs =
      isRetried && retryClass !== "fatal" ? backoffDelayMs(this.#options, retryClass, attempt, rng) : undefined;
    this.#hub.emit({ type: "disconnected", connectionId, error, retryClass });
    if (delayMs !== undefined) {
      // X2: the stream is dead and cancelled by now, before anybody sleeps.
      this.#timer = clock.setTimer(delayMs, () => this.#dispatch({ type: "retry-due" }));
      this.#hub.emit({ type: "waiting", attempt, delayMs, error });
      if (channels.reconnectScheduled.hasSubscribers) {
        channels.reconnectScheduled.publish({ protocol: this.#protocol.name, attempt, delayMs, retryClass, error });
      }
    }
    this.#hook("onDisconnected", () => this.#options.onDisconnected?.({ error, retryClass, attempt, delayMs }));
  }

  #flush(flush: StreamCloseOptions["flush"]): void {
    const flushed = (error?: unknown) => this.#dispatch({ type: "flushed", error });
    const failed = (cause: unknown) =>
      flushed(new StreamError("FLUSH_FAILED", `${this.#protocol.name}: the flush of close() failed`, { cause }));
    try {
      Promise.resolve(flush?.()).then(() => flushed(), failed);
    } catch (error) {
      failed(error);
    }
  }

  #cut(reason: unknown): void {
    this.#timer?.cancel();
    this.#permit?.abort();
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.fail(reason ?? new StreamError("CLOSED", `${this.#protocol.name}: the stream was destroyed`));
  }

  #finish(error: unknown, closeError: unknown): void {
    const isFailed = this.#state.type === "failed";
    this.#closing?.timer.cancel();
    this.#hub.emit({ type: isFailed ? "failed" : "closed", error });
    this.#hub.close();
    this.#waiters.reject(this.#overError());
    this.#resolveDone(error === undefined ? {} : { error });
    if (closeError === undefined) this.#closing?.result.resolve();
    else this.#closing?.result.reject(isFailed ? this.#overError() : closeError);
  }

  get #isOver(): boolean {
    return this.#state.type === "closed" || this.#state.type === "failed";
  }

  #overError(): StreamError {
    const { name } = this.#protocol;
    const cause = "error" in this.#state ? this.#state.error : undefined;
    if (this.#state.type !== "failed") return new StreamError("CLOSED", `${name}: the stream is closed`, { cause });
    return StreamError.is(cause) ? cause : new StreamError("FAILED", `${name}: the stream failed for good`, { cause });
  }

  #closedByUser(): StreamError {
    const message = `${this.#protocol.name}: the connection was closed; close the reconnector to stay closed`;
    return judged(new StreamError("CONNECTION_LOST", message, { retryable: true }), "fast");
  }

  /** A hook that throws, or whose promise rejects, ends it visibly (X22). It is never waited for. */
  #hook(name: string, call: () => unknown): void {
    try {
      const result = call();
      if (result instanceof Promise) result.catch((error: unknown) => this.#break(name, error));
    } catch (error) {
      this.#break(name, error);
    }
  }

  #break(name: string, cause: unknown): void {
    this.#dispatch({ type: "broken", error: this.#hookError(name, cause) });
  }

  #hookError(name: string, cause: unknown): StreamError {
    const what = cause instanceof Error ? cause.message : String(cause);
    return new StreamError("HOOK_FAILED", `${this.#protocol.name}: ${name} failed: ${what}`, { cause });
  }
}
