import type { Clock } from "./clock.ts";
import { ClockError } from "./clock-error.ts";

/** A signal that aborts on its own when time is up. Disposing it lets go of its timer and of the parent. */
export interface Deadline {
  readonly signal: AbortSignal;
  [Symbol.dispose](): void;
}

/**
 * Aborts after `delayMs` with a `ClockError` of code `TIMEOUT`, or with the parent's reason when that aborts first. What
 * `AbortSignal.timeout` and `AbortSignal.any` do, on an injected clock and without anything left behind:
 *
 *     using limit = deadline(clock, 5_000, options.signal);
 *     await fetchPage({ signal: limit.signal });
 *
 * Does not keep the process alive. Once disposed the signal no longer changes.
 *
 * @throws {ClockError} `OPTIONS_INVALID` when `delayMs` is NaN.
 */
export function deadline(clock: Pick<Clock, "setTimer">, delayMs: number, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  if (parent?.aborted) {
    controller.abort(parent.reason);
    return { signal: controller.signal, [Symbol.dispose]() {} };
  }
  const timer = clock.setTimer(delayMs, () => {
    parent?.removeEventListener("abort", onParentAbort);
    controller.abort(new ClockError("TIMEOUT", `Not done within ${delayMs} ms`, { retryable: true }));
  });
  timer.unref();
  const onParentAbort = () => {
    timer.cancel();
    controller.abort(parent?.reason);
  };
  parent?.addEventListener("abort", onParentAbort, { once: true });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      timer.cancel();
      parent?.removeEventListener("abort", onParentAbort);
    },
  };
}
