import type { Version } from "../../gen/tidemark/admin/v1/admin_pb.ts";

const kept = 100;

/** The latest changes, newest first. */
export interface Activity {
  readonly changes: readonly Version[];
  /** The last change that was taken in. */
  readonly position: bigint;
}

export const noActivity: Activity = { changes: [], position: 0n };

/** Takes changes in log order; those that are known already change nothing. */
export function addActivity(activity: Activity, changes: readonly Version[]): Activity {
  const fresh = changes.filter((change) => change.position > activity.position);
  const last = fresh.at(-1);
  if (last === undefined) return activity;
  const newest = fresh.slice(-kept).reverse();
  return { changes: [...newest, ...activity.changes].slice(0, kept), position: last.position };
}
