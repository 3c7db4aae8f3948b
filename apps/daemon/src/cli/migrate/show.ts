import type { MigrationStatus } from "@tidemark/migrate";
import { safeText } from "../format/bytes.ts";
import { formatTable } from "../format/table.ts";
import { formatDuration } from "../format/time.ts";
import type { Style } from "../format/style.ts";
import { redact } from "../../redact.ts";

const count = (value: number) => value.toLocaleString("en-US");

/** `12,000 / 71,000 rows`. */
export function countsOf({ rowsDone, total, totalKind, rowsQuarantined }: MigrationStatus): string {
  const of = total === undefined ? "" : ` / ${totalKind === "estimate" ? "about " : ""}${count(total)}`;
  const quarantined = rowsQuarantined === 0 ? "" : `, ${count(rowsQuarantined)} in quarantine`;
  return `${count(rowsDone)}${of} rows${quarantined}`;
}

function percentOf({ progress }: MigrationStatus): string {
  return progress === undefined ? "" : `${Math.floor(progress * 100)}%`;
}

const rateOf = ({ rowsPerSecond }: MigrationStatus) =>
  rowsPerSecond === undefined ? "" : `${count(Math.round(rowsPerSecond))}/s`;
const etaOf = ({ etaMs }: MigrationStatus) => (etaMs === undefined ? "" : formatDuration(Math.max(etaMs, 1000)));

/** What a person should know beside the numbers. */
export function remarkOf(status: MigrationStatus): string {
  const { state, error, throttleReason, waitsFor, heartbeatAt, readAt } = status;
  const parts: string[] = [];
  if (error !== undefined) parts.push(`${error.code}: ${error.message.replace(/^\[\w+\] /, "")}`);
  if (throttleReason !== undefined) parts.push(`held back: ${throttleReason}`);
  if (waitsFor.length > 0) parts.push(`waits for ${waitsFor.join(", ")}`);
  if (state === "stalled" && heartbeatAt !== undefined) {
    parts.push(`no sign of life for ${formatDuration(readAt - heartbeatAt)}`);
  }
  if (status.isDrifted === true) parts.push("its definition has changed");
  return safeText(redact(parts.join("; ")));
}

const colours: Readonly<Record<string, Parameters<Style>[0]>> = {
  done: "green",
  running: "cyan",
  counting: "cyan",
  verifying: "cyan",
  throttled: "yellow",
  paused: "yellow",
  failed: "red",
  stalled: "red",
};

function stateText({ state }: MigrationStatus, style: Style): string {
  const colour = colours[state];
  return colour === undefined ? state : style(colour, state);
}

/** A table of migrations for people. */
export function tableOf(statuses: readonly MigrationStatus[], style: Style): string {
  return formatTable(
    [
      { title: "MIGRATION" },
      { title: "STATE" },
      { title: "ROWS", align: "right" },
      { title: "DONE", align: "right" },
      { title: "RATE", align: "right" },
      { title: "ETA", align: "right" },
      { title: "YIELDS", align: "right" },
      { title: "" },
    ],
    statuses.map((status) => [
      status.name,
      stateText(status, style),
      countsOf(status).replace(/ rows/, ""),
      percentOf(status),
      rateOf(status),
      etaOf(status),
      status.chunks === 0 ? "" : `${Math.round(status.yieldShare * 100)}%`,
      remarkOf(status),
    ]),
    (text) => style("dim", text),
  );
}

/** One plain line: `fill running 12,000 / 71,000 rows 17% 4,300/s ETA 13s`. */
export function lineOf(status: MigrationStatus): string {
  const eta = etaOf(status);
  const parts = [status.name, status.state, countsOf(status), percentOf(status), rateOf(status)];
  if (eta !== "") parts.push(`ETA ${eta}`);
  const remark = remarkOf(status);
  if (remark !== "") parts.push(`(${remark})`);
  return parts.filter((part) => part !== "").join(" ");
}

const barCells = 24;

/** A line of a terminal with a bar in it, as wide as the terminal at most. */
export function barOf(status: MigrationStatus, style: Style, columns: number, nameWidth: number): string {
  const filled = Math.floor((status.progress ?? 0) * barCells);
  const bar = "█".repeat(filled) + "░".repeat(barCells - filled);
  const eta = etaOf(status);
  const tail = [
    percentOf(status).padStart(4),
    countsOf(status),
    rateOf(status),
    eta === "" ? "" : `ETA ${eta}`,
    remarkOf(status),
  ]
    .filter((part) => part.trim() !== "")
    .join("  ");
  const name = status.name.padEnd(nameWidth);
  const room = columns - name.length - barCells - status.state.length - 7;
  const shown = tail.length <= room ? tail : `${tail.slice(0, Math.max(room - 1, 0))}…`;
  return `${name}  ${style("cyan", bar)}  ${stateText(status, style)}  ${shown}`;
}

const time = (ms: number | undefined) =>
  ms === undefined || Number.isNaN(new Date(ms).getTime()) ? null : new Date(ms).toISOString();

/** What --json prints: everything that is known, null for what is not; times are ISO 8601 in UTC. */
export function jsonMigration(status: MigrationStatus) {
  const { startedAt, endedAt, heartbeatAt, updatedAt, readAt, error, ...rest } = status;
  return {
    name: rest.name,
    state: rest.state,
    storedState: rest.storedState,
    runNo: rest.runNo,
    rowsDone: rest.rowsDone,
    rowsChanged: rest.rowsChanged,
    rowsQuarantined: rest.rowsQuarantined,
    total: rest.total ?? null,
    totalKind: rest.totalKind,
    progress: rest.progress ?? null,
    chunks: rest.chunks,
    rowsPerSecond: rest.rowsPerSecond ?? null,
    etaMs: rest.etaMs ?? null,
    yieldShare: rest.yieldShare,
    throttleReason: rest.throttleReason === undefined ? null : redact(rest.throttleReason),
    startedAt: time(startedAt),
    endedAt: time(endedAt),
    heartbeatAt: time(heartbeatAt),
    heartbeatMs: rest.heartbeatMs,
    updatedAt: time(updatedAt),
    readAt: time(readAt),
    owner: rest.owner ?? null,
    waitsFor: rest.waitsFor,
    isDrifted: rest.isDrifted ?? null,
    error: error === undefined ? null : { code: error.code, message: redact(error.message) },
  };
}
