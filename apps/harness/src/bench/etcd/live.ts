import { startEtcd } from "@tidemark/source-etcd/testing";
import { startRole } from "../../role-process.ts";
import type { FollowRole } from "../../roles/follow-options.ts";
import type { LookRole } from "../../roles/look-role.ts";
import type { PutRole } from "../../roles/put-role.ts";
import { duration, type ReportSection } from "../report.ts";
import { median, percentile } from "../stats.ts";
import { asDaemon, type EtcdBenchOptions, profileArgs } from "./bench-options.ts";
import { benchFolder } from "./tidemark-run.ts";

const prefix = "/bench/";
const perSecond = 500;
const goalMs = 20;

interface LiveRun {
  readonly fromAcknowledged: Float64Array;
  readonly fromBefore: Float64Array;
  readonly putMs: Float64Array;
  readonly maxLateMs: number;
}

/** How long a change takes from etcd's acknowledgment until a stranger's SQL shows it. */
export async function benchLive(options: EtcdBenchOptions): Promise<readonly ReportSection[]> {
  const seconds = options.quick ? 3 : 20;
  const reps = Math.min(options.reps, 3);
  const runs: LiveRun[] = [];
  for (let rep = 0; rep < reps; rep++) {
    options.say(`${perSecond} changes/s for ${seconds} s (${rep + 1}/${reps})`);
    runs.push(await runOnce(options, seconds));
  }
  const p99 = median(runs.map(({ fromAcknowledged }) => percentile(fromAcknowledged, 99)));
  const row = (name: string, pick: (run: LiveRun) => Float64Array) => ({
    name,
    cells: [50, 99, 100].map((percent) => duration(median(runs.map((run) => percentile(pick(run), percent))))),
  });
  return [
    {
      title: `Live: ${perSecond} changes/s for ${seconds} s`,
      notes: [
        "Seen by a second, read-only SQLite connection in its own process that looks once a millisecond. Medians of the runs.",
        `The writer was at most ${duration(Math.max(...runs.map(({ maxLateMs }) => maxLateMs)))} behind its schedule.`,
      ],
      columns: ["p50", "p99", "max"],
      rows: [
        row("from the put's acknowledgment to SQL", ({ fromAcknowledged }) => fromAcknowledged),
        row("from before the put to SQL", ({ fromBefore }) => fromBefore),
        row("the put itself", ({ putMs }) => putMs),
      ],
      goals: [
        {
          name: "live, p99 from the acknowledgment to SQL",
          goal: `≤ ${goalMs} ms`,
          measured: duration(p99),
          isMet: p99 <= goalMs,
        },
      ],
      raw: runs.map(({ fromAcknowledged, fromBefore, putMs, maxLateMs }) => ({
        acknowledgedToSql: summary(fromAcknowledged),
        beforeToSql: summary(fromBefore),
        put: summary(putMs),
        maxLateMs,
      })),
    },
  ];
}

const summary = (values: Float64Array) => ({
  p50: percentile(values, 50),
  p99: percentile(values, 99),
  max: percentile(values, 100),
  count: values.length,
});

async function runOnce(options: EtcdBenchOptions, seconds: number): Promise<LiveRun> {
  await using folder = await benchFolder();
  await using etcd = await startEtcd();
  const { endpoint } = etcd;
  const file = folder.file("live.db");
  await etcd.client.put(`${prefix}first`, "");
  await using follower = await startRole<FollowRole>("follow", { nodeArgs: [...asDaemon, ...profileArgs(options)] });
  await follower.call("open", { endpoint, prefix, file });
  await follower.call("sync");
  await using looker = await startRole<LookRole>("look");
  await using putter = await startRole<PutRole>("put");
  // Both ends warm up on a second of the same.
  const warmUp = { endpoint, prefix: `${prefix}warm/`, perSecond, seconds: 1, valueBytes: 200, keys: 100 };
  await putter.call("put", warmUp);
  await follower.call("sync");
  await looker.call("start", { file, count: perSecond * seconds, everyMs: 1 });
  const { beforeMs, acknowledgedMs, maxLateMs } = await putter.call("put", { ...warmUp, prefix, seconds, keys: 1_000 });
  const { seenMs } = await looker.call("done");
  await follower.call("close");
  await follower.release();
  return {
    fromAcknowledged: seenMs.map((seen, index) => seen - (acknowledgedMs[index] ?? 0)),
    fromBefore: seenMs.map((seen, index) => seen - (beforeMs[index] ?? 0)),
    putMs: acknowledgedMs.map((acknowledged, index) => acknowledged - (beforeMs[index] ?? 0)),
    maxLateMs,
  };
}
