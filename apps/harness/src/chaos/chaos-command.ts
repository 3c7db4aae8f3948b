import { duration } from "../bench/report.ts";
import type { ChaosLoopOptions, ChaosProgress } from "./chaos-loop.ts";
import type { StepsOptions } from "./steps.ts";

export interface ChaosCommandOptions<Name extends string> {
  readonly seed: number;
  readonly minutes: number;
  readonly only: readonly Name[];
  readonly verifyEvery: number;
}

type Numbers = Readonly<Record<string, number>>;

/** Chaos from the command line: a line that tells how far it is, and a table in the end. @returns the exit code */
export async function chaosCommand<Name extends string, Verified extends Numbers>(
  run: (options: StepsOptions & ChaosLoopOptions<Name, Verified>) => Promise<ChaosProgress<Name, Verified>>,
  { seed, minutes, only, verifyEvery }: ChaosCommandOptions<Name>,
): Promise<number> {
  const out = process.stderr;
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort(new Error("stopped by its user")));
  out.write(`seed ${seed}\n`);
  try {
    const done = await run({
      seed,
      only,
      verifyEvery,
      signal: stop.signal,
      isDone: ({ elapsedMs }) => elapsedMs >= minutes * 60_000,
      onProgress(progress) {
        const line = progressLine(progress);
        out.write(out.isTTY ? `\r\u001b[K${line}` : `${line}\n`);
      },
    });
    if (out.isTTY) out.write("\n");
    const isLeftOut = only.filter((name) => !done.inflicted.has(name));
    process.stdout.write(finalTable(done, isLeftOut));
    return 0;
  } catch (error) {
    if (out.isTTY) out.write("\n");
    out.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

type Shown = ChaosProgress<string, Numbers>;

const listed = (numbers: Numbers) =>
  Object.entries(numbers)
    .map(([name, value]) => `${value} ${name}`)
    .join(", ");

function progressLine({ elapsedMs, total, counts, verifications, verified }: Shown): string {
  const proof = verified === undefined ? "" : `; proven: ${listed(verified)}`;
  return `${duration(elapsedMs)}: ${total} faults, ${listed(counts)}, ${verifications} proofs${proof}`;
}

function finalTable(done: Shown, leftOut: readonly string[]): string {
  const { seed, elapsedMs, inflicted, counts, verifications, verified } = done;
  const rows: [string, string | number][] = [
    ["seed", seed],
    ["time", duration(elapsedMs)],
    ...[...inflicted].toSorted(([a], [b]) => a.localeCompare(b)),
    ...leftOut.map((name): [string, string] => [name, "left out: not chosen, or this machine cannot"]),
    ...Object.entries(counts),
    ...Object.entries(verified ?? {}),
    ["proofs, all without a finding", verifications],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")}\n`;
}
