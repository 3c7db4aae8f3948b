import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { SimReport } from "../sim/sim-command.ts";
import type { Mutant, MutantSuite } from "./catalogue.ts";
import { repository } from "./patch.ts";

export interface MutantVerdict {
  readonly name: string;
  readonly isKilled: boolean;
  /** Where it was found: a seed and an oracle, or a test. */
  readonly foundBy: string;
  readonly seconds: number;
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function run(command: string, args: readonly string[], options: { cwd: string; env?: Record<string, string> }) {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  return new Promise<{ readonly code: number; readonly output: string; readonly errors: string }>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? 1, output, errors }));
  });
}

/** Simulates with the bug in the code, until an oracle finds it or `seeds` worlds have not. */
export async function runMutant(mutant: Mutant, seeds: number): Promise<MutantVerdict> {
  const startMs = performance.now();
  const { code, output, errors } = await run(
    process.execPath,
    [
      "--conditions=@tidemark/source",
      "--disable-warning=ExperimentalWarning",
      `--import=${here("./load-mutant.ts")}`,
      here("../main.ts"),
      "sim",
      "--seeds",
      String(seeds),
      "--seed",
      String(mutant.seed ?? 1),
      "--json",
    ],
    { cwd: repository, env: { TIDEMARK_MUTANT: mutant.name } },
  );
  const seconds = (performance.now() - startMs) / 1000;
  // 1: an oracle found something. Anything else than that or 0 is a defect of this very machinery.
  if (code !== 0 && code !== 1) throw new Error(`the simulation with ${mutant.name} ended with ${code}: ${errors}`);
  let report: SimReport;
  try {
    report = JSON.parse(output) as SimReport;
  } catch {
    throw new Error(`the simulation with ${mutant.name} gave no report: ${errors}`);
  }
  const found = report.failures[0];
  if (found === undefined)
    return { name: mutant.name, isKilled: false, foundBy: `nothing in ${seeds} worlds`, seconds };
  const what = `${found.oracle}, seed ${found.seed}`;
  const isIt = mutant.foundBy.test(found.oracle);
  return {
    name: mutant.name,
    isKilled: isIt,
    foundBy: isIt ? what : `${what}, expected ${String(mutant.foundBy)}: ${found.message.slice(0, 200)}`,
    seconds,
  };
}

interface VitestReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly title: string;
      readonly status: string;
      readonly duration?: number;
    }[];
  }[];
}

/** Runs the tests of a suite that put a bug in and want it found. */
export async function runMutantSuite({ folder, file }: MutantSuite): Promise<readonly MutantVerdict[]> {
  const cwd = join(repository, folder);
  const report = join(cwd, ".reports", "mutants.json");
  const { errors } = await run(
    process.execPath,
    [
      join(cwd, "node_modules/vitest/vitest.mjs"),
      "run",
      file,
      "-t",
      "kills the mutant",
      "--reporter=json",
      `--outputFile=${report}`,
    ],
    { cwd },
  );
  let parsed: VitestReport;
  try {
    parsed = JSON.parse(readFileSync(report, "utf8")) as VitestReport;
  } catch {
    throw new Error(`${folder}/${file} gave no report: ${errors}`);
  } finally {
    rmSync(report, { force: true });
  }
  const verdicts = parsed.testResults.flatMap(({ assertionResults }) =>
    assertionResults.flatMap(({ title, status, duration }): MutantVerdict[] => {
      const name = /kills the mutant "([^"]+)"/.exec(title)?.[1];
      if (name === undefined) return [];
      return [{ name, isKilled: status === "passed", foundBy: `${folder}/${file}`, seconds: (duration ?? 0) / 1000 }];
    }),
  );
  if (verdicts.length === 0) throw new Error(`${folder}/${file} has no test that kills a mutant`);
  return verdicts;
}
