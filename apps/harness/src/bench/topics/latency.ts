import type { ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import { ratioGoal } from "./goals.ts";
import { interleave, runsOf } from "./interleave.ts";
import type { TopicsBenchOptions } from "./options.ts";
import { runWrite, type WriteRun } from "./run-write.ts";
import { tidemark, ydbSdk } from "./write.ts";

const limit = "raw http2";

/** How long one message takes to its acknowledgment when no other is under way. */
export async function benchLatency(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  options.say("latency: 100 B, one message under way");
  const setting = {
    mode: "one",
    payloadBytes: 100,
    partitions: 1,
    batch: 1,
    window: 1,
    messages: options.quick ? 500 : 5_000,
  } as const;
  const contender = (name: string, writer: "tidemark" | "ydb-sdk" | "connect" | "raw") => ({
    name,
    run: () => runWrite({ ...setting, writer }, options),
  });
  const measured = await interleave(
    [
      contender(tidemark, "tidemark"),
      contender(ydbSdk, "ydb-sdk"),
      contender("connect-node", "connect"),
      contender(limit, "raw"),
    ],
    options,
    ({ p50Ms = Number.NaN, p99Ms = Number.NaN }) => `p50 ${micros(p50Ms)}, p99 ${micros(p99Ms)}`,
  );
  const p50 = (name: string) => runsOf(measured, name).map(({ p50Ms }) => p50Ms ?? Number.NaN);
  const p99 = (name: string) => runsOf(measured, name).map(({ p99Ms }) => p99Ms ?? Number.NaN);
  const atMost = { bound: "at most" } as const;
  return [
    {
      title: "Latency: 100 B, one message under way",
      notes: ["From the call to the acknowledgment in the caller's hands. Medians of each run's percentiles."],
      columns: ["p50", "p99"],
      rows: measured.map(({ name, runs }) => ({
        name,
        cells: [micros(medianOf(runs, ({ p50Ms }) => p50Ms)), micros(medianOf(runs, ({ p99Ms }) => p99Ms))],
      })),
      goals: [
        ratioGoal({
          name: "W6 acknowledgment against ydb-sdk, p50",
          over: p50(tidemark),
          under: p50(ydbSdk),
          gate: 1.3,
          goal: 1,
          ...atMost,
        }),
        ratioGoal({
          name: "W6 acknowledgment against ydb-sdk, p99",
          over: p99(tidemark),
          under: p99(ydbSdk),
          gate: 0.7,
          goal: 0.4,
          ...atMost,
        }),
        ratioGoal({
          name: "W6 acknowledgment against raw http2, p50",
          over: p50(tidemark),
          under: p50(limit),
          gate: 2,
          goal: 1.3,
          ...atMost,
        }),
      ],
      raw: measured,
    },
  ];
}

const medianOf = (runs: readonly WriteRun[], pick: (run: WriteRun) => number | undefined) =>
  median(runs.map((run) => pick(run) ?? Number.NaN));

function micros(ms: number): string {
  return Number.isFinite(ms) ? `${(ms * 1000).toFixed(0)} µs` : "–";
}
