// The servers and the worker that the tests share, made once for all test files.

import { fileURLToPath } from "node:url";
import { startDatabases } from "@tidemark/tooling/servers";
import { build } from "esbuild";
import type { TestProject } from "vitest/node";
import { workerBundle } from "./worker-bundle.ts";

export { asUser, pathOf, run, scratchFolder, serve, split, startMariaDb, stop } from "@tidemark/tooling/servers";

/** Hundreds of these are started: from one file they are up in a fifth of the time it takes from sources. */
async function bundleWorker(): Promise<void> {
  await build({
    entryPoints: [fileURLToPath(new URL("./worker-process.ts", import.meta.url))],
    outfile: workerBundle,
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["@tidemark/source"],
    external: ["better-sqlite3", "pg", "postgres", "mysql2"],
    logLevel: "error",
  });
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await bundleWorker();
  return startDatabases(project, ["postgres", "mariadb"]);
}
