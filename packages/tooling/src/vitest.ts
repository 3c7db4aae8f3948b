import { defineConfig, type ViteUserConfig } from "vitest/config";

const conditions = ["@tidemark/source", "node"];

/** The test runner's settings of every package; `test` overrides single ones. */
export function packageTests(test: ViteUserConfig["test"] = {}): ViteUserConfig {
  return defineConfig({
    resolve: { conditions },
    ssr: { resolve: { conditions } },
    test: {
      include: ["test/**/*.test.ts"],
      // Worker threads and child processes of a test resolve siblings to sources too.
      execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"],
      testTimeout: 30_000,
      hookTimeout: 30_000,
      // The report is what the root test command sums up.
      reporters: [process.env["CI"] || process.env["TURBO_HASH"] ? "dot" : "default", "json"],
      outputFile: { json: ".reports/vitest.json" },
      passWithNoTests: true,
      ...test,
    },
  });
}
