import type { Clock, Timer } from "@tidemark/clock";

// The page is an edge of the system, as apps are: here, and only here, it takes the browser's own time.
/* oxlint-disable no-restricted-globals, no-restricted-properties */

const timer = (cancel: () => void): Timer => ({
  cancel,
  ref() {
    return this;
  },
  unref() {
    return this;
  },
});

const setTimer = (delayMs: number, callback: () => void): Timer => {
  if (delayMs === Number.POSITIVE_INFINITY) return timer(() => {});
  const handle = setTimeout(callback, Math.min(Math.max(0, delayMs), 2 ** 31 - 1));
  return timer(() => clearTimeout(handle));
};

/** The browser's time. Delays are cut at 24 days: no page waits that long. */
export const browserClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer,
  setImmediate: (callback) => setTimer(0, callback),
  sleep: (delayMs, { signal } = {}) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        pending.cancel();
        reject(signal?.reason);
      };
      const pending = setTimer(delayMs, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    }),
};

/* oxlint-enable no-restricted-globals, no-restricted-properties */
