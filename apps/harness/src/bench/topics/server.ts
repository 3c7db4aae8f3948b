import { count, mebibytes, type ReportGoal, type ReportRow, type ReportSection } from "../report.ts";
import { median, ratios } from "../stats.ts";
import { ratioGoal } from "./goals.ts";
import { type Contender, interleave, type Measured, runsOf } from "./interleave.ts";
import { findNats, type NatsProgram } from "./nats-server.ts";
import { sizeName, sizes, type TopicsBenchOptions } from "./options.ts";
import { runDisk, runLog, runNats, runServer, withFolder } from "./run-server.ts";
import { runWrite, type WriteRun } from "./run-write.ts";

const inMemory = "Tidemark, in memory";
const durable = "Tidemark, durable (the default)";
const interval = "Tidemark, sync every second";
const nats = "JetStream, sync every 2 min (its default)";
const natsAlways = "JetStream, sync always";

/** How fast a server takes messages: ours with each way of storing, and JetStream, and the disk alone. */
export async function benchServer(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  const program = await withFolder((folder) => findNats(options.natsServer, folder));
  const sections: ReportSection[] = [];
  for (const payloadBytes of sizes) sections.push(await benchStorage(payloadBytes, program, options));
  return [...sections, await benchDisk(options), await benchIngest(options)];
}

