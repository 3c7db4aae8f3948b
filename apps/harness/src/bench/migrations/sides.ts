import type { MigrationRun } from "../../roles/migrations-run-role.ts";
import type { PeerTimes } from "../../roles/migrations-peer-role.ts";
import { duration, type ReportRow } from "../report.ts";
import { median } from "../stats.ts";

export interface Latencies {
  readonly count: number;
  readonly refused: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** The worst without the time that a process waited for a processor; NaN where that is not known. */
  readonly ownMaxMs: number;
  readonly ownP99Ms: number;
}

/** One run of one contender, and what the others noticed. */
export interface Side {
  readonly run: MigrationRun;
  readonly walBytes: number;
  readonly reader: Latencies;
  readonly writer: Latencies;
  /** Rows that are not as the migration should have left them; undefined: whoever leaves any ends the benchmark. */
  readonly wrong?: number;
}

export function summaryOf(times: PeerTimes, everyMs = Number.NaN): Latencies {
  const { refused, latenciesMs } = times;
  const [p50Ms, p99Ms, maxMs] = ranksOf(latenciesMs);
  const [, ownP99Ms, ownMaxMs] = ranksOf(ownOf(times, everyMs));
  return { refused, count: latenciesMs.length, p50Ms, p99Ms, maxMs, ownP99Ms, ownMaxMs };
}

function ranksOf(values: Float64Array): readonly [p50: number, p99: number, max: number] {
  const sorted = values.toSorted();
  const at = (share: number) => sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? Number.NaN;
  return [at(0.5), at(0.99), at(1)];
}

/** What the operations would have taken had there been a processor for them and for those before them. */
function ownOf({ latenciesMs, queuedMs }: PeerTimes, everyMs: number): Float64Array {
  if (queuedMs === undefined) return new Float64Array();
  let endMs = 0;
  let ownEndMs = 0;
  return latenciesMs.map((latencyMs, index) => {
    const dueMs = (index + 1) * everyMs;
    const busyMs = dueMs + latencyMs - Math.max(dueMs, endMs);
    endMs = dueMs + latencyMs;
    ownEndMs = Math.max(dueMs, ownEndMs) + Math.max(busyMs - (queuedMs[index] ?? 0), 0);
    return ownEndMs - dueMs;
  });
}

/** Every run of every contender. */
export type Sides<Name extends string> = Map<Name, Side[]>;

/** A number of each run of a contender. */
export function valuesOf<Name extends string>(sides: Sides<Name>, name: Name, value: (side: Side) => number): number[] {
  return (sides.get(name) ?? []).map(value);
}

const columns = [
  "until done",
  "until written",
  "longest lock",
  "loop max",
  "reader p50",
  "p99",
  "max",
  "p99*",
  "max*",
  "writer p50",
  "p99",
  "max",
  "p99*",
  "max*",
  "refused",
  "WAL",
  "RSS",
] as const;

/** What the stars say. */
export const ownNote =
  "\\*: without the time in which that process was ready to run and had no processor, which is the machine's and not the database's.";

/** Medians of the repetitions; of what is a maximum, the highest of all. */
export function tableOf<Name extends string>(
  sides: Sides<Name>,
): { readonly columns: readonly string[]; readonly rows: ReportRow[] } {
  const rows = [...sides].map(([name, runs]): ReportRow => {
    const middle = (value: (side: Side) => number) => duration(median(runs.map(value)));
    const worst = (value: (side: Side) => number) => duration(Math.max(...runs.map(value)));
    const mega = (value: (side: Side) => number) => {
      const most = Math.max(...runs.map(value));
      return Number.isFinite(most) ? `${(most / 2 ** 20).toFixed(0)} MiB` : undefined;
    };
    return {
      name,
      cells: [
        middle(({ run }) => run.tookMs),
        middle(({ run }) => run.copyMs),
        worst(({ run }) => run.maxLockMs),
        worst(({ run }) => run.loopMaxMs),
        middle(({ reader }) => reader.p50Ms),
        middle(({ reader }) => reader.p99Ms),
        worst(({ reader }) => reader.maxMs),
        middle(({ reader }) => reader.ownP99Ms),
        worst(({ reader }) => reader.ownMaxMs),
        middle(({ writer }) => writer.p50Ms),
        middle(({ writer }) => writer.p99Ms),
        worst(({ writer }) => writer.maxMs),
        middle(({ writer }) => writer.ownP99Ms),
        worst(({ writer }) => writer.ownMaxMs),
        String(Math.max(...runs.map(({ reader, writer }) => reader.refused + writer.refused))),
        mega(({ walBytes }) => walBytes),
        mega(({ run }) => run.peakRssBytes),
      ],
    };
  });
  return { columns, rows };
}

/** Others alone, for a while. */
export async function nothing(tookMs: number): Promise<MigrationRun> {
  await new Promise((resolve) => setTimeout(resolve, tookMs));
  const none = Number.NaN;
  return {
    tookMs,
    copyMs: none,
    maxLockMs: none,
    chunks: none,
    loopMaxMs: none,
    loopP99Ms: none,
    peakRssBytes: none,
    growthBytes: none,
  };
}
