import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A benchmark that a package brings along. */
export interface PackageBench {
  /** Package and file, such as `stream/handoff`. */
  readonly name: string;
  readonly file: string;
}

/** The repository, seen from a file of ours: sources and build both are two folders inside of it, in `apps/harness`. */
const root = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../../.." : "../../..", import.meta.url));

/** Every `packages/<name>/bench/<file>.ts`. */
export function packageBenches(): readonly PackageBench[] {
  const packages = join(root, "packages");
  return readdirSync(packages)
    .toSorted()
    .flatMap((name) => {
      const folder = join(packages, name, "bench");
      if (!existsSync(folder)) return [];
      return readdirSync(folder)
        .filter((file) => file.endsWith(".ts"))
        .toSorted()
        .map((file) => ({ name: `${name}/${file.replace(/\.ts$/, "")}`, file: join(folder, file) }));
    });
}

/** The one that is meant: by its whole name, or by its file's where that is the only one. */
export function findPackageBench(name: string, benches: readonly PackageBench[]): PackageBench | undefined {
  const exact = benches.find((bench) => bench.name === name);
  if (exact !== undefined) return exact;
  const byFile = benches.filter((bench) => bench.name.split("/")[1] === name);
  return byFile.length === 1 ? byFile[0] : undefined;
}

export interface RunPackageBenchOptions {
  /** Is given what it prints. @default it prints to our own output */
  readonly onOutput?: (text: string) => void;
  /** It is ended after so long, in milliseconds. @default never */
  readonly limitMs?: number;
}

/**
 * Runs it from its sources, in its package's folder.
 *
 * @returns its exit code; undefined: its time was over
 */
export function runPackageBench(
  { file }: PackageBench,
  args: readonly string[],
  { onOutput, limitMs }: RunPackageBenchOptions = {},
): Promise<number | undefined> {
  const nodeArgs = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning", "--expose-gc"];
  const child = spawn(process.execPath, [...nodeArgs, file, ...args], {
    cwd: join(file, "../.."),
    stdio: ["inherit", onOutput === undefined ? "inherit" : "pipe", "inherit"],
    // A group of its own: some start others, which have to end with them.
    detached: limitMs !== undefined,
  });
  if (onOutput !== undefined) child.stdout?.setEncoding("utf8").on("data", onOutput);
  let isOver = false;
  const end = () => {
    isOver = true;
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  };
  const timer = limitMs === undefined ? undefined : setTimeout(end, limitMs);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve(isOver ? undefined : (code ?? 1));
    });
  });
}
