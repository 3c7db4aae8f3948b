import { type Clock, systemClock } from "@tidemark/clock";
import type { Migration } from "./definition.ts";
import type { Database } from "./dialect.ts";
import { decodeKey } from "./key-codec.ts";
import { Ledger } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import { gapAfter } from "./pace.ts";
import { Plan } from "./plan.ts";
import { Quarantine } from "./quarantine.ts";
import { Stride } from "./stride.ts";
import { findWrong, verifierOf } from "./verifier.ts";
import { slicesOf } from "./walk.ts";

/** What looking again at the rows of a migration has found. */
export interface VerifyReport {
  readonly name: string;
  /** `unverifiable`: its rows show nothing of what was done, as with effects elsewhere. */
  readonly verdict: "right" | "wrong" | "unverifiable";
  /** Which rows are wrong, or that some are in quarantine. */
  readonly problem: string | undefined;
  readonly quarantined: number;
  readonly tookMs: number;
}

/**
 * Looks once more at every row up to the bound of the run, as verification did, whatever state it is in now. It changes
 * nothing, takes no lock, and rests like the run did.
 *
 * @throws {MigrateError} `NOT_FOUND` when the books do not know it, `STATE_REFUSED` when it has not begun, `KEY_INVALID`
 */
export async function verifyAgain(
  database: Database,
  definition: Migration,
  { clock = systemClock, signal }: { readonly clock?: Clock; readonly signal?: AbortSignal } = {},
): Promise<VerifyReport> {
  const { name, tuning } = definition;
  const startMs = clock.monotonic();
  const row = await new Ledger(database, clock).read(name);
  if (!row.isBounded) {
    throw new MigrateError("STATE_REFUSED", `"${name}" has not begun, so there is nothing to verify yet; run it`);
  }
  const plan = new Plan(definition, database, "copy");
  await plan.requireKey();
  const quarantined = await new Quarantine(database).list(name);
  const verifier = verifierOf(plan);
  const report = (verdict: VerifyReport["verdict"], problem?: string): VerifyReport => {
    return { name, verdict, problem, quarantined: quarantined.length, tookMs: clock.monotonic() - startMs };
  };
  if (verifier === undefined) return report("unverifiable");
  const setAside = new Set(quarantined.map(({ key }) => key));
  if (row.bound !== undefined) {
    const rest = (tookMs: number) =>
      clock.sleep(Math.max(gapAfter(tookMs, tuning), 0), signal === undefined ? {} : { signal });
    const bound = decodeKey(row.bound);
    const stride = await Stride.of(plan, bound, row.rowsDone);
    const slices = slicesOf(plan, bound, tuning, clock, rest, stride);
    const wrong = await findWrong(verifier, slices, setAside);
    if (wrong !== undefined) return report("wrong", wrong);
  }
  const held = quarantined.filter(({ state }) => state === "held");
  return held.length === 0 ? report("right") : report("wrong", `${held.length} rows are in quarantine`);
}
