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

/** Runs it from its sources, in its package's folder, and returns its exit code. */
export function runPackageBench({ file }: PackageBench, args: readonly string[]): Promise<number> {
  const nodeArgs = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning", "--expose-gc"];
  const child = spawn(process.execPath, [...nodeArgs, file, ...args], { cwd: join(file, "../.."), stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
}
