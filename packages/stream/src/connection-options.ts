import { type Clock, systemClock } from "@tidemark/clock";
import { requireAbove, requireAtLeast } from "./options.ts";

/** Time limits and bounds of one stream. */
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

/** The defaults of `StreamConnectionOptions`. */
export const connectionDefaults = {
  clock: systemClock,
  handshakeTimeoutMs: 30_000,
  silenceTimeoutMs: Number.POSITIVE_INFINITY,
  holdTimeoutMs: Number.POSITIVE_INFINITY,
  heldNoticeMs: 30_000,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 5_000,
  closeGraceMs: 1_000,
  maxOutgoing: 1_024,
} as const satisfies Required<StreamConnectionOptions>;

/** @throws {StreamError} `OPTIONS_INVALID`. */
export function resolveConnection(options: StreamConnectionOptions): Required<StreamConnectionOptions> {
  const resolved = {
    clock: options.clock ?? connectionDefaults.clock,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? connectionDefaults.handshakeTimeoutMs,
    silenceTimeoutMs: options.silenceTimeoutMs ?? connectionDefaults.silenceTimeoutMs,
    holdTimeoutMs: options.holdTimeoutMs ?? connectionDefaults.holdTimeoutMs,
    heldNoticeMs: options.heldNoticeMs ?? connectionDefaults.heldNoticeMs,
    pingIntervalMs: options.pingIntervalMs ?? connectionDefaults.pingIntervalMs,
    pingTimeoutMs: options.pingTimeoutMs ?? connectionDefaults.pingTimeoutMs,
    closeGraceMs: options.closeGraceMs ?? connectionDefaults.closeGraceMs,
    maxOutgoing: options.maxOutgoing ?? connectionDefaults.maxOutgoing,
  };
  for (const name of [
    "handshakeTimeoutMs",
    "silenceTimeoutMs",
    "holdTimeoutMs",
    "heldNoticeMs",
    "pingIntervalMs",
    "pingTimeoutMs",
  ] as const) {
    requireAbove(name, resolved[name], 0);
  }
  requireAtLeast("closeGraceMs", resolved.closeGraceMs, 0);
  requireAtLeast("maxOutgoing", resolved.maxOutgoing, 1);
  return resolved;
}
