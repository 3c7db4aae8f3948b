import type { Clock, SleepOptions, Timer } from "./clock.ts";
import { ClockError } from "./clock-error.ts";

/** `Clock.sleep` in terms of `Clock.setTimer`, shared by every clock. */
export function sleepWith(
  setTimer: Clock["setTimer"],
  delayMs: number,
  { signal, isRef = true }: SleepOptions = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    let timer: Timer;
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    timer = setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    if (!isRef) timer.unref();
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A delay as every clock counts it: never negative, possibly infinite, never NaN. */
export function checkedDelay(delayMs: number): number {
  if (Number.isNaN(delayMs)) throw new ClockError("OPTIONS_INVALID", "delayMs must be a number, got NaN");
  return Math.max(0, delayMs);
}