async function benchStorage(payloadBytes: number, program: NatsProgram | undefined, options: TopicsBenchOptions) {
  options.say(`server: ${sizeName(payloadBytes)}`);
  const ours = (name: string, storage: "memory" | "durable" | "interval"): Contender<WriteRun> => ({
    name,
    run: () => runServer({ storage, writer: "tidemark", payloadBytes, batch: 1, window: undefined }, options),
  });
  const contenders = [ours(inMemory, "memory"), ours(durable, "durable"), ours(interval, "interval")];
  const notes = [
    "One partition. Tidemark's writer with its defaults; acknowledged means on the disk unless it says otherwise.",
    ...(await addNats(contenders, payloadBytes, program, options)),
  ];
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s`);
  return storageSection(measured, payloadBytes, notes);
}

/** Returns what has to be said about it. */
async function addNats(
  contenders: Contender<WriteRun>[],
  payloadBytes: number,
  program: NatsProgram | undefined,
  options: TopicsBenchOptions,
): Promise<readonly string[]> {
  if (program === undefined) {
    return [`JetStream is SKIPPED: there is no ${options.natsServer} (Debian: apt-get install nats-server).`];
  }
  const windows: string[] = [];
  const add = async (name: string, syncAlways: boolean) => {
    const window = await bestNatsWindow(program, { payloadBytes, syncAlways }, options);
    windows.push(`${window} with sync ${syncAlways ? "always" : "at its default"}`);
    contenders.push({ name, run: () => runNats(program, { payloadBytes, syncAlways, window }, options) });
  };
  await add(nats, false);
  if (program.canSyncAlways) await add(natsAlways, true);
  return [
    `nats-server ${program.version}, one stream with file storage, @nats-io/jetstream 3.4.0; publishes under way at a time, the fastest of some: ${windows.join(", ")}.`,
    ...(program.canSyncAlways
      ? []
      : [
          `JetStream with sync always is SKIPPED: nats-server ${program.version} has no sync_interval, which came with 2.10; name a newer one with --nats FILE.`,
        ]),
  ];
}

async function bestNatsWindow(
  program: NatsProgram,
  setting: { readonly payloadBytes: number; readonly syncAlways: boolean },
  options: TopicsBenchOptions,
): Promise<number> {
  const windows = [1_000, 250, 4_000];
  if (options.quick) return windows[0] as number;
  let best = { window: 0, perSecond: 0 };
  for (const window of windows) {
    const { perSecond } = await runNats(program, { ...setting, window }, options);
    if (perSecond > best.perSecond) best = { window, perSecond };
  }
  return best.window;
}

function storageSection(measured: readonly Measured<WriteRun>[], payloadBytes: number, notes: readonly string[]) {
  const rates = (name: string) => runsOf(measured, name).map(({ perSecond }) => perSecond);
  const rows = measured.map(({ name, runs }): ReportRow => {
    const perSecond = median(runs.map((run) => run.perSecond));
    const cpu = median(runs.map((run) => (run.serverCpuMs * 1000) / run.allMessages));
    return {
      name,
      cells: [
        count(perSecond),
        `${((perSecond * payloadBytes) / 1e6).toFixed(0)} MB/s`,
        `${(median(ratios(rates(name), rates(inMemory))) * 100).toFixed(0)} %`,
        `${cpu.toFixed(2)} µs`,
      ],
    };
  });
  return {
    title: `Server: ${sizeName(payloadBytes)} messages written`,
    notes,
    columns: ["messages/s", "payload", "of in memory", "server CPU"],
    rows,
    goals: storageGoals(rates, payloadBytes),
    raw: measured,
  };
}

function storageGoals(rates: (name: string) => number[], payloadBytes: number): readonly ReportGoal[] {
  const ahead = (than: string) =>
    rates(than).length === 0
      ? []
      : [
          ratioGoal({
            name: `durable server against ${than}, ${sizeName(payloadBytes)}`,
            over: rates(durable),
            under: rates(than),
            gate: 1,
            goal: 1,
          }),
        ];
  const policy = ratioGoal({
    name: "S2 durable server against in memory, 100 B",
    over: rates(durable),
    under: rates(inMemory),
    gate: 0.3,
    goal: 0.6,
    unit: "percent",
  });
  return [...(payloadBytes === 100 ? [policy] : []), ...ahead(nats), ...ahead(natsAlways)];
}

/** The log alone against append and fdatasync alone. */
async function benchDisk(options: TopicsBenchOptions): Promise<ReportSection> {
  options.say("server: the disk");
  const groups = [64 << 10, 256 << 10, 1 << 20];
  const nameOf = (who: string, groupBytes: number) => `${who}, ${sizeName(groupBytes)}`;
  const disk = "append and fdatasync";
  const prepared = "the same, file preallocated";
  const log = "Tidemark's log";
  const contenders = groups.flatMap((groupBytes) => [
    { name: nameOf(disk, groupBytes), run: () => runDisk({ groupBytes, preallocated: false }, options) },
    { name: nameOf(prepared, groupBytes), run: () => runDisk({ groupBytes, preallocated: true }, options) },
    { name: nameOf(log, groupBytes), run: () => runLog(groupBytes, options) },
  ]);
  const measured = await interleave(contenders, options, (perSecond) => `${mebibytes(perSecond)}/s`);
  return {
    title: "Server: the disk",
    notes: [
      "Groups of so many bytes, each synced. The disk alone: one synchronous write and fdatasync after the other. The log: with checksums and offsets; one group waits behind those on their way, of which there are two where groups are large.",
    ],
    columns: ["bytes/s"],
    rows: measured.map(({ name, runs }) => ({ name, cells: [`${mebibytes(median(runs))}/s`] })),
    goals: [256 << 10, 1 << 20].map((groupBytes) =>
      ratioGoal({
        name: `S3 log against the disk, groups of ${sizeName(groupBytes)}`,
        over: [...runsOf(measured, nameOf(log, groupBytes))],
        under: [...runsOf(measured, nameOf(disk, groupBytes))],
        gate: 0.5,
        goal: 0.8,
        unit: "percent",
      }),
    ),
    raw: measured,
  };
}

/** What a server is worth against the one that connect-node gives for nothing, client and all. */
async function benchIngest(options: TopicsBenchOptions): Promise<ReportSection> {
  options.say("server: against stock connect-node");
  const batches = [10, 1000];
  const nameOf = (who: string, batch: number) => `${who}, ${batch} a request`;
  const ours = "raw http2 into Tidemark, in memory";
  const stock = "connect-node into connect-node";
  const base = { payloadBytes: 100, partitions: 1, mode: "plain" } as const;
  const contenders = batches.flatMap((batch) => [
    {
      name: nameOf(ours, batch),
      run: () =>
        runServer({ storage: "memory", writer: "raw", payloadBytes: 100, batch, window: batch * 100 }, options),
    },
    {
      name: nameOf(stock, batch),
      run: () =>
        runWrite({ ...base, server: "topics-stock-server", writer: "connect", batch, window: batch * 20 }, options),
    },
  ]);
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s`);
  const rates = (name: string) => runsOf(measured, name).map(({ perSecond }) => perSecond);
  return {
    title: "Server: 100 B with an acknowledgment each, against stock connect-node",
    notes: ["Connect's server parses, counts and acknowledges, and keeps nothing; ours keeps them in memory."],
    columns: ["messages/s"],
    rows: measured.map(({ name }) => ({ name, cells: [count(median(rates(name)))] })),
    goals: [
      ratioGoal({
        name: "S1 server against connect-node, 10 a request",
        over: rates(nameOf(ours, 10)),
        under: rates(nameOf(stock, 10)),
        gate: 4,
        goal: 8,
      }),
      ratioGoal({
        name: "S1 server against connect-node, 1000 a request",
        over: rates(nameOf(ours, 1000)),
        under: rates(nameOf(stock, 1000)),
        gate: 3,
        goal: 5,
      }),
    ],
    raw: measured,
  };
}
