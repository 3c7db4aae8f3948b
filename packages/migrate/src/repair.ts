import { sql } from "drizzle-orm";
import { computeAgain, isSplit } from "./body-split.ts";
import { decodeKey } from "./key-codec.ts";
import type { Key } from "./plan.ts";
import { gapAfter } from "./pace.ts";
import type { RunHandle } from "./run-handle.ts";

/** Rows in one transaction: each is computed under the lock. */
export const rowsAtOnce = 10;

/** Puts wrong rows right, and resolves with the keys of those that still are wrong. */
export type Repair = (keys: readonly string[]) => Promise<string[]>;

/**
 * A value that was computed before its transaction can have been overtaken by a write to the rows it was computed from.
 * Verification finds it, and here it is computed under the lock. Undefined where nothing of that kind can have happened:
 * there a wrong row means that the definition and the application contradict each other, which is for people to decide.
 */
export function repairOf(run: RunHandle): Repair | undefined {
  const { plan, lease, migration } = run;
  if (!isSplit(plan)) return undefined;
  const { ledger, worker, clock } = run.context;
  return async (encoded) => {
    const wrong: string[] = [];
    for (let from = 0; from < encoded.length; from += rowsAtOnce) {
      const keys = encoded.slice(from, from + rowsAtOnce).map(decodeKey);
      await run.waitForSignals();
      let startMs = clock.monotonic();
      const left = await plan.database.transaction("write", async (executor) => {
        startMs = clock.monotonic();
        await ledger.hold(lease, executor, ["verifying"]);
        const changed = await computeAgain(plan, keys, executor);
        await ledger.update(lease, worker, { rows_changed: sql`rows_changed + ${changed}` }, executor);
        const still: Key[] = [];
        for (const key of keys) {
          const range = { after: undefined, upTo: key, isSingle: true };
          if ((await executor.execute(plan.wrongQuery(range, 1))).rows.length > 0) still.push(key);
        }
        return still;
      });
      wrong.push(...encoded.slice(from, from + rowsAtOnce).filter((_, index) => left.includes(keys[index] as Key)));
      await run.rest(gapAfter(clock.monotonic() - startMs, migration.tuning));
    }
    run.trouble("repair", `${encoded.length - wrong.length} rows were overtaken by writes and are computed again`);
    return wrong;
  };
}
