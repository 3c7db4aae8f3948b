import type { GnmiMeasured } from "../../gnmi/roles.ts";
import { count, duration, mebibytes, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import type { GnmiBenchOptions } from "./options.ts";
import { openStage, sizesOf, sleep } from "./stage.ts";

const goals = { delayMs: 20, growth: 1.15 };

interface LiveRun {
  readonly measured: GnmiMeasured;
  readonly perSecond: number;
  readonly changes: number;
  readonly settleMs: number;
  readonly heapBytes: number;
  readonly deviceCpuMs: number;
  readonly maxLateMs: number;
  readonly heldBack: number;
}

/** A steady stream while every commit takes its time: the receiving must not notice. */
export async function benchLive(options: GnmiBenchOptions): Promise<ReportSection> {
  const { devices, perSecond, runMs, warmUpMs, holdMs } = sizesOf(options);
  const runs: LiveRun[] = [];
  for (let rep = 0; rep < options.reps; rep++) {
    options.say(
      `${count(perSecond)} leaf updates/s of ${devices} devices, commits of ${duration(holdMs)} (${rep + 1}/${options.reps})`,
    );
    runs.push(await runOnce(options));
  }
  const of = (value: (run: LiveRun) => number) => median(runs.map(value));
  const rate = of((run) => run.perSecond);
  const delay = of(({ measured }) => measured.loop.p99Ms);
  const growth = of(({ measured }) => measured.lateRssBytes / measured.earlyRssBytes);
  const ofReceived = of(({ measured }) => (measured.cpuMs * 1000) / measured.received);
  const row = (name: string, cell: string) => ({ name, cells: [cell] });
  const three = (pick: (run: LiveRun) => { p50Ms: number; p99Ms: number; maxMs: number }) =>
    (["p50Ms", "p99Ms", "maxMs"] as const).map((each) => duration(of((run) => pick(run)[each]))).join(" / ");
  return {
    title: `Live: ${devices} devices, ${count(perSecond)} leaf updates/s for ${duration(warmUpMs + runMs)}, every commit takes ${duration(holdMs)} and its own time`,
    notes: [
      "A commit waits, and is made then. The first seconds warm up: they are proven with the rest and measured with nothing.",
      `The devices were at most ${duration(Math.max(...runs.map((run) => run.maxLateMs)))} behind their schedule.`,
    ],
    columns: ["median"],
    rows: [
      row("changes made, committed and proven, of all runs", count(runs.reduce((all, run) => all + run.changes, 0))),
      row("changes/s made", count(rate)),
      row("changes/s received", count(of(({ measured }) => (measured.received * 1000) / measured.ms))),
      row("changes/s committed", count(of(({ measured }) => (measured.versions * 1000) / measured.ms))),
      row("from the last change until everything was committed", duration(of((run) => run.settleMs))),
      row("commits of all streams in a second", count(of(({ measured }) => (measured.commits * 1000) / measured.ms))),
      row("shortest commit", duration(of(({ measured }) => measured.shortestCommitMs))),
      row("longest commit", duration(of(({ measured }) => measured.longestCommitMs))),
      row(
        "delay of the receive loop, p50 / p99 / max",
        three(({ measured }) => measured.loop),
      ),
      row(
        "from the device's clock to our hands, p50 / p99 / max",
        three(({ measured }) => measured.arrival),
      ),
      row("times that a device was held back", count(of((run) => run.heldBack))),
      row("processor time for an update: receiving, watcher and SQL", `${ofReceived.toFixed(1)} µs`),
      row(
        "processor time for an update: the devices",
        `${of((run) => (run.deviceCpuMs * 1000) / run.measured.received).toFixed(1)} µs`,
      ),
      row("resident memory, first third", mebibytes(of(({ measured }) => measured.earlyRssBytes))),
      row("resident memory, last third", mebibytes(of(({ measured }) => measured.lateRssBytes))),
      row("resident memory, peak", mebibytes(of(({ measured }) => measured.peakRssBytes))),
      row("live heap and buffers at the end", mebibytes(of((run) => run.heapBytes))),
    ],
    goals: [
      {
        name: "updates/s into committed history, none lost",
        goal: `≥ ${count(perSecond)}`,
        measured: `${count(rate)}, ${count(runs.reduce((all, run) => all + run.changes, 0))} of as many`,
        // The devices' timers round down.
        isMet: rate >= perSecond * 0.999 && runs.every((run) => run.settleMs <= 2.5 * holdMs + 1_000),
      },
      {
        name: "delay of the receive loop, p99",
        goal: `≤ ${goals.delayMs} ms`,
        measured: duration(delay),
        isMet: delay <= goals.delayMs,
      },
      {
        name: `commits are held, none is shorter than ${duration(holdMs)}, one at a time`,
        goal: `≥ ${duration(holdMs)}`,
        measured: duration(of(({ measured }) => measured.shortestCommitMs)),
        isMet: runs.every(({ measured }) => measured.shortestCommitMs >= holdMs - 1 && measured.commitsAtOnce === 1),
      },
      {
        name: "resident memory, last third over first",
        goal: `≤ ${goals.growth}`,
        measured: growth.toFixed(2),
        isMet: growth <= goals.growth,
      },
    ],
    raw: runs,
  };
}

async function runOnce(options: GnmiBenchOptions): Promise<LiveRun> {
  const { perSecond, warmUpMs, runMs, holdMs } = sizesOf(options);
  await using stage = await openStage(options, holdMs);
  const { follower } = stage;
  await stage.startDevices(perSecond);
  await sleep(warmUpMs);
  await follower.call("measure");
  const cpuMs = stage.deviceCpuMs();
  await sleep(runMs);
  const measured = await follower.call("measured");
  const deviceCpuMs = stage.deviceCpuMs() - cpuMs;
  const counted = await stage.stopDevices();
  const heapBytes = await follower.call("heap");
  const { settleMs, troubles } = await stage.prove(counted);
  return {
    measured,
    perSecond: counted.reduce((all, { changes, ms }) => all + (changes * 1000) / ms, 0),
    changes: counted.reduce((all, { changes }) => all + changes, 0),
    settleMs,
    heapBytes,
    deviceCpuMs,
    maxLateMs: Math.max(...counted.map((each) => each.maxLateMs)),
    heldBack: troubles.heldBack,
  };
}
