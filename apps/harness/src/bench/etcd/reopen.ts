import { startEtcd } from "@tidemark/source-etcd/testing";
import { startRole } from "../../role-process.ts";
import type { FollowRole } from "../../roles/follow-options.ts";
import { count, duration, mebibytes, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import type { EtcdBenchOptions } from "./bench-options.ts";
import { load } from "./load.ts";
import { benchFolder, fileBytes, followTo, versionsIn } from "./tidemark-run.ts";

const prefix = "/bench/";
const goalMs = 1_000;

/** How long a start takes on a database that has much in it. */
export async function benchReopen(options: EtcdBenchOptions): Promise<readonly ReportSection[]> {
  const changes = options.quick ? 50_000 : 1_000_000;
  const keys = changes / 10;
  await using folder = await benchFolder();
  await using etcd = await startEtcd({ args: ["--quota-backend-bytes=8589934592"] });
  const { endpoint } = etcd;
  const file = folder.file("large.db");
  // Followed from the beginning, or the snapshot would leave out what came before.
  await etcd.client.put(`${prefix}first`, "");
  await followTo({ endpoint, prefix, file }, await etcd.client.revision(), []);
  options.say(`writing and following ${count(changes)} changes of ${count(keys)} keys`);
  const { last } = await load({ endpoint, prefix, changes, keys, valueBytes: 200, perTransaction: 100 });
  await followTo({ endpoint, prefix, file }, last, []);
  const versions = versionsIn(file);
  const fromSpawn: number[] = [];
  const fromOpen: number[] = [];
  for (let rep = 0; rep < options.reps; rep++) {
    const startedMs = performance.now();
    await using role = await startRole<FollowRole>("follow");
    await role.call("open", { endpoint, prefix, file });
    const { sinceOpenMs, value } = await role.call("live", `${prefix}000000042`);
    fromSpawn.push(performance.now() - startedMs);
    fromOpen.push(sinceOpenMs);
    if (value?.length !== 200)
      throw new Error(`the first read found ${value?.length ?? "nothing"} instead of 200 bytes`);
    options.say(`  ${rep + 1}/${options.reps} live and read after ${duration(fromSpawn.at(-1) ?? 0)}`);
    await role.call("close");
    await role.release();
  }
  const middle = median(fromSpawn);
  return [
    {
      title: `Starting again on ${count(versions)} versions`,
      notes: [
        `The database is ${mebibytes(await fileBytes(file))}; ${count(keys)} keys. Ends when the watch stands and one key was read.`,
      ],
      columns: ["median", "max"],
      rows: [
        { name: "from the start of the process", cells: [duration(middle), duration(Math.max(...fromSpawn))] },
        { name: "from opening the database", cells: [duration(median(fromOpen)), duration(Math.max(...fromOpen))] },
      ],
      goals: [
        {
          name: `starting again on ${count(versions)} versions`,
          goal: "< 1 s",
          measured: duration(middle),
          isMet: middle < goalMs,
        },
      ],
      raw: { versions, fromSpawn, fromOpen },
    },
  ];
}
