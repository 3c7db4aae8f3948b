// The command line and the definitions of these tests, bundled: a process of it is up in a fifth of the time.

import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folder = at(`../node_modules/.cache/migrate-cli-${process.pid}`);

export interface CliBundle {
  readonly main: string;
  /** A folder of definitions. */
  definitions(name: string): string;
  remove(): void;
}

export async function bundleCli(): Promise<CliBundle> {
  await build({
    entryPoints: {
      "cli/main": at("../src/main.ts"),
      "cli/engine-worker": at("../../../packages/migrate/src/engine-worker.ts"),
      "cli/probe-worker": at("../../../packages/migrate/src/probe-worker.ts"),
      ...Object.fromEntries(
        ["sqlite/people", "postgresql/people", "mysql/people", "slow/slow", "broken/broken"].map((name) => [
          `definitions/${name}`,
          at(`./definitions/${name}.ts`),
        ]),
      ),
      // What the README of @tidemark/migrate shows.
      "definitions/readme/last-seen": at("../../../packages/migrate/examples/last-seen.ts"),
    },
    outdir: folder,
    bundle: true,
    // What several need is beside them, where the engine looks for its thread.
    splitting: true,
    chunkNames: "cli/[name]-[hash]",
    platform: "node",
    format: "esm",
    conditions: ["@tidemark/source"],
    packages: "bundle",
    external: ["better-sqlite3", "pg", "postgres", "mysql2", "esbuild", "pino", "prom-client"],
    logLevel: "error",
    banner: { js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url);' },
  });
  // It says which version it is.
  copyFileSync(at("../package.json"), join(folder, "package.json"));
  return {
    main: join(folder, "cli/main.js"),
    definitions: (name) => join(folder, "definitions", name),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
