import type { SimChoice } from "./plan.ts";
import { argumentsOf, shrinkChoice } from "./shrink.ts";
import { runChoice, simFolder } from "./sim-run.ts";
import type { WorldResult } from "./world.ts";

export interface SimOptions {
  /** Worlds to run, from `choice.seed` on. */
  readonly seeds: number;
  readonly choice: SimChoice;
  /** Says what happened, line by line. */
  readonly isTraced: boolean;
  /** Ends after so many that failed. */
  readonly maxFailures: number;
  readonly isShrinking: boolean;
  /** Begins no further world after so long, in milliseconds. @default Infinity */
  readonly limitMs?: number;
  readonly say: (line: string) => void;
}

/** What all worlds came to. */
export interface SimReport {
  readonly seeds: number;
  /** Worlds that the time did not suffice for; 0: all were run. */
  readonly left: number;
  readonly failures: readonly { readonly seed: number; readonly oracle: string; readonly message: string }[];
  readonly totals: Readonly<Record<string, number>>;
  readonly wallMs: number;
  readonly cpuMs: number;
}

type Counted = Exclude<keyof WorldResult, "digest">;

/** Runs worlds, shrinks those that fail, and shows that equal seeds give equal worlds (O9). */
export async function simulate(options: SimOptions): Promise<SimReport> {
  const { seeds, choice, say, limitMs = Number.POSITIVE_INFINITY } = options;
  const folder = simFolder();
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  const totals: Record<string, number> = {};
  const failures: SimReport["failures"][number][] = [];
  let run = 0;
  try {
    for (; run < seeds && failures.length < options.maxFailures; run++) {
      if (performance.now() - startMs >= limitMs) break;
      const seed = choice.seed + run;
      const each = { ...choice, seed };
      const onTrace = options.isTraced ? (lines: readonly string[]) => say(lines.join("\n")) : undefined;
      const outcome = await runChoice(each, folder.path, onTrace);
      // Every tenth, and whatever failed, twice.
      const isTwice = !outcome.isSound || run % 10 === 0;
      const digest = outcome.isSound ? outcome.result.digest : outcome.digest;
      if (isTwice) {
        const again = await runChoice(each, folder.path);
        const other = again.isSound ? again.result.digest : again.digest;
        if (other !== digest) {
          const message = `O9: the traces of seed ${seed} are ${digest} and ${other}`;
          failures.push({ seed, oracle: "O9", message });
          say(message);
          continue;
        }
        totals["replays"] = (totals["replays"] ?? 0) + 1;
        // It was simulated as well; everything else is counted once.
        if (again.isSound) totals["virtualMs"] = (totals["virtualMs"] ?? 0) + again.result.virtualMs;
      }
      if (outcome.isSound) {
        for (const [name, value] of Object.entries(outcome.result) as [Counted, number | string][]) {
          if (typeof value === "number") totals[name] = (totals[name] ?? 0) + value;
        }
        continue;
      }
      const { oracle, message } = outcome;
      failures.push({ seed, oracle, message });
      say(`seed ${seed} fails, and again with the same trace ${digest}: ${message.slice(0, 2_000)}`);
      if (oracle !== "OracleError" && !/^[OV]\d/.test(oracle)) say((outcome.error as Error).stack ?? "");
      if (!options.isShrinking) continue;
      const shrunk = await shrinkChoice(each, oracle, folder.path);
      say(`shrunk in ${shrunk.runs} runs: tidemark-harness ${argumentsOf(shrunk.choice)}`);
      if (!shrunk.outcome.isSound) say(`  ${shrunk.outcome.message.slice(0, 1_000)}`);
    }
  } finally {
    folder.remove();
  }
  const { user, system } = process.cpuUsage(startCpu);
  const left = failures.length < options.maxFailures ? seeds - run : 0;
  return { seeds: run, left, failures, totals, wallMs: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}

/** The report as a table. */
export function renderSim({ seeds, failures, totals, wallMs, cpuMs }: SimReport): string {
  const virtualMs = totals["virtualMs"] ?? 0;
  const rows: [string, string][] = [
    ["worlds", String(seeds)],
    ["failed", String(failures.length)],
    ...Object.entries(totals)
      .filter(([name]) => name !== "virtualMs")
      .map(([name, value]): [string, string] => [labels[name] ?? name, String(value)]),
    ["simulated minutes", (virtualMs / 60_000).toFixed(0)],
    ["wall-clock seconds", (wallMs / 1000).toFixed(1)],
    ["simulated minutes per wall-clock minute", (virtualMs / wallMs).toFixed(0)],
    ["simulated minutes per minute of CPU", (virtualMs / cpuMs).toFixed(0)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value.padStart(10)}`).join("\n");
}

const labels: Readonly<Record<string, string>> = {
  replays: "run twice with equal traces (O9)",
  places: "processes",
  commits: "commits of watchers",
  versions: "versions of graphs",
  conflicts: "conflicts",
  merges: "merges",
  crashes: "crashes",
  early: "changes that came before what they build on",
  partitions: "partitions",
  restarts: "restarts of the topic service",
  jumps: "jumps of the clock",
  streams: "streams to the topic service",
  gaps: "gaps on record",
  trimmed: "messages lost to retention",
  refused: "changes in quarantine",
  pruned: "superseded versions that were pruned",
  bootstraps: "snapshots that were taken over",
};

/** @returns the exit code */
export async function simCommand(options: SimOptions & { readonly isJson: boolean }): Promise<number> {
  const report = await simulate(options);
  process.stdout.write(options.isJson ? `${JSON.stringify(report, null, 2)}\n` : `${renderSim(report)}\n`);
  if (report.left > 0) {
    const rest = argumentsOf({ ...options.choice, seed: options.choice.seed + report.seeds }, report.left);
    options.say(`the time is over; the rest is: tidemark-harness ${rest}`);
  }
  return report.failures.length > 0 ? 1 : 0;
}
