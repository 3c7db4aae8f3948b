import type { SqlValue } from "./connection.ts";
import type { RunPhase, RunState } from "./run-state.ts";

/** How sure a total is. `pending`: not counted yet. `none`: counting took too long. */
export type TotalKind = "pending" | "exact" | "estimate" | "none";

/** `repair` visits only what verification found wrong, where the body can be asked. */
export type RunPass = "copy" | "repair";

/** A run as the books have it. Times are ms since the epoch. */
export interface RunRow {
  readonly name: string;
  readonly definitionHash: string;
  readonly body: string;
  readonly tableName: string;
  readonly state: RunState;
  readonly runNo: number;
  readonly pass: RunPass;
  readonly fence: number;
  readonly owner: string | undefined;
  readonly leaseExpiresAt: number | undefined;
  readonly heartbeatAt: number | undefined;
  readonly heartbeatMs: number;
  readonly beat: number;
  readonly cursor: string | undefined;
  readonly bound: string | undefined;
  readonly isBounded: boolean;
  readonly isExhausted: boolean;
  readonly total: number | undefined;
  readonly totalKind: TotalKind;
  readonly rowsDone: number;
  readonly rowsChanged: number;
  readonly rowsQuarantined: number;
  readonly chunks: number;
  readonly spentMs: number;
  readonly yieldedMs: number;
  readonly throttleReason: string | undefined;
  /** JSON: knobs that were changed, see {@link tunedBy}. */
  readonly tuning: string | undefined;
  readonly errorCode: string | undefined;
  readonly error: string | undefined;
  readonly registeredAt: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly updatedAt: number;
  readonly rateAt: number | undefined;
  readonly rateRows: number | undefined;
  readonly rateBeforeAt: number | undefined;
  readonly rateBeforeRows: number | undefined;
}

type Convert = (value: SqlValue) => unknown;
const number: Convert = Number;
const text: Convert = String;
const flag: Convert = (value) => Number(value) !== 0;
const optional =
  (convert: Convert): Convert =>
  (value) =>
    value === null ? undefined : convert(value);

const readers = {
  name: ["name", text],
  definitionHash: ["definition_hash", text],
  body: ["body", text],
  tableName: ["table_name", text],
  state: ["state", text],
  runNo: ["run_no", number],
  pass: ["pass", text],
  fence: ["fence", number],
  owner: ["owner", optional(text)],
  leaseExpiresAt: ["lease_expires_at", optional(number)],
  heartbeatAt: ["heartbeat_at", optional(number)],
  heartbeatMs: ["heartbeat_ms", number],
  beat: ["beat", number],
  cursor: ["cursor", optional(text)],
  bound: ["bound", optional(text)],
  isBounded: ["is_bounded", flag],
  isExhausted: ["is_exhausted", flag],
  total: ["total", optional(number)],
  totalKind: ["total_kind", text],
  rowsDone: ["rows_done", number],
  rowsChanged: ["rows_changed", number],
  rowsQuarantined: ["rows_quarantined", number],
  chunks: ["chunks", number],
  spentMs: ["spent_ms", number],
  yieldedMs: ["yielded_ms", number],
  throttleReason: ["throttle_reason", optional(text)],
  tuning: ["tuning", optional(text)],
  errorCode: ["error_code", optional(text)],
  error: ["error", optional(text)],
  registeredAt: ["registered_at", number],
  startedAt: ["started_at", optional(number)],
  endedAt: ["ended_at", optional(number)],
  updatedAt: ["updated_at", number],
  rateAt: ["rate_at", optional(number)],
  rateRows: ["rate_rows", optional(number)],
  rateBeforeAt: ["rate_before_at", optional(number)],
  rateBeforeRows: ["rate_before_rows", optional(number)],
} as const satisfies Record<keyof RunRow, readonly [string, Convert]>;

/** The columns of a run in the order {@link toRunRow} expects. */
export const runColumnNames: readonly string[] = Object.values(readers).map(([column]) => column);

export function toRunRow(values: readonly SqlValue[]): RunRow {
  const entries = Object.entries(readers).map(([property, [, convert]], index) => [
    property,
    convert(values[index] ?? null),
  ]);
  return Object.fromEntries(entries) as unknown as RunRow;
}

/** Where the work of a run stands. */
export function phaseOf(row: Pick<RunRow, "isBounded" | "totalKind" | "isExhausted">): RunPhase {
  if (!row.isBounded || row.totalKind === "pending") return "count";
  return row.isExhausted ? "verify" : "copy";
}
