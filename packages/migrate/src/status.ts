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
  /** Rows finished in a second, over the last ten to twenty seconds. Undefined: nobody copies, or nothing is known yet. */
  readonly rowsPerSecond: number | undefined;
  /** How long copying takes at this rate, in ms; verification comes after it. Undefined: not known. */
  readonly etaMs: number | undefined;
  /** The share of the time that was left to others, between 0 and 1. */
  readonly yieldShare: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly heartbeatAt: number | undefined;
  /** How often the worker gives a sign of life, in ms; 0: nobody has worked on it. */
  readonly heartbeatMs: number;
  /** When the books were last written. */
  readonly updatedAt: number;
  /** When this was read, by the clock that wrote the other times. */
  readonly readAt: number;
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
  const rowsPerSecond = stalled ? undefined : rateOf(row, nowMs);
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
    rowsPerSecond,
    etaMs: etaOf(row, rowsPerSecond),
    yieldShare: usedMs > 0 ? row.yieldedMs / usedMs : 0,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
    heartbeatAt: row.heartbeatAt,
    heartbeatMs: row.heartbeatMs,
    updatedAt: row.updatedAt,
    readAt: nowMs,
    owner: row.owner,
    throttleReason: row.throttleReason,
    error:
      state === "failed" && row.error !== undefined ? { code: row.errorCode ?? "", message: row.error } : undefined,
    isDrifted: definitionHash === undefined ? undefined : row.isBounded && definitionHash !== row.definitionHash,
    waitsFor: state === "done" ? [] : waitsFor,
  };
}

function rateOf(row: RunRow, nowMs: number): number | undefined {
  const { state, chunks, rateBeforeAt, rateBeforeRows } = row;
  if (state !== "running" && state !== "throttled") return undefined;
  if (chunks === 0 || rateBeforeAt === undefined || rateBeforeRows === undefined) return undefined;
  const elapsedMs = nowMs - rateBeforeAt;
  // The clocks of two machines may differ.
  if (elapsedMs <= 0) return undefined;
  const rows = row.rowsDone + row.rowsQuarantined - rateBeforeRows;
  return (Math.max(rows, 0) / elapsedMs) * 1000;
}

function etaOf({ total, rowsDone, rowsQuarantined }: RunRow, rowsPerSecond: number | undefined): number | undefined {
  if (total === undefined || rowsPerSecond === undefined || rowsPerSecond === 0) return undefined;
  return (Math.max(total - rowsDone - rowsQuarantined, 0) / rowsPerSecond) * 1000;
}

/** Never above what is done: the last step, verification, is not counted in rows. */
function progressOf({ state, total, rowsDone, rowsQuarantined }: RunRow): number | undefined {
  if (state === "done") return 1;
  if (total === undefined) return undefined;
  if (total === 0) return 0;
  return Math.min((rowsDone + rowsQuarantined) / total, 0.999);
}
