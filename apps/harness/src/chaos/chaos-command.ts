import { duration } from "../bench/report.ts";
import { type ChaosProgress, runChaos } from "./chaos-run.ts";
import type { FaultName } from "./faults.ts";

export interface ChaosCommandOptions {
  readonly seed: number;
  readonly minutes: number;
  readonly only: readonly FaultName[];
  readonly verifyEvery: number;
}

/** Chaos from the command line: a line that tells how far it is, and a table in the end. */
export async function chaosCommand({ seed, minutes, only, verifyEvery }: ChaosCommandOptions): Promise<number> {
  const out = process.stderr;
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort(new Error("stopped by its user")));
  out.write(`seed ${seed}\n`);
  const show = (progress: ChaosProgress) => {
    const line = progressLine(progress);
    out.write(out.isTTY ? `\r\u001b[K${line}` : `${line}\n`);
  };
  try {
    const done = await runChaos({
      seed,
      only,
      verifyEvery,
      signal: stop.signal,
      isDone: ({ elapsedMs }) => elapsedMs >= minutes * 60_000,
      onProgress: show,
    });
    if (out.isTTY) out.write("\n");
    process.stdout.write(finalTable(done));
    return 0;
  } catch (error) {
    if (out.isTTY) out.write("\n");
    out.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

function progressLine({ elapsedMs, total, followerKills, operations, verifications, verified }: ChaosProgress): string {
  const proof = verified === undefined ? "" : `; proven: ${verified.versions} versions, ${verified.gaps} gaps`;
  return `${duration(elapsedMs)}: ${total} faults (${followerKills} kills), ${operations} writes, ${verifications} proofs${proof}`;
}

function finalTable({ seed, elapsedMs, inflicted, operations, verifications, verified }: ChaosProgress): string {
  const rows: [string, string | number][] = [
    ["seed", seed],
    ["time", duration(elapsedMs)],
    ...[...inflicted].toSorted(([a], [b]) => a.localeCompare(b)),
    ["writes to etcd", operations],
    ["changes in etcd", verified?.changes ?? 0],
    ["versions in the history", verified?.versions ?? 0],
    ["epochs", verified?.epochs ?? 0],
    ["gaps on record", verified?.gaps ?? 0],
    ["proofs, all without a finding", verifications],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")}\n`;
}
