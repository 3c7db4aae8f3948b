import { type Clock, deadline, type Rng, systemClock, systemRng } from "@tidemark/clock";

export interface RetryOptions {
  readonly clock?: Clock;
  readonly rng?: Rng;
  readonly signal?: AbortSignal;
}

/** Calls until it works, with a growing wait in between, and gives up after a minute. */
export async function retry<T>(call: (signal: AbortSignal) => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { clock = systemClock, rng = systemRng } = options;
  using limit = deadline(clock, 60_000, options.signal);
  for (let waitMs = 100; ; waitMs *= 2) {
    try {
      return await call(limit.signal);
    } catch {
      await clock.sleep(rng.float() * waitMs, { signal: limit.signal });
    }
  }
}

console.log(await retry(async () => "works"));
