import type { RetryClass } from "./protocol.ts";
import { StreamError } from "./stream-error.ts";

/** What every state but the last two carries. */
interface Running {
  /** How many attempts in a row have failed. */
  readonly attempt: number;
  /** `close()` was called; only its flush keeps it going. */
  readonly isClosing: boolean;
  readonly maxAttempts: number;
}

export type ReconnectorState =
  | (Running & { readonly type: "idle" })
  | (Running & { readonly type: "connecting" })
  | (Running & { readonly type: "live" })
  | (Running & { readonly type: "waiting" })
  /** Flushed; the last connection says goodbye. The error is that of the flush. */
  | { readonly type: "ending"; readonly closeError: unknown }
  | { readonly type: "closed"; readonly error: unknown }
  | { readonly type: "failed"; readonly error: unknown };

export type ReconnectorEvent =
  | { readonly type: "start" }
  /** A handshake is done. */
  | { readonly type: "connected" }
  /** The stream, or the attempt at one, is over and its transport is cancelled. */
  | { readonly type: "lost"; readonly error: unknown; readonly retryClass: RetryClass }
  /** The stream was stable for long enough, or has done its work (X1). */
  | { readonly type: "proven" }
  | { readonly type: "retry-due" }
  | { readonly type: "close"; readonly hasFlush: boolean }
  | { readonly type: "flushed"; readonly error: unknown }
  | { readonly type: "close-timeout" }
  | { readonly type: "destroy"; readonly reason: unknown }
  /** A hook of ours or the limiter threw (X22). */
  | { readonly type: "broken"; readonly error: unknown };

export type ReconnectorEffect =
  | { readonly type: "connect" }
  /** The connection becomes `current`. */
  | { readonly type: "publish" }
  /** The current attempt is over; nothing is current. `isRetried`: sleep, then `retry-due`. */
  | {
      readonly type: "report";
      readonly error: unknown;
      readonly retryClass: RetryClass;
      readonly attempt: number;
      readonly isRetried: boolean;
    }
  | { readonly type: "flush" }
  /** Half-close the live connection; `lost` follows. */
  | { readonly type: "close-connection" }
  /** End whatever is under way now: connection, attempt, wait. */
  | { readonly type: "cut"; readonly reason: unknown }
  /** Settle everybody: `error` is for those who follow the stream, `closeError` for those who closed it. */
  | { readonly type: "finish"; readonly error: unknown; readonly closeError: unknown };

type Step = readonly [ReconnectorState, ...ReconnectorEffect[]];

/** @param maxAttempts failures in a row after which it gives up. */
export function initialReconnectorState(maxAttempts: number): ReconnectorState {
  return { type: "idle", attempt: 0, isClosing: false, maxAttempts };
}

export function nextReconnectorState(state: ReconnectorState, event: ReconnectorEvent): Step {
  if (state.type === "closed" || state.type === "failed") return [state];
  if (state.type === "ending") return nextWhileEnding(state, event);
  switch (event.type) {
    case "start":
      return state.type === "idle" ? [{ ...state, type: "connecting" }, { type: "connect" }] : [state];
    case "connected":
      return state.type === "connecting" ? [{ ...state, type: "live" }, { type: "publish" }] : [state];
    case "lost":
      return state.type === "connecting" || state.type === "live" ? lose(state, event) : [state];
    case "proven":
      return state.type === "live" ? [{ ...state, attempt: 0 }] : [state];
    case "retry-due":
      return state.type === "waiting" ? [{ ...state, type: "connecting" }, { type: "connect" }] : [state];
    case "close":
      if (state.isClosing) return [state];
      return event.hasFlush ? [{ ...state, isClosing: true }, { type: "flush" }] : wind(state, undefined);
    case "flushed":
      return state.isClosing ? wind(state, event.error) : [state];
    case "close-timeout":
      return state.isClosing ? end(closeTimeout()) : [state];
    case "destroy":
      return end(event.reason, state.isClosing ? cutShort(event.reason) : undefined);
    case "broken":
      return fail(event.error);
  }
}

function nextWhileEnding(state: ReconnectorState & { readonly type: "ending" }, event: ReconnectorEvent): Step {
  const { closeError } = state;
  switch (event.type) {
    case "lost":
      return [
        { type: "closed", error: closeError },
        { type: "finish", error: closeError, closeError },
      ];
    case "close-timeout":
    case "destroy":
      // Everything was flushed, or its failure is known: a goodbye cut short loses nothing.
      return end(closeError);
    case "broken":
      return fail(event.error);
    default:
      return [state];
  }
}

function lose(
  state: ReconnectorState & Running,
  { error, retryClass }: { error: unknown; retryClass: RetryClass },
): Step {
  const attempt = state.attempt + 1;
  const report = { type: "report", error, retryClass, attempt } as const;
  if (retryClass === "fatal") {
    return [
      { type: "failed", error },
      { ...report, isRetried: false },
      { type: "finish", error, closeError: error },
    ];
  }
  if (attempt >= state.maxAttempts) {
    const gaveUp = new StreamError("GAVE_UP", `${attempt} attempts in a row failed, and maxAttempts is that many`, {
      cause: error,
      retryable: true,
    });
    return [
      { type: "failed", error: gaveUp },
      { ...report, isRetried: false },
      { type: "finish", error: gaveUp, closeError: gaveUp },
    ];
  }
  return [
    { ...state, type: "waiting", attempt },
    { ...report, isRetried: true },
  ];
}

/** Nothing is left to flush. */
function wind(state: ReconnectorState & Running, closeError: unknown): Step {
  if (state.type === "live") return [{ type: "ending", closeError }, { type: "close-connection" }];
  return end(closeError);
}

function end(error: unknown, closeError: unknown = error): Step {
  return [
    { type: "closed", error },
    { type: "cut", reason: error },
    { type: "finish", error, closeError },
  ];
}

function fail(error: unknown): Step {
  return [
    { type: "failed", error },
    { type: "cut", reason: error },
    { type: "finish", error, closeError: error },
  ];
}

function closeTimeout(): StreamError {
  return new StreamError("CLOSE_TIMEOUT", "The flush did not finish within closeTimeoutMs, and the stream was cut");
}

function cutShort(reason: unknown): StreamError {
  return new StreamError("CLOSED", "destroy() came before the flush of close() was done", { cause: reason });
}
