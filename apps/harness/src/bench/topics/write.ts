import { count, mebibytes, type ReportGoal, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import { ratioGoal } from "./goals.ts";
import { interleave, type Measured, runsOf } from "./interleave.ts";
import { sizeName, sizes, type TopicsBenchOptions } from "./options.ts";
import { atBestWindows, type WriteCandidate, type WriteRun, type WriteSetting } from "./run-write.ts";
import { messagesOfFrame, rawBatches } from "./topic-name.ts";
import { batchWindows, narrowWindows, wideWindows, windowName } from "./windows.ts";

export const tidemark = "Tidemark";
const promised = "Tidemark, a promise per message";
const flushed = "Tidemark, all and then flush";
export const ydbSdk = "ydb-sdk 5.11.1";
export const raw = "raw http2, frames of 100 or 256 KiB";
const connectOf = (batch: number) => `connect-node, ${batch} a request`;

/** How fast messages go out, to one partition and to eight. */
export async function benchWrite(options: TopicsBenchOptions): Promise<readonly ReportSection[]> {
  const sections: ReportSection[] = [];
  for (const partitions of [1, 8]) {
    for (const payloadBytes of sizes) sections.push(await benchShape(payloadBytes, partitions, options));
  }
  return sections;
}

async function benchShape(payloadBytes: number, partitions: number, options: TopicsBenchOptions) {
  options.say(`write: ${sizeName(payloadBytes)}, ${partitions} partitions`);
  const contenders = await atBestWindows(candidates(payloadBytes, partitions, options), options);
  const measured = await interleave(contenders, options, ({ perSecond }) => `${count(perSecond)} messages/s`);
  const windows = new Map(contenders.map(({ name, window }) => [name, window]));
  return writeSection(measured, windows, {
    title: `Write: ${sizeName(payloadBytes)}, ${partitions === 1 ? "one partition" : `${partitions} partitions`}`,
    notes:
      partitions === 1
        ? []
        : [`${partitions} streams with one producer each, on one connection; the messages go to them in turn.`],
    goals: partitions === 1 ? goalsOf(measured, payloadBytes) : [],
  });
}

export interface WriteSectionOptions {
  readonly title: string;
  readonly notes: readonly string[];
  readonly goals: readonly ReportGoal[];
}

/** The table of some writers; the limit is the last column's hundred percent. */
export function writeSection(
  measured: readonly Measured<WriteRun>[],
  windows: ReadonlyMap<string, number | undefined>,
  { title, notes, goals }: WriteSectionOptions,
): ReportSection {
  const limit = runsOf(measured, raw);
  const peer = runsOf(measured, ydbSdk);
  const perMessage = (runs: readonly WriteRun[], pick: (run: WriteRun) => number) =>
    `${median(runs.map((run) => (pick(run) * 1000) / run.allMessages)).toFixed(2)} µs`;
  const over = (runs: readonly WriteRun[], under: readonly WriteRun[]) =>
    median(runs.slice(0, under.length).map(({ perSecond }, rep) => perSecond / (under[rep] as WriteRun).perSecond));
  return {
    title,
    notes,
    columns: ["messages/s", "of raw", "of ydb-sdk", "window", "client CPU", "server CPU", "peak RSS"],
    rows: measured.map(({ name, runs }) => ({
      name,
      cells: [
        count(median(runs.map(({ perSecond }) => perSecond))),
        cell(over(runs, limit), (ratio) => `${(ratio * 100).toFixed(0)} %`),
        cell(over(runs, peer), (ratio) => `${ratio.toFixed(1)} ×`),
        windowName(windows.get(name)),
        perMessage(runs, ({ cpuMs }) => cpuMs),
        perMessage(runs, ({ serverCpuMs }) => serverCpuMs),
        mebibytes(median(runs.map(({ peakRssBytes }) => peakRssBytes))),
      ],
    })),
    goals,
    raw: measured.map(({ name, runs }) => ({ name, window: windows.get(name), runs })),
  };
}

const cell = (value: number, show: (value: number) => string) => (Number.isFinite(value) ? show(value) : undefined);

function candidates(
  payloadBytes: number,
  partitions: number,
  { quick }: TopicsBenchOptions,
): readonly WriteCandidate[] {
  const base = {
    payloadBytes,
    partitions,
    batch: messagesOfFrame(payloadBytes),
    window: undefined,
    mode: "plain",
  } as const;
  const wide = wideWindows(payloadBytes);
  const everything = Math.floor(
    (payloadBytes < 1000 ? 1_000_000 : payloadBytes < 10_000 ? 200_000 : 20_000) / (quick ? 10 : 1),
  );
  const of = (name: string, setting: Partial<WriteSetting>, windows: WriteCandidate["windows"]): WriteCandidate => ({
    name,
    setting: { ...base, writer: "tidemark", ...setting },
    windows,
  });
  const everywhere = [
    of(tidemark, {}, [...wide, undefined]),
    of(ydbSdk, { writer: "ydb-sdk" }, narrowWindows),
    { ...of(raw, { writer: "raw" }, wide), batches: rawBatches(payloadBytes) },
  ];
  const connect = (batch: number) => of(connectOf(batch), { writer: "connect", batch }, batchWindows(batch));
  if (partitions > 1) return [...everywhere, connect(1000)];
  return [
    ...everywhere,
    of(promised, { mode: "promise" }, wide),
    of(flushed, { mode: "all", messages: everything }, [undefined]),
    of(`${ydbSdk}, all at once`, { writer: "ydb-sdk", mode: "all", messages: Math.min(20_000, everything) }, [
      undefined,
    ]),
    connect(1),
    connect(100),
    connect(1000),
  ];
}

function goalsOf(measured: readonly Measured<WriteRun>[], payloadBytes: number): readonly ReportGoal[] {
  const rates = (name: string) => runsOf(measured, name).map(({ perSecond }) => perSecond);
  const memory = (name: string) => runsOf(measured, name).map(({ peakRssBytes }) => peakRssBytes);
  const ours = rates(tidemark);
  const isSmall = payloadBytes < 1024;
  const ofLimit = ratioGoal({
    name: `W7 writer against raw http2, ${sizeName(payloadBytes)}`,
    over: ours,
    under: rates(raw),
    gate: isSmall ? 0.35 : 0.6,
    goal: isSmall ? 0.5 : 0.85,
    unit: "percent",
  });
  if (!isSmall) return [ofLimit];
  return [
    ratioGoal({ name: "W2 writer against ydb-sdk, 100 B", over: ours, under: rates(ydbSdk), gate: 20, goal: 40 }),
    ratioGoal({
      name: "W3 a promise per message against ydb-sdk, 100 B",
      over: rates(promised),
      under: rates(ydbSdk),
      gate: 12,
      goal: 25,
    }),
    ratioGoal({
      name: "W5 all and then flush against a window, 100 B",
      over: rates(flushed),
      under: ours,
      gate: 0.6,
      goal: 0.75,
    }),
    ofLimit,
    ratioGoal({
      name: "M1 writer's peak RSS against ydb-sdk's",
      over: memory(tidemark),
      under: memory(ydbSdk),
      gate: 1.3,
      goal: 1,
      bound: "at most",
    }),
  ];
}
