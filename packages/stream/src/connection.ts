import type { Clock } from "@tidemark/clock";
import type { StreamProtocol } from "./protocol.ts";

/** Why a stream is over. */
export interface StreamCloseInfo {
  /** The first error; undefined when this side closed the stream. Later errors are not kept (P10). */
  readonly error?: unknown;
}

/** What happens to a connection, told synchronously and each at most once, so that nothing can come in between. */
export interface StreamConnectionObserver<Out, In, Session> {
  /** After the handshake and before the first message (P3). A throw ends the connection as `HOOK_FAILED`. */
  onLive?(connection: StreamConnection<Out, In, Session>): void;
  /** The stream has done its work for the first time (X1); see `StreamProtocol.isProgress`. */
  onProgress?(connection: StreamConnection<Out, In, Session>): void;
  /** `onMessage` has held back reading for longer than `heldNoticeMs`, or has let go again (0). */
  onHeld?(connection: StreamConnection<Out, In, Session>, heldMs: number): void;
  /** A token could not be had or was not acknowledged in time. The next refresh happens all the same (X17). */
  onRefreshFailed?(connection: StreamConnection<Out, In, Session>, error: unknown): void;
  /** The stream is over and its transport is cancelled. */
  onDead?(connection: StreamConnection<Out, In, Session>, info: StreamCloseInfo): void;
}

export interface StreamConnectionOptions {
  /** @default the machine's clock */
  readonly clock?: Clock;
  /**
   * Time for the handshake, in milliseconds, above 0. Then the stream ends with `HANDSHAKE_TIMEOUT`, retryable (X10).
   * @default 30_000
   */
  readonly handshakeTimeoutMs?: number;
  /**
   * Ends a live stream with `SILENT`, retryable, when no message came for so long, in milliseconds, above 0. Time in
   * which `onMessage` holds back reading does not count: then it is us who do not listen.
   * @default Infinity: silence is fine
   */
  readonly silenceTimeoutMs?: number;
  /**
   * For how long a promise of `onMessage` may hold back reading, in milliseconds, above 0. Then the stream ends with
   * `HOOK_FAILED`, which is fatal. Infinity is right where holding back means a slow consumer.
   * @default Infinity
   */
  readonly holdTimeoutMs?: number;
  /**
   * After how long held-back reading is reported, in milliseconds, above 0.
   * @default 30_000
   */
  readonly heldNoticeMs?: number;
  /**
   * Time between pings of a live stream whose transport has `ping`, in milliseconds, above 0. They find a half-open
   * connection (X11) also while reading is held back. Infinity: none.
   * @default 10_000
   */
  readonly pingIntervalMs?: number;
  /**
   * How long a ping may take before the stream ends with `PING_TIMEOUT`, retryable, in milliseconds, above 0.
   * @default 5_000
   */
  readonly pingTimeoutMs?: number;
  /**
   * How long a closed stream waits for its peer to end as well before it is cancelled, in milliseconds, at least 0.
   * @default 1_000
   */
  readonly closeGraceMs?: number;
  /**
   * From how many waiting messages on `send` returns false, at least 1.
   * @default 1_024
   */
  readonly maxOutgoing?: number;
}

export declare class StreamConnection<Out, In, Session> {
  constructor(
    protocol: StreamProtocol<Out, In, Session>,
    options?: StreamConnectionOptions & {
      /** @default 0 */
      readonly id?: number;
      readonly observer?: StreamConnectionObserver<Out, In, Session>;
    },
  );
  /** Counts the connections of a reconnector from 1. */
  readonly id: number;
  /**
   * What the handshake resolved with.
   *
   * @throws {StreamError} `NOT_LIVE` before the handshake is done.
   */
  get session(): Session;
  /** Between the handshake and the end of the stream. */
  get isLive(): boolean;
  /** Aborts when the stream ends, with its first error or the reason of `close`. */
  readonly signal: AbortSignal;
  /** Resolves when the stream is over and its transport cancelled. Never rejects. */
  readonly closed: Promise<StreamCloseInfo>;
  /**
   * Starts the I/O and shakes hands, under a watchdog. Called once.
   *
   * @throws the error that ended the stream; {@link StreamError} `CLOSED` when `close` did.
   */
  open(): Promise<Session>;
  /**
   * Queues a message. False: more than `maxOutgoing` messages wait, so wait for `drained()`; or the stream is over and
   * the message went nowhere, which `drained()` tells by rejecting. Never throws.
   */
  send(message: Out): boolean;
  /**
   * Resolves when fewer than `maxOutgoing` messages wait.
   *
   * @throws {StreamError} `CLOSED` or `CONNECTION_LOST` when the stream is over first.
   * @throws `signal.reason`.
   */
  drained(signal?: AbortSignal): Promise<void>;
  /** Ends the stream at once with an error of our own. The first error wins (P10). */
  fail(error: unknown): void;
  /**
   * Half-closes, so that what was queued is still sent, takes the peer's last messages for `closeGraceMs`, and cancels.
   * Before the handshake is done it cancels at once. Idempotent; never rejects.
   */
  close(reason?: unknown): Promise<void>;
}
