import type { Rng } from "@tidemark/clock";
import type { BackoffOptions } from "./backoff.ts";
import type { StreamConnection, StreamConnectionOptions } from "./connection.ts";
import type { ReconnectLimiter } from "./limiter.ts";
import type { RetryClass, StreamProtocol } from "./protocol.ts";

/** Why a stream went away and what happens next. */
export interface StreamDisconnect {
  readonly error: unknown;
  readonly retryClass: RetryClass;
  /** How many attempts in a row have failed now, from 1. */
  readonly attempt: number;
  /** How long the wait before the next attempt is, in milliseconds; undefined: there is none. */
  readonly delayMs: number | undefined;
}

export interface StreamReconnectorOptions<Out = unknown, In = unknown, Session = unknown>
  extends BackoffOptions,
    StreamConnectionOptions {
  /** @default the machine's randomness */
  readonly rng?: Rng;
  /**
   * Gates every attempt to connect.
   * @default one for all reconnectors of the process that run on the same clock
   */
  readonly limiter?: ReconnectLimiter;
  /**
   * How long a stream must live before its failures are forgotten, in milliseconds, above 0. A mere handshake never
   * resets them; a message for which `isProgress` holds does (X1).
   * @default 60_000
   */
  readonly stableAfterMs?: number;
  /**
   * Time for `close()` with everything in it, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly closeTimeoutMs?: number;
  /**
   * After how many failures in a row it gives up with `GAVE_UP`, at least 1.
   * @default Infinity
   */
  readonly maxAttempts?: number;
  /** A connection is live and is `current`; its first message comes after this. A throw is fatal (X22). */
  readonly onConnected?: (connection: StreamConnection<Out, In, Session>) => void;
  /** A stream, or an attempt at one, is over and its transport is cancelled. A throw is fatal (X22). */
  readonly onDisconnected?: (disconnect: StreamDisconnect) => void;
}

export type StreamReconnectorState = "idle" | "connecting" | "live" | "waiting" | "closing" | "closed" | "failed";

/** How it ended. */
export interface StreamDone {
  /** What the protocol called fatal, or our own error; undefined after an undisturbed `close()`. */
  readonly error?: unknown;
}

export interface StreamCloseOptions {
  /**
   * Finishes what is under way; it may wait for new connections, which are still made until it settles (P6). It is
   * called once, also when several callers close.
   */
  readonly flush?: () => Promise<void>;
  /**
   * Time for all of it, in milliseconds, at least 0.
   * @default that of the reconnector
   */
  readonly closeTimeoutMs?: number;
}

export type StreamEvent =
  | { readonly type: "connecting"; readonly attempt: number }
  | { readonly type: "connected"; readonly connectionId: number }
  /** The stream is over. A `waiting` follows, or the end. */
  | {
      readonly type: "disconnected";
      readonly connectionId: number;
      readonly error: unknown;
      readonly retryClass: RetryClass;
    }
  | { readonly type: "waiting"; readonly attempt: number; readonly delayMs: number; readonly error: unknown }
  /** `onMessage` holds back reading for longer than `heldNoticeMs`; 0: no more. */
  | { readonly type: "held"; readonly connectionId: number; readonly heldMs: number }
  | { readonly type: "refresh-failed"; readonly connectionId: number; readonly error: unknown }
  | { readonly type: "failed"; readonly error: unknown }
  | { readonly type: "closed"; readonly error: unknown }
  /** This reader was too slow and so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };

export declare class StreamReconnector<Out, In, Session> {
  constructor(protocol: StreamProtocol<Out, In, Session>, options?: StreamReconnectorOptions<Out, In, Session>);
  get state(): StreamReconnectorState;
  /** The live connection; set only after its handshake (P3). */
  get current(): StreamConnection<Out, In, Session> | undefined;
  /** How many attempts in a row have failed. */
  get attempt(): number;
  /** Resolves when it is over for good. Never rejects. */
  readonly done: Promise<StreamDone>;
  /** Begins to connect (P25: never the constructor). Does nothing when called again. */
  start(): void;
  /**
   * The current connection, or the next. Settles for every caller, whatever happens (P9).
   *
   * @throws {StreamError} `CLOSED`, `GAVE_UP`, `HOOK_FAILED`, or `FAILED` with the fatal error as its cause.
   * @throws `options.signal.reason`.
   */
  connected(options?: { readonly signal?: AbortSignal }): Promise<StreamConnection<Out, In, Session>>;
  /**
   * Runs `flush` while it still reconnects, closes the live stream, and ends. Bounded by `closeTimeoutMs`. Every caller
   * gets the outcome of the first call.
   *
   * @throws {StreamError} `CLOSE_TIMEOUT` when `flush` did not finish in time, `FLUSH_FAILED`, `FAILED`, `GAVE_UP`, or
   * `CLOSED` when `destroy` cut it short. The stream is gone in every case.
   */
  close(options?: StreamCloseOptions): Promise<void>;
  /** Cuts everything now. What waits is rejected with `CLOSED`. Idempotent. */
  destroy(reason?: unknown): void;
  /** What happens from now on. Ends with `closed` or `failed`; leaving the loop lets go. */
  events(): AsyncIterable<StreamEvent>;
  [Symbol.asyncDispose](): Promise<void>;
}
