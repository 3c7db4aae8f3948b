// The command line, its threads, its page and the definitions of these tests, bundled once for all test files: hundreds of
// processes are started here, and from a bundle one takes a fifth of what it takes from sources.

import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import type { TestProject } from "vitest/node";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const sibling = (path: string) => at(`../../../packages/${path}.ts`);
const folder = at(`../node_modules/.cache/cli-${process.pid}`);

declare module "vitest" {
  interface ProvidedContext {
    /** Where the bundle is. */
    readonly bundle: string;
  }
}

/** Called by vitest before the first test file; what it returns, after the last one. */
export default async function bundleCli(project: TestProject): Promise<() => void> {
  await esbuild.build({
    entryPoints: {
      "cli/main": at("../src/main.ts"),
      // What a configuration imports.
      "cli/index": at("../src/index.ts"),
      // Threads, where the bundled code looks for them.
      "cli/engine-worker": sibling("migrate/src/engine-worker"),
      "cli/probe-worker": sibling("migrate/src/probe-worker"),
      "cli/history-writer-worker": sibling("store-watch/src/history-writer-worker"),
      "cli/history-reader-worker": sibling("store-watch/src/history-reader-worker"),
      "cli/database/store-worker": sibling("watch-server/src/database/store-worker"),
      "cli/compression/codec-worker": sibling("topic/src/compression/codec-worker"),
      "cli/warmup-banner": sibling("status/src/warmup-banner"),
      ...Object.fromEntries(
        ["sqlite/people", "postgresql/people", "mysql/people", "slow/slow", "broken/broken"].map((name) => [
          `definitions/${name}`,
          at(`./definitions/${name}.ts`),
        ]),
      ),
      // What the README of @tidemark/migrate shows.
      "definitions/readme/last-seen": sibling("migrate/examples/last-seen"),
    },
    outdir: folder,
    bundle: true,
    // What several need is beside them, where the threads are looked for.
    splitting: true,
    chunkNames: "cli/[name]-[hash]",
    platform: "node",
    format: "esm",
    conditions: ["@tidemark/source"],
    packages: "bundle",
    external: ["better-sqlite3", "pg", "postgres", "mysql2", "esbuild", "pino", "@opentelemetry/api"],
    define: { tidemarkIsBuilt: "true" },
    logLevel: "error",
    banner: { js: 'import { createRequire as __cr } from "node:module"; const require = __cr(import.meta.url);' },
  });
  // Not of its interface: the build of the package at hand asks for it, too.
  const { buildPage } = (await import(sibling("console/src/page-build"))) as {
    readonly buildPage: (tool: typeof esbuild) => readonly { readonly path: string; readonly body: Uint8Array }[];
  };
  for (const { path, body } of buildPage(esbuild)) {
    const file = join(folder, "cli/page", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, body);
  }
  // It says which version it is.
  copyFileSync(at("../package.json"), join(folder, "package.json"));
  project.provide("bundle", folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
