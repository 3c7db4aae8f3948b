import { mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "tsup";
import type { Plugin } from "vitest/config";

// A history's threads load their modules themselves, each thread anew, and drizzle's hundred take longer than most tests do.
// So the tests start them from one file each, as users do; it is made from the sources whenever tests are run.

const folder = join(import.meta.dirname, "../../node_modules/.cache/tidemark-threads");
// The same for every run: what the test runner made of a module is used again.
const url = pathToFileURL(join(folder, "history-workers.js")).href;

/** Makes the files. Another run may be using those that are there. */
export async function bundleThreads(): Promise<void> {
  const made = `${folder}-${process.pid}`;
  await build({
    config: false,
    entry: ["src/history-writer-worker.ts", "src/history-reader-worker.ts"],
    outDir: made,
    format: "esm",
    platform: "node",
    target: "node22",
    splitting: false,
    noExternal: ["drizzle-orm", /^@tidemark\//],
    esbuildOptions: (options) => void (options.conditions = ["@tidemark/source"]),
    sourcemap: "inline",
    dts: false,
    silent: true,
  });
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(made)) renameSync(join(made, file), join(folder, file));
  rmSync(made, { recursive: true });
}

/** Lets `history-workers.ts` find them beside itself. */
export const bundledThreads: Plugin = {
  name: "tidemark-threads",
  enforce: "pre",
  transform: (code, id) =>
    id.endsWith("/src/history-workers.ts") ? code.replaceAll("import.meta.url", JSON.stringify(url)) : undefined,
};
