// Sums what every package's test runner wrote into one plain result.

import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { members } from "./workspace.mjs";
import { root } from "./toolchain.mjs";

const runs = join(root, ".turbo", "runs");
const reportOf = (folder) => join(root, folder, ".reports", "vitest.json");

/** Removes the results of earlier runs, so that none of them can be taken for a new one. */
export function clearReports() {
  rmSync(runs, { recursive: true, force: true });
  for (const { folder } of members()) rmSync(join(root, folder, ".reports"), { recursive: true, force: true });
}

/** The tasks turbo ran, from the summary it wrote. */
function ranTasks() {
  const name = existsSync(runs) ? readdirSync(runs).find((each) => each.endsWith(".json")) : undefined;
  return name === undefined ? undefined : JSON.parse(readFileSync(join(runs, name), "utf8")).tasks;
}

/** `{ passed, failed, skipped }`: the count of passes, and the names of the others. */
export function readReports(turboStatus) {
  const result = { passed: 0, failed: [], skipped: [] };
  const tasks = ranTasks();
  if (tasks === undefined) {
    result.failed.push("turbo: ended before it ran anything");
    return result;
  }
  for (const { task, package: name, directory, execution, command } of tasks) {
    if (command === "<NONEXISTENT>") continue;
    const exitCode = execution?.exitCode;
    const report = task === "test" ? readOne(name, directory, result) : undefined;
    if (task !== "test") {
      if (exitCode !== undefined && exitCode !== 0) result.failed.push(`${name}: ${task} failed`);
    } else if (report === undefined) {
      result.failed.push(`${name}: the test runner ended without a report`);
    } else if (exitCode !== undefined && exitCode !== 0 && report.failed === 0) {
      result.failed.push(`${name}: the test runner failed outside of any test (exit code ${exitCode})`);
    }
  }
  if (turboStatus !== 0 && result.failed.length === 0) result.failed.push(`turbo: ended with exit code ${turboStatus}`);
  return result;
}

function readOne(name, directory, result) {
  const file = reportOf(directory);
  if (!existsSync(file)) return undefined;
  let failed = 0;
  for (const suite of JSON.parse(readFileSync(file, "utf8")).testResults) {
    const where = `${name} ${suite.name.slice(suite.name.lastIndexOf("/") + 1)}`;
    const before = failed;
    for (const test of suite.assertionResults) {
      if (test.status === "passed") result.passed++;
      else if (test.status === "failed") {
        failed++;
        result.failed.push(`${where}: ${test.fullName}`);
      } else result.skipped.push(`${where}: ${test.fullName}`);
    }
    // A file that does not even load has no test to fail.
    if (suite.status === "failed" && failed === before) {
      failed++;
      result.failed.push(`${where}: the file failed outside of any test`);
    }
  }
  return { failed };
}

/** Prints the names that need attention and, as the very last line, the sum. Returns the exit code. */
export function printReport({ passed, failed, skipped }) {
  const lines = [];
  if (skipped.length > 0) lines.push("", "Skipped:", ...skipped.map((name) => `  ${name}`));
  if (failed.length > 0) lines.push("", "Failed:", ...failed.map((name) => `  ${name}`));
  lines.push("", `${passed} passed, ${failed.length} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ""}`);
  process.stdout.write(`${lines.join("\n")}\n`);
  return failed.length > 0 ? 1 : 0;
}
