import { type Rng, systemRng } from "@tidemark/clock";
import { type BackoffOptions, resolveBackoff } from "./backoff.ts";
import type { StreamConnection } from "./connection.ts";
import { resolveConnection, type StreamConnectionOptions } from "./connection-options.ts";
import { type ReconnectLimiter, sharedLimiter } from "./limiter.ts";
import { requireAbove, requireAtLeast } from "./options.ts";
import type { RetryClass } from "./protocol.ts";

/** Why a stream went away and what happens next. */
export interface StreamDisconnect {
  /** What ended it. */
  readonly error: unknown;
  /** How it is retried. */
  readonly retryClass: RetryClass;
  /** How many attempts in a row have failed now, from 1. */
  readonly attempt: number;
  /** How long the wait before the next attempt is, in milliseconds; undefined: there is none. */
  readonly delayMs: number | undefined;
}

/** Patience, hooks and time limits of a reconnector and its connections. */
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

/** The defaults of `StreamReconnectorOptions`, beside those of the connection and the back-off. */
export const reconnectorDefaults = {
  stableAfterMs: 60_000,
  closeTimeoutMs: 30_000,
  maxAttempts: Number.POSITIVE_INFINITY,
} as const satisfies StreamReconnectorOptions;

type Hooks<Out, In, Session> = Pick<StreamReconnectorOptions<Out, In, Session>, "onConnected" | "onDisconnected">;

/** @throws {StreamError} `OPTIONS_INVALID`. */
export function resolveReconnector<Out, In, Session>(
  options: StreamReconnectorOptions<Out, In, Session>,
): Required<Omit<StreamReconnectorOptions<Out, In, Session>, "onConnected" | "onDisconnected">> &
  Hooks<Out, In, Session> {
  const connection = resolveConnection(options);
  const resolved = {
    ...connection,
    ...resolveBackoff(options),
    rng: options.rng ?? systemRng,
    limiter: options.limiter ?? sharedLimiter(connection.clock),
    stableAfterMs: options.stableAfterMs ?? reconnectorDefaults.stableAfterMs,
    closeTimeoutMs: options.closeTimeoutMs ?? reconnectorDefaults.closeTimeoutMs,
    maxAttempts: options.maxAttempts ?? reconnectorDefaults.maxAttempts,
    ...(options.onConnected && { onConnected: options.onConnected }),
    ...(options.onDisconnected && { onDisconnected: options.onDisconnected }),
  };
  requireAbove("stableAfterMs", resolved.stableAfterMs, 0);
  requireAtLeast("closeTimeoutMs", resolved.closeTimeoutMs, 0);
  requireAtLeast("maxAttempts", resolved.maxAttempts, 1);
  return resolved;
}

/** `waiting`: for the next attempt. `closing`: `close()` was called and is not done. */
export type StreamReconnectorState = "idle" | "connecting" | "live" | "waiting" | "closing" | "closed" | "failed";

/** How it ended. */
export interface StreamDone {
  /** What the protocol called fatal, or our own error; undefined after an undisturbed `close()`. */
  readonly error?: unknown;
}

/** How a reconnector ends. */
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

/** What happens to the stream. */
export type StreamEvent =
  | { readonly type: "connecting"; readonly connectionId: number; readonly attempt: number }
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
