import { startEtcd } from "@tidemark/source-etcd/testing";
import { startRole } from "../../role-process.ts";
import type { ReceiveRole } from "../../roles/receive-role.ts";
import { count, duration, mebibytes, percent, type ReportGoal, type ReportRow, type ReportSection } from "../report.ts";
import { median, ratios } from "../stats.ts";
import { asDaemon, type EtcdBenchOptions, profileArgs } from "./bench-options.ts";
import { load } from "./load.ts";
import { mirrorAll } from "./mirror.ts";
import { benchFolder, copyHistory, followTo, prepareHistory, type RunCost } from "./tidemark-run.ts";

const prefix = "/bench/";
const valueBytes = 200;

/** A way from the backlog to somewhere. */
interface Contender {
  readonly name: string;
  run(rep: number): Promise<RunCost>;
}

interface Measured {
  readonly name: string;
  readonly runs: readonly RunCost[];
}

/** How fast a backlog comes in: received and thrown away, committed to SQLite by Tidemark, mirrored by etcdctl. */
export async function benchBacklog(options: EtcdBenchOptions): Promise<readonly ReportSection[]> {
  const changes = options.quick ? 10_000 : 100_000;
  return [
    await benchShape({ ...options, changes, perTransaction: 1 }),
    await benchShape({ ...options, changes, perTransaction: 100 }),
  ];
}

interface ShapeOptions extends EtcdBenchOptions {
  readonly changes: number;
  readonly perTransaction: number;
}

async function benchShape(options: ShapeOptions): Promise<ReportSection> {
  const { changes, perTransaction, say } = options;
  await using folder = await benchFolder();
  await using etcd = await startEtcd({ args: ["--quota-backend-bytes=8589934592"] });
  const { endpoint } = etcd;
  const template = folder.file("template.db");
  // Something must be there, or the history would have nothing to go on from.
  await etcd.client.put(`${prefix}first`, "");
  await prepareHistory({ endpoint, prefix, file: template });
  say(`writing ${changes} keys of ${valueBytes} B, ${perTransaction} to a revision`);
  const { before, last } = await load({ endpoint, prefix, changes, valueBytes, perTransaction });

  const receive = async (
    job: (role: Awaited<ReturnType<typeof startReceiver>>) => Promise<{ ms: number; changes: number }>,
  ) => {
    await using role = await startReceiver();
    const booted = role.usage();
    const { ms, changes: received } = await job(role);
    const { cpuMs, peakRssBytes } = role.usage();
    return {
      changes: received,
      ms,
      peakRssBytes,
      cpuMs: cpuMs === undefined ? undefined : cpuMs - (booted.cpuMs ?? 0),
    };
  };
  const tidemark = (file: string) => followTo({ endpoint, prefix, file }, last, [...asDaemon, ...profileArgs(options)]);
  const contenders: readonly Contender[] = [
    {
      name: "watch: bare connect-node, thrown away",
      run: () => receive((role) => role.call("watch", { endpoint, prefix, from: before + 1n, to: last })),
    },
    {
      name: "watch: Tidemark, committed to SQLite",
      async run(rep) {
        const file = folder.file(`watch-${rep}.db`);
        await copyHistory(template, file);
        return tidemark(file);
      },
    },
    {
      name: "snapshot: bare connect-node, thrown away",
      run: () => receive((role) => role.call("snapshot", { endpoint, prefix, pageKeys: 8_192 })),
    },
    { name: "snapshot: Tidemark, committed to SQLite", run: (rep) => tidemark(folder.file(`snapshot-${rep}.db`)) },
    { name: "etcdctl make-mirror to an etcd", run: () => mirrorAll({ endpoint, prefix, keys: changes + 1 }) },
  ];
  const measured = await interleave(contenders, options);
  return shapeSection(options, measured);
}

const startReceiver = () => startRole<ReceiveRole>("receive");

/** Every contender once per repetition, each time in another order. */
async function interleave(contenders: readonly Contender[], { reps, say }: ShapeOptions): Promise<readonly Measured[]> {
  const runs = contenders.map((): RunCost[] => []);
  for (let rep = 0; rep < reps; rep++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + rep) % contenders.length;
      const contender = contenders[index] as Contender;
      const cost = await contender.run(rep);
      runs[index]?.push(cost);
      say(`  ${rep + 1}/${reps} ${contender.name}: ${count(rateOf(cost))} changes/s`);
    }
  }
  return contenders.map(({ name }, index) => ({ name, runs: runs[index] ?? [] }));
}

const rateOf = ({ changes, ms }: RunCost) => (changes * 1000) / ms;

function shapeSection({ changes, perTransaction }: ShapeOptions, measured: readonly Measured[]): ReportSection {
  const [bareWatch, ourWatch, bareSnapshot, ourSnapshot, mirror] = measured.map(({ runs }) => runs.map(rateOf));
  const limits = [bareWatch, bareWatch, bareSnapshot, bareSnapshot, bareSnapshot];
  const rows = measured.map(({ name, runs }, index): ReportRow => {
    const limit = limits[index] ?? [];
    return {
      name,
      cells: [
        count(median(runs.map(rateOf))),
        duration(median(runs.map(({ ms }) => ms))),
        percent(median(ratios(runs.map(rateOf), limit))),
        duration(median(runs.map(({ cpuMs }) => cpuMs ?? Number.NaN))),
        mebibytes(median(runs.map(({ peakRssBytes }) => peakRssBytes ?? Number.NaN))),
      ],
    };
  });
  const shape = perTransaction === 1 ? "one key to a revision" : `${perTransaction} keys to a revision`;
  const goal = (name: string, ours: readonly number[] = [], bare: readonly number[] = []): ReportGoal => {
    const ratio = median(ratios(ours, bare));
    return { name: `${name}, ${shape}`, goal: "≥ 60 % of bare", measured: percent(ratio), isMet: ratio >= 0.6 };
  };
  const ahead = (name: string, ours: readonly number[] = []): ReportGoal => {
    const ratio = median(ratios(ours, mirror ?? []));
    return {
      name: `${name}, ${shape}`,
      goal: "ahead of make-mirror",
      measured: `${ratio.toFixed(1)} ×`,
      isMet: ratio > 1,
    };
  };
  const pace =
    "etcd 3.4 sets the pace of both watches: it serves the past in batches of 1000 revisions, rests 100 ms after each, and reads everything up to now for every batch.";
  const like =
    "make-mirror copies the present by Range and knows no past, so the snapshot is what it compares with; the watch brings every revision.";
  return {
    title: `Backlog of ${count(changes)} keys of ${valueBytes} B, ${shape}`,
    notes: [
      "Medians of interleaved runs, each in its own process; time is from before the connection to the last change received, committed or mirrored.",
      like,
      ...(perTransaction === 1 ? [pace] : []),
    ],
    columns: ["changes/s", "time", "of bare", "CPU time", "peak RSS"],
    rows,
    goals: [goal("watch", ourWatch, bareWatch), ahead("watch", ourWatch), ahead("snapshot", ourSnapshot)],
    raw: measured,
  };
}
