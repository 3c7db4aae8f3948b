import type { Clock } from "@tidemark/clock";
import type { MigrationTuning } from "./options.ts";
import type { Key, KeyRange, Plan } from "./plan.ts";
import { initialServo, nextServo } from "./servo.ts";

/**
 * Walks over all keys up to a bound without writing: slices sized by time, where time is what passes until the next one is
 * asked for. Rests belong behind the slice, in `rest`, which is not counted.
 */
export async function* slicesOf(
  plan: Plan,
  bound: Key,
  tuning: Required<MigrationTuning>,
  clock: Clock,
  rest: (tookMs: number) => Promise<void>,
): AsyncGenerator<KeyRange, void, void> {
  let servo = initialServo(tuning);
  let after: Key | undefined;
  for (;;) {
    const startMs = clock.monotonic();
    const range = await plan.nextRange(after, bound, servo.rows);
    yield range;
    const tookMs = clock.monotonic() - startMs;
    if (range.isLast) return;
    [servo] = nextServo(servo, { type: "measured", rows: servo.rows, tookMs }, tuning);
    after = range.upTo;
    await rest(tookMs);
  }
}
