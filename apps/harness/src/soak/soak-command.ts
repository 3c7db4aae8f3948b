import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { liveHeapBytes } from "../process/live-heap.ts";
import { runChoice, simFolder } from "../sim/sim-run.ts";

/** One look, after everything that a round made was closed. */
export interface SoakSample {
  readonly minutes: number;
  readonly heapBytes: number;
  /** Sockets, timers, files and whatever else keeps a process alive. */
  readonly handles: number;
}

export interface SoakVerdict {
  readonly isSound: boolean;
  readonly why: string;
}

/** What may be more at the end than after the warm-up: allocations of the engine itself, not of a round. */
const mostGrowth = 1.25;
const mostBytes = 16 * 2 ** 20;

/** The later half beside the earlier one: what leaks grows with every round, what is merely large does not. */
export function judgeSoak(samples: readonly SoakSample[]): SoakVerdict {
  if (samples.length < 4) return { isSound: false, why: `only ${samples.length} rounds: too few to say anything` };
  // The first round fills caches.
  const [, ...rest] = samples;
  const half = Math.floor(rest.length / 2);
  const least = (part: readonly SoakSample[], of: (sample: SoakSample) => number) => Math.min(...part.map(of));
  const [early, late] = [rest.slice(0, half), rest.slice(half)];
  const [heapBefore, heapAfter] = [
    least(early, ({ heapBytes }) => heapBytes),
    least(late, ({ heapBytes }) => heapBytes),
  ];
  const [before, after] = [least(early, ({ handles }) => handles), least(late, ({ handles }) => handles)];
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  if (after > before) return { isSound: false, why: `handles went from ${before} to ${after}` };
  if (heapAfter > heapBefore * mostGrowth && heapAfter - heapBefore > mostBytes) {
    return { isSound: false, why: `the heap went from ${mib(heapBefore)} to ${mib(heapAfter)}` };
  }
  return { isSound: true, why: `heap ${mib(heapBefore)} then ${mib(heapAfter)}, handles ${before} then ${after}` };
}

/** The least of several looks: what is only on its way just now is no leak, and a leak is in each of them. */
async function handlesThatStay(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let looks = 0; looks < 20; looks++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    least = Math.min(least, process.getActiveResourcesInfo().length);
  }
  return least;
}

/** @returns the exit code */
export async function soakCommand(options: {
  readonly minutes: number;
  readonly say: (line: string) => void;
  /** Worlds between two looks. @default 10 */
  readonly worldsPerRound?: number;
}): Promise<number> {
  const { minutes, say, worldsPerRound = 10 } = options;
  // The command is started by people, who give no flags of Node.
  setFlagsFromString("--expose-gc");
  globalThis.gc ??= runInNewContext("gc") as NodeJS.GCFunction;
  const folder = simFolder();
  const startMs = performance.now();
  const samples: SoakSample[] = [];
  const elapsed = () => (performance.now() - startMs) / 60_000;
  try {
    for (let seed = 1; elapsed() < minutes || samples.length < 4; ) {
      for (let count = 0; count < worldsPerRound; count++, seed++) {
        const outcome = await runChoice({ seed }, folder.path);
        if (!outcome.isSound) {
          say(`seed ${seed} fails: ${outcome.message.slice(0, 2_000)}`);
          return 1;
        }
      }
      const sample = {
        minutes: elapsed(),
        heapBytes: liveHeapBytes(),
        handles: await handlesThatStay(),
      };
      samples.push(sample);
      say(
        `${sample.minutes.toFixed(1).padStart(6)} min  ${String(seed - 1).padStart(6)} worlds  ` +
          `${(sample.heapBytes / 2 ** 20).toFixed(1).padStart(7)} MiB of heap  ${sample.handles} handles`,
      );
    }
  } finally {
    folder.remove();
  }
  const { isSound, why } = judgeSoak(samples);
  say(`${isSound ? "sound" : "LEAKS"}: ${why}`);
  return isSound ? 0 : 1;
}
