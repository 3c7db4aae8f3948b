// `npm test`: what counts, and what its last line says.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

interface Task {
  readonly task: string;
  readonly package: string;
  readonly directory: string;
  readonly command: string;
  readonly execution: { readonly exitCode: number };
}

interface Sum {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
}

const root = join(import.meta.dirname, "../../..");
const { sumReports } = (await import(join(root, "scripts/lib/test-report.mjs"))) as {
  sumReports(tasks: readonly Task[] | undefined, read: (folder: string) => unknown, turboStatus: number): Sum;
};

const ran = (name: string, exitCode = 0, task = "test"): Task => ({
  task,
  package: name,
  directory: name,
  command: "vitest run",
  execution: { exitCode },
});

const report = (status: "failed" | "passed", ...tests: readonly string[]) => ({
  testResults: [
    {
      name: "/repo/x.test.ts",
      status,
      assertionResults: tests.map((each) => ({ status: each, fullName: `is ${each}` })),
    },
  ],
});

test("sums every package and names what did not pass", () => {
  const reports: Record<string, unknown> = {
    a: report("passed", "passed", "passed", "skipped"),
    b: report("failed", "passed", "failed"),
  };
  expect(sumReports([ran("a"), ran("b", 1)], (folder) => reports[folder], 1)).toEqual({
    passed: 3,
    failed: ["b x.test.ts: is failed"],
    skipped: ["a x.test.ts: is skipped"],
  });
});

test("a runner that leaves no report is a failure", () => {
  expect(sumReports([ran("a", 139)], () => undefined, 1).failed).toEqual(["a: the test runner ended without a report"]);
});

test("a file that does not load is a failure", () => {
  expect(sumReports([ran("a", 1)], () => report("failed"), 1).failed).toEqual([
    "a x.test.ts: the file failed outside of any test",
  ]);
});

test("a runner that fails although every test passed is a failure", () => {
  expect(sumReports([ran("a", 1)], () => report("passed", "passed"), 1).failed).toHaveLength(1);
});

test("a failed task before the tests is a failure, and so is turbo's own", () => {
  expect(sumReports([ran("a", 2, "generate")], () => undefined, 2).failed).toHaveLength(1);
  expect(sumReports([], () => undefined, 1).failed).toHaveLength(1);
  expect(sumReports(undefined, () => undefined, 0).failed).toHaveLength(1);
});

test("a required service that is missing ends the run up front, by name", () => {
  const env = { ...process.env, PATH: dirname(process.execPath), TIDEMARK_REQUIRE_SERVICES: "etcd,chromium" };
  const done = spawnSync(process.execPath, [join(root, "scripts/run.mjs"), "test"], { env, encoding: "utf8" });
  expect(done.status).toBe(1);
  expect(done.stderr).toContain("TIDEMARK_REQUIRE_SERVICES names etcd, but there is no etcd and no etcdctl");
  expect(done.stdout).toBe("");
});
