import type { BodyRunner } from "../chunk.ts";
import { decodeKey } from "../key-codec.ts";
import { gapAfter } from "../pace.ts";
import type { KeyRange } from "../plan.ts";
import type { RunHandle } from "../run-handle.ts";
import { aggregateBody, type ScanContext, scannable } from "./aggregate-body.ts";
import { findWrongParents } from "./aggregate-verifier.ts";
import { Unfit } from "./child-scan.ts";

/** How long one slice of a scan may take, in milliseconds. */
const sliceMs = 5;

/** The body of a run whose children are read in a row; undefined: it is not of that kind. */
export function aggregateRunner(run: RunHandle): BodyRunner | undefined {
  const aggregate = scannable(run.plan);
  if (aggregate === undefined) return undefined;
  const pause = async (tookMs: number) => {
    await run.waitForSignals();
    await run.tidyUp();
    await rest(run, tookMs);
  };
  return aggregateBody(contextOf(run, pause), aggregate);
}

/**
 * The rows of a run that verification has to look at one by one, because they are not what their children make of them.
 * Undefined: it has to look at all.
 */
export async function suspectsOf(run: RunHandle): Promise<AsyncIterable<KeyRange> | undefined> {
  const aggregate = scannable(run.plan);
  const { openSnapshots } = run.context.database;
  if (aggregate === undefined || openSnapshots === undefined) return undefined;
  const pause = async (tookMs: number) => {
    // A snapshot keeps the WAL from being emptied: it must not be held while others are waited for.
    if (run.context.board.verdict(false).isThrottled) throw new Unfit("a signal objects");
    await rest(run, tookMs);
  };
  const keys = await findWrongParents(contextOf(run, pause), aggregate, Number(run.bound()[0]), openSnapshots);
  return keys === undefined ? undefined : one(run, keys);
}

async function* one(run: RunHandle, keys: readonly string[]): AsyncGenerator<KeyRange, void, void> {
  for (const key of keys) {
    yield { after: undefined, upTo: decodeKey(key), isSingle: true };
    await run.sleep(0);
  }
}

function contextOf(run: RunHandle, pause: ScanContext["pause"]): ScanContext {
  return {
    plan: run.plan,
    bound: () => run.bound(),
    sliceMs,
    monotonic: () => run.context.clock.monotonic(),
    pause,
    tell: (message) => run.trouble("fallback", message),
  };
}

/** Reading is in nobody's way but that of this thread. */
function rest(run: RunHandle, tookMs: number): Promise<void> {
  const { isShared } = run.context;
  return run.rest(isShared ? gapAfter(tookMs, run.migration.tuning) : 0);
}
