import type { Clock } from "@tidemark/clock";
import type { MigrationTuning } from "./options.ts";
import type { Key, KeyRange, Plan } from "./plan.ts";
import { initialServo, nextServo } from "./servo.ts";
import type { Stride } from "./stride.ts";

/** A range and how many keys it has, which is fewer where it is the last one or was not looked for. */
export type Slice = KeyRange & { readonly rows: number; readonly isLast: boolean };

/**
 * Walks over all keys up to a bound without writing: slices sized by time, where time is what passes until the next one is
 * asked for. Rests belong behind the slice, in `rest`, which is not counted. With `stride` no end is looked for.
 */
export async function* slicesOf(
  plan: Plan,
  bound: Key,
  tuning: Required<MigrationTuning>,
  clock: Clock,
  rest: (tookMs: number) => Promise<void>,
  stride?: Stride,
): AsyncGenerator<Slice, void, void> {
  let servo = initialServo(tuning);
  let after: Key | undefined;
  for (;;) {
    const startMs = clock.monotonic();
    const range = stride?.next(after, servo.rows) ?? (await plan.nextRange(after, bound, servo.rows));
    yield { ...range, rows: servo.rows };
    const tookMs = clock.monotonic() - startMs;
    if (range.isLast) return;
    [servo] = nextServo(servo, { type: "measured", rows: servo.rows, tookMs }, tuning);
    after = range.upTo;
    await rest(tookMs);
  }
}
