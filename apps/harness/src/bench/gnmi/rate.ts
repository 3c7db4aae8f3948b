import type { GnmiMeasured } from "../../gnmi/roles.ts";
import { count, duration, mebibytes, type ReportSection } from "../report.ts";
import type { GnmiBenchOptions } from "./options.ts";
import { openStage, sizesOf, sleep } from "./stage.ts";

const factors = [1, 1.2, 1.4, 1.6, 1.8, 2, 2.4] as const;

interface Step {
  readonly perSecond: number;
  readonly forMs: number;
  readonly measured: GnmiMeasured;
  /** Changes a second that the devices made. */
  readonly made: number;
  readonly committed: number;
  readonly deviceCores: number;
  readonly isSustained: boolean;
}

/** Of what was meant and made, and of what was made and committed, at the end of the long run. */
const share = 0.98;

/**
 * How much it can take for long: the rate rises in short steps until commits fall half a second behind what the devices make;
 * then the highest of those is run for so long that what one commit leaves waiting hardly counts, and the next lower one where
 * that fails.
 */
export async function benchRate(options: GnmiBenchOptions): Promise<ReportSection> {
  const { devices, perSecond, warmUpMs, runMs } = sizesOf(options);
  const stepMs = runMs / 4;
  const longMs = runMs * 3;
  await using stage = await openStage(options, 0);
  // Twenty processes whose code is not compiled yet take twice the processor that they take afterwards.
  await stage.startDevices(perSecond);
  await sleep(2 * warmUpMs);
  await stage.settled(await stage.stopDevices());
  const steps: Step[] = [];
  for (const factor of factors) {
    const step = await runStep(perSecond * factor, stepMs);
    steps.push(step);
    if (!step.isSustained) break;
  }
  let best: Step | undefined;
  for (const candidate of steps.filter(({ isSustained }) => isSustained).toReversed()) {
    await stage.settled(await stage.stopDevices());
    const run = await runStep(candidate.perSecond, longMs);
    const long = { ...run, isSustained: run.made >= run.perSecond * share && run.committed >= run.made * share };
    steps.push(long);
    if (!long.isSustained) continue;
    best = long;
    break;
  }
  const counted = await stage.stopDevices();
  const { settleMs } = await stage.prove(counted);
  return {
    title: `Rate: ${devices} devices, faster and faster, each rate for ${duration(stepMs)}, then the highest for ${duration(longMs)}`,
    notes: [
      "Commits take their own time. Sustained: 98 % of what was meant were made, and 98 % of what was made is committed when the time is over; in the short steps, all but what half a second brings.",
      `The devices share the cores with the follower. ${count(counted.reduce((all, { changes }) => all + changes, 0))} changes were made, committed and proven, the last of them ${duration(settleMs)} after it was made.`,
    ],
    columns: [
      "made/s",
      "committed/s",
      "loop p99",
      "arrival p99",
      "longest commit",
      "cores",
      "devices' cores",
      "peak RSS",
    ],
    rows: steps.map(({ perSecond: meant, forMs, measured, made, committed, deviceCores, isSustained }) => ({
      name: `${count(meant)}/s for ${duration(forMs)}${isSustained ? "" : ", not sustained"}`,
      cells: [
        count(made),
        count(committed),
        duration(measured.loop.p99Ms),
        duration(measured.arrival.p99Ms),
        duration(measured.longestCommitMs),
        (measured.cpuMs / measured.ms).toFixed(2),
        deviceCores.toFixed(2),
        mebibytes(measured.peakRssBytes),
      ],
    })),
    goals: [
      {
        name: `updates/s sustained into committed history for ${duration(longMs)}`,
        goal: `≥ ${count(perSecond)}`,
        measured: count(best?.committed ?? 0),
        isMet: (best?.perSecond ?? 0) >= perSecond,
      },
    ],
    raw: steps,
  };

  async function runStep(meant: number, forMs: number): Promise<Step> {
    const { follower } = stage;
    options.say(`${devices} devices, ${count(meant)} leaf updates/s for ${duration(forMs)}`);
    await stage.startDevices(meant);
    const before = await stage.made();
    const cpuMs = stage.deviceCpuMs();
    await follower.call("measure");
    await sleep(forMs);
    const measured = await follower.call("measured");
    const made = (((await stage.made()) - before) * 1000) / measured.ms;
    const committed = (measured.versions * 1000) / measured.ms;
    const deviceCores = (stage.deviceCpuMs() - cpuMs) / measured.ms;
    const isBehind = ((made - committed) * measured.ms) / 1000 > meant / 2;
    const isSustained = made >= meant * share && !isBehind;
    return { perSecond: meant, forMs, measured, made, committed, deviceCores, isSustained };
  }
}
