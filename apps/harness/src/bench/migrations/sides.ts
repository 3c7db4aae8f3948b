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
}

/** One run of one contender, and what the others noticed. */
export interface Side {
  readonly run: MigrationRun;
  readonly walBytes: number;
  readonly reader: Latencies;
  readonly writer: Latencies;
}

export function summaryOf({ latenciesMs, refused }: PeerTimes): Latencies {
  const sorted = Float64Array.from(latenciesMs).sort();
  const at = (share: number) => sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? Number.NaN;
  return { refused, count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
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
  "writer p50",
  "p99",
  "max",
  "refused",
  "WAL",
  "RSS",
] as const;

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
        middle(({ writer }) => writer.p50Ms),
        middle(({ writer }) => writer.p99Ms),
        worst(({ writer }) => writer.maxMs),
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
  return { tookMs, copyMs: none, maxLockMs: none, chunks: none, loopMaxMs: none, loopP99Ms: none, peakRssBytes: none };
}
