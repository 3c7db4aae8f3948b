import type { RunRow, TotalKind } from "./run-row.ts";
import { isStalled, type RunState } from "./run-state.ts";

/** What is known about a migration, from the books. Times are ms since the epoch. */
export interface MigrationStatus {
  readonly name: string;
  /** `stalled`: the books say that somebody works, but there was no sign of life for two heartbeats. */
  readonly state: RunState | "stalled";
  /** What the books say; differs from `state` for `stalled` alone. */
  readonly storedState: RunState;
  /** Counts from 1; each retry is a new run. */
  readonly runNo: number;
  /** Rows that were dealt with, over all runs. */
  readonly rowsDone: number;
  /** Rows of them that were written. */
  readonly rowsChanged: number;
  readonly rowsQuarantined: number;
  /** Undefined: not known. */
  readonly total: number | undefined;
  readonly totalKind: TotalKind;
  /** Between 0 and 1; undefined: not known. Exactly 1 for what is done, and below it for everything else. */
  readonly progress: number | undefined;
  readonly chunks: number;
  /** The share of the time that was left to others, between 0 and 1. */
  readonly yieldShare: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly heartbeatAt: number | undefined;
  /** Who works on it. */
  readonly owner: string | undefined;
  /** What holds it back. */
  readonly throttleReason: string | undefined;
  /** Why it failed. */
  readonly error: { readonly code: string; readonly message: string } | undefined;
  /** Whether the definition here is another than the one the run began with; undefined: there is none here. */
  readonly isDrifted: boolean | undefined;
  /** Migrations that have to be done first and are not. */
  readonly waitsFor: readonly string[];
}

export function toStatus(
  row: RunRow,
  nowMs: number,
  definitionHash: string | undefined,
  waitsFor: readonly string[],
): MigrationStatus {
  const { name, state, runNo, rowsDone, rowsChanged, rowsQuarantined, total, totalKind, chunks } = row;
  const stalled = isStalled(state, nowMs - (row.heartbeatAt ?? row.updatedAt), row.heartbeatMs);
  const usedMs = row.spentMs + row.yieldedMs;
  return {
    name,
    state: stalled ? "stalled" : state,
    storedState: state,
    runNo,
    rowsDone,
    rowsChanged,
    rowsQuarantined,
    total,
    totalKind,
    progress: progressOf(row),
    chunks,
    yieldShare: usedMs > 0 ? row.yieldedMs / usedMs : 0,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
    heartbeatAt: row.heartbeatAt,
    owner: row.owner,
    throttleReason: row.throttleReason,
    error:
      state === "failed" && row.error !== undefined ? { code: row.errorCode ?? "", message: row.error } : undefined,
    isDrifted: definitionHash === undefined ? undefined : row.isBounded && definitionHash !== row.definitionHash,
    waitsFor: state === "done" ? [] : waitsFor,
  };
}

/** Never above what is done: the last step, verification, is not counted in rows. */
function progressOf({ state, total, rowsDone, rowsQuarantined }: RunRow): number | undefined {
  if (state === "done") return 1;
  if (total === undefined) return undefined;
  if (total === 0) return 0;
  return Math.min((rowsDone + rowsQuarantined) / total, 0.999);
}
