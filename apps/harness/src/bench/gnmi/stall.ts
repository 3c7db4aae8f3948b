import { count, duration, mebibytes, type ReportSection } from "../report.ts";
import type { GnmiBenchOptions } from "./options.ts";
import { openStage, sizesOf, sleep } from "./stage.ts";

const goalBytes = 512 * 2 ** 20;
/** Longer than anybody waits. */
const foreverMs = 3_600_000;

/** Nothing can be committed for a while: memory must have an end, and nothing may be lost. */
export async function benchStall(options: GnmiBenchOptions): Promise<ReportSection> {
  const { devices, perSecond, runMs } = sizesOf(options);
  // Long enough for the watchers' buffers, so that the devices have to wait.
  const stallMs = 2.5 * runMs;
  options.say(`${devices} devices, and no commit for ${duration(stallMs)}`);
  await using stage = await openStage(options, 0);
  const { follower } = stage;
  await follower.call("hold", foreverMs);
  await follower.call("measure");
  await stage.startDevices(perSecond);
  await sleep(stallMs);
  const measured = await follower.call("measured");
  const heapBytes = await follower.call("heap");
  const counted = await stage.stopDevices();
  const changes = counted.reduce((all, each) => all + each.changes, 0);
  await follower.call("hold", 0);
  const { settleMs, troubles } = await stage.prove(counted);
  const row = (name: string, cell: string) => ({ name, cells: [cell] });
  return {
    title: `Stall: no commit for ${duration(stallMs)} while ${count(perSecond)} leaves change in a second`,
    notes: ["What does not fit into the watchers' buffers waits at the devices: nobody reads on."],
    columns: ["one run"],
    rows: [
      row("changes made, committed and proven", count(changes)),
      row("of these received before the first commit", count(measured.received)),
      row("times that a device was held back", count(troubles.heldBack)),
      row("delay of the receive loop, p99", duration(measured.loop.p99Ms)),
      row("resident memory, peak", mebibytes(measured.peakRssBytes)),
      row("live heap and buffers at the end of it", mebibytes(heapBytes)),
      row("from then until everything was committed", duration(settleMs)),
    ],
    goals: [
      {
        name: "resident memory with no commit at all, nothing lost",
        goal: `≤ ${mebibytes(goalBytes)}`,
        measured: mebibytes(measured.peakRssBytes),
        isMet: measured.peakRssBytes <= goalBytes,
      },
      {
        name: "devices that had to wait",
        goal: `${devices}`,
        measured: count(troubles.heldBack),
        isMet: troubles.heldBack >= devices,
      },
    ],
    raw: { measured, troubles, settleMs, changes, heapBytes },
  };
}
