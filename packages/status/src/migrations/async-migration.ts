import { errorText } from "../error-text.ts";
import type { MigrationSample } from "./migration-sample.ts";

/**
 * What a migration is, to whoever waits for it. `running` is everything that goes on or will: registered, counting,
 * running, throttled and verifying. `unknown` is whatever this version does not know.
 */
export type AsyncMigrationStatus = "running" | "stalled" | "paused" | "done" | "failed" | "cancelled" | "unknown";

/** One migration in JSON. Times are ISO 8601 in UTC, numbers that are not known are 0 or left out. */
export interface AsyncMigration {
  readonly name: string;
  readonly status: AsyncMigrationStatus;
  /** The finer state, as the books have it. */
  readonly state: string;
  readonly startedAt?: string;
  readonly endedAt?: string;
  /** The last chunk or sign of life. */
  readonly lastUpdateAt?: string;
  readonly heartbeatAt?: string;
  readonly rowsProcessed: number;
  /** 0: not known. */
  readonly rowsTotal: number;
  readonly rowsChanged: number;
  readonly rowsQuarantined: number;
  /** `pending`, `exact`, `estimate` or `none`. */
  readonly totalKind: string;
  /** Between 0 and 1, and 1 for what is done alone; left out: not known. */
  readonly progress?: number;
  readonly elapsedSec: number;
  /** 0: not known. */
  readonly etaSec: number;
  /** Over the last ten to twenty seconds; 0: not known, or nothing moves. */
  readonly ratePerSec: number;
  /** The share of the time that was left to others, between 0 and 1. */
  readonly yieldShare: number;
  readonly throttleReason?: string;
  readonly chunks: number;
  /** Counts from 1; each retry is a new run. */
  readonly runNo: number;
  readonly owner?: string;
  /** Migrations that have to be done first and are not. */
  readonly waitsFor: readonly string[];
  readonly errorCode?: string;
  /** Why it failed; and for every status, which time cannot be read. */
  readonly errorMessage?: string;
}

const statuses: Readonly<Record<string, AsyncMigrationStatus>> = {
  registered: "running",
  counting: "running",
  running: "running",
  throttled: "running",
  verifying: "running",
  stalled: "stalled",
  paused: "paused",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
};
const active = new Set(["counting", "running", "throttled", "verifying"]);

/** Whether somebody may wait for it: everything but what is over. What is not understood is not over. */
export function isUnfinished({ status }: Pick<AsyncMigration, "status">): boolean {
  return status !== "done" && status !== "failed" && status !== "cancelled";
}

/** A sample as it is shown `ageMs` after it was read: time has gone on, and a worker that was silent is silent still. */
export function toAsyncMigration(sample: MigrationSample, ageMs: number): AsyncMigration {
  const state = stateAt(sample, ageMs);
  const status = Object.hasOwn(statuses, state) ? (statuses[state] ?? "unknown") : "unknown";
  const problems: string[] = [];
  const time = (name: string, ms: number | undefined) => {
    if (ms === undefined) return {};
    const date = new Date(ms);
    if (!Number.isNaN(date.getTime())) return { [name]: date.toISOString() };
    problems.push(`${name}: ${String(ms)} is no time`);
    return {};
  };
  const times = {
    ...time("startedAt", sample.startedAt),
    ...time("endedAt", sample.endedAt),
    ...time("lastUpdateAt", sample.updatedAt),
    ...time("heartbeatAt", sample.heartbeatAt),
  };
  if (status === "failed") problems.unshift(errorText(sample.error?.message || "unknown error"));
  const isMoving = status === "running";
  const { throttleReason, owner, error } = sample;
  return {
    name: String(sample.name),
    status,
    state,
    ...times,
    rowsProcessed: count(sample.rowsDone),
    rowsTotal: count(sample.total),
    rowsChanged: count(sample.rowsChanged),
    rowsQuarantined: count(sample.rowsQuarantined),
    totalKind: String(sample.totalKind),
    ...shareOf(sample.progress, status),
    elapsedSec: elapsedSec(sample, ageMs, status),
    etaSec: isMoving ? round(count(sample.etaMs) / 1000) : 0,
    ratePerSec: isMoving ? round(count(sample.rowsPerSecond)) : 0,
    yieldShare: Math.min(count(sample.yieldShare), 1),
    ...(throttleReason === undefined ? {} : { throttleReason: errorText(throttleReason) }),
    chunks: count(sample.chunks),
    runNo: count(sample.runNo),
    ...(owner === undefined ? {} : { owner }),
    waitsFor: sample.waitsFor,
    ...(status === "failed" && error !== undefined ? { errorCode: error.code } : {}),
    ...(problems.length > 0 ? { errorMessage: problems.join(" | ") } : {}),
  };
}

function stateAt(sample: MigrationSample, ageMs: number): string {
  const { storedState, heartbeatAt, updatedAt, heartbeatMs, readAt, state } = sample;
  if (!active.has(storedState)) return String(state);
  const silentMs = readAt - (heartbeatAt ?? updatedAt) + ageMs;
  // Not a number: it cannot be known to live.
  return silentMs <= 2 * heartbeatMs ? String(state) : "stalled";
}

function elapsedSec({ startedAt, endedAt, readAt }: MigrationSample, ageMs: number, status: string): number {
  const isOver = status === "done" || status === "failed" || status === "cancelled";
  const endMs = isOver ? endedAt : readAt + ageMs;
  return startedAt === undefined || endMs === undefined ? 0 : round(count(endMs - startedAt) / 1000);
}

function shareOf(progress: number | undefined, status: AsyncMigrationStatus): { readonly progress?: number } {
  if (status === "done") return { progress: 1 };
  if (progress === undefined || Number.isNaN(progress)) return {};
  return { progress: Math.min(Math.max(progress, 0), 0.999) };
}

/** A number that can be shown: neither negative nor endless. */
const count = (value: number | undefined) => (Number.isFinite(value) ? Math.max(value ?? 0, 0) : 0);
const round = (value: number) => Math.round(value * 10) / 10;
