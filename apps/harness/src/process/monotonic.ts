/**
 * Milliseconds on a clock that all processes of this machine share. Node reads CLOCK_MONOTONIC (Linux) or what stands for
 * it, and unlike `performance.now()` it does not begin with the process.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
