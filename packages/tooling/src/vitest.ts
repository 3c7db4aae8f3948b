import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const conditions = ["@tidemark/source", "node"];
const seeds = fileURLToPath(new URL("./seeds.ts", import.meta.url));
const fileScope = fileURLToPath(new URL("./file-scope-setup.ts", import.meta.url));
/** Shared by all packages; what has changed is compiled anew. */
const compiled = fileURLToPath(new URL("../../../node_modules/.cache/tidemark-compiled", import.meta.url));

/** Files that share a process run in the same order every time, so that one which disturbs another does so every time. */
class ByName extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1));
  }
}

/**
 * The test runner's settings of every package; `test` overrides single ones. With `isolate: false` the files of a package
 * share a process and what they import, which spares most of the time of small files: `onFileFinished` then ends what
 * belongs to one file.
 */
export function packageTests(test: ViteUserConfig["test"] = {}): ViteUserConfig {
  return defineConfig({
    plugins: [
      {
        name: "tidemark-seeds",
        enforce: "pre",
        resolveId: (id, importer) => (id === "fast-check" && importer !== seeds ? seeds : undefined),
      },
    ],
    // Packages may have copies of the runner of their own, and only that of the package at hand knows its tests.
    resolve: { conditions, dedupe: ["vitest"] },
    ssr: { resolve: { conditions } },
    test: {
      include: ["test/**/*.test.ts"],
      setupFiles: [fileScope],
      // Worker threads and child processes of a test resolve siblings to sources too.
      execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"],
      // They also take the types out of sources and compile them, each anew: more than what most of them do then.
      env: { NODE_COMPILE_CACHE: compiled },
      // Far more than any of them takes: what is slow is the machine.
      testTimeout: 60_000,
      hookTimeout: 60_000,
      expect: { poll: { timeout: 30_000 } },
      ...(test.isolate === false && { sequence: { sequencer: ByName } }),
      // The report is what the root test command sums up.
      reporters: [process.env["CI"] || process.env["TURBO_HASH"] ? "dot" : "default", "json"],
      outputFile: { json: ".reports/vitest.json" },
      passWithNoTests: true,
      ...test,
    },
  });
}
