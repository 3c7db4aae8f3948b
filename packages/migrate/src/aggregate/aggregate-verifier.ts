import type { SqlConnection } from "../connection.ts";
import { encodeKey } from "../key-codec.ts";
import type { ScanContext } from "./aggregate-body.ts";
import type { Aggregate } from "./aggregate.ts";
import { ChildScan, isUnfit, Unfit } from "./child-scan.ts";

/** Rows that are compared at a time. */
const rowsAtOnce = 2000;
/** How long one snapshot is kept: what others write meanwhile stays in the WAL. */
const maxSnapshotMs = 30_000;

/**
 * Keys of the rows that are not what their children make of them, seen in one snapshot, so that no write of others can hide
 * a wrong row or accuse a right one. Undefined: that cannot be had here, or would keep a snapshot for too long.
 */
export async function findWrongParents(
  context: ScanContext,
  aggregate: Aggregate,
  bound: number,
  openSnapshots: () => Promise<SqlConnection>,
): Promise<string[] | undefined> {
  const { plan } = context;
  const snapshots = await openSnapshots();
  const startMs = context.monotonic();
  const pause = async (tookMs: number) => {
    if (context.monotonic() - startMs > maxSnapshotMs) throw new Unfit("it takes too long for one snapshot");
    await context.pause(tookMs);
  };
  try {
    await snapshots.execute({ sql: "begin", params: [] });
    return await compare(
      new ChildScan(plan, aggregate, context.sliceMs, context.monotonic),
      aggregate,
      bound,
      snapshots,
      pause,
    );
  } catch (error) {
    if (isUnfit(error, plan.database.dialect)) return undefined;
    throw error;
  } finally {
    // Closing ends the snapshot.
    await snapshots.close();
  }
}

async function compare(
  scan: ChildScan,
  aggregate: Aggregate,
  bound: number,
  snapshots: SqlConnection,
  pause: ScanContext["pause"],
): Promise<string[]> {
  const wrong: string[] = [];
  const otherwise = aggregate.columns.map((each) => each.otherwise as number | null);
  let [next] = await scan.rows(-Number.MAX_SAFE_INTEGER, bound, 1, snapshots);
  while (next !== undefined) {
    const first = next[0];
    if (!Number.isSafeInteger(first)) throw new Unfit("its keys are too large");
    const { tally } = await scan.window(first as number, bound, snapshots, pause);
    const last = Math.min(tally.first + tally.size - 1, bound);
    for (let from = tally.first - 1; ; ) {
      const rows = await scan.rows(from, last, rowsAtOnce, snapshots);
      for (const [key, ...values] of rows as readonly (readonly number[])[]) {
        if (!Number.isSafeInteger(key)) throw new Unfit("its keys are no integers");
        const isRight =
          tally.isSure(key as number) &&
          values.every((value, index) => value === (tally.value(index, key as number) ?? otherwise[index]));
        if (!isRight) wrong.push(encodeKey([BigInt(key as number)]));
      }
      if (rows.length < rowsAtOnce) break;
      from = rows.at(-1)?.[0] as number;
      await pause(0);
    }
    [next] = await scan.rows(last, bound, 1, snapshots);
  }
  return wrong;
}
