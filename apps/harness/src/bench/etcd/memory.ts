import { rm } from "node:fs/promises";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { count, duration, mebibytes, type ReportGoal, type ReportRow, type ReportSection } from "../report.ts";
import { asDaemon, type EtcdBenchOptions, profileArgs } from "./bench-options.ts";
import { load } from "./load.ts";
import { benchFolder, copyHistory, fileBytes, followTo, prepareHistory, type RunCost } from "./tidemark-run.ts";

const prefix = "/bench/";
const valueBytes = 10_240;
const goalBytes = 250 * 2 ** 20;

const ways = [
  { name: "watch, plain node", path: "watch", nodeArgs: [] },
  { name: "snapshot, plain node", path: "snapshot", nodeArgs: [] },
  { name: "watch, as `tidemark up` runs", path: "watch", nodeArgs: asDaemon },
  { name: "snapshot, as `tidemark up` runs", path: "snapshot", nodeArgs: asDaemon },
] as const;

/** How much memory a large backlog takes, on both ways in. */
export async function benchMemory(options: EtcdBenchOptions): Promise<readonly ReportSection[]> {
  const changes = options.quick ? 10_240 : 104_858;
  // Faster than any database takes it, so that it is memory or back-pressure.
  const perTransaction = 100;
  await using folder = await benchFolder();
  await using etcd = await startEtcd({ args: ["--quota-backend-bytes=8589934592"] });
  const { endpoint } = etcd;
  const template = folder.file("template.db");
  await etcd.client.put(`${prefix}first`, "");
  await prepareHistory({ endpoint, prefix, file: template });
  options.say(`writing ${count(changes)} keys of ${valueBytes} B, ${perTransaction} to a revision`);
  const { last } = await load({ endpoint, prefix, changes, valueBytes, perTransaction });
  const rows: ReportRow[] = [];
  const goals: ReportGoal[] = [];
  const raw: (RunCost & { readonly name: string })[] = [];
  for (const { name, path, nodeArgs } of ways) {
    const file = folder.file("memory.db");
    await rm(file, { force: true });
    if (path === "watch") await copyHistory(template, file);
    options.say(`following it by ${name}`);
    const cost = await followTo({ endpoint, prefix, file }, last, [...profileArgs(options), ...nodeArgs]);
    const peak = cost.peakRssBytes ?? Number.NaN;
    rows.push({
      name,
      cells: [
        mebibytes(peak),
        duration(cost.ms),
        count((cost.changes * 1000) / cost.ms),
        mebibytes(await fileBytes(file)),
      ],
    });
    goals.push({ name: `peak RSS, ${name}`, goal: "< 250 MiB", measured: mebibytes(peak), isMet: peak < goalBytes });
    raw.push({ name, ...cost });
  }
  return [
    {
      title: `Memory: backlog of ${mebibytes(changes * valueBytes)} (${count(changes)} × ${valueBytes} B, ${perTransaction} keys to a revision)`,
      notes: [
        "The whole process: V8, SQLite and its cache, worker threads, socket buffers. etcd alone sends faster than SQLite commits.",
      ],
      columns: ["peak RSS", "time", "changes/s", "database"],
      rows,
      goals,
      raw,
    },
  ];
}
