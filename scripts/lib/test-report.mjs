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

/**
 * `{ passed, failed, skipped }`: the count of passes, and the names of the others. Whatever went wrong outside of a test
 * counts as one failure, so that the sum is never better than the run.
 *
 * @public its test imports it
 */
export function sumReports(tasks, readReport, turboStatus) {
  const result = { passed: 0, failed: [], skipped: [] };
  if (tasks === undefined) result.failed.push("turbo ended without a summary");
  for (const { task, package: name, directory, execution, command } of tasks ?? []) {
    if (command === "<NONEXISTENT>") continue;
    const isBroken = (execution?.exitCode ?? 0) !== 0;
    const before = result.failed.length;
    if (task === "test") {
      const report = readReport(directory);
      if (report === undefined) result.failed.push(`${name}: the test runner ended without a report`);
      else addReport(name, report, result);
    }
    if (isBroken && result.failed.length === before) {
      result.failed.push(`${name}: ${task} failed outside of any test (exit code ${execution.exitCode})`);
    }
  }
  if (turboStatus !== 0 && result.failed.length === 0) result.failed.push(`turbo ended with exit code ${turboStatus}`);
  return result;
}

function addReport(name, report, result) {
  for (const suite of report.testResults) {
    const where = `${name} ${suite.name.slice(suite.name.lastIndexOf("/") + 1)}`;
    const before = result.failed.length;
    for (const test of suite.assertionResults) {
      if (test.status === "passed") result.passed++;
      else if (test.status === "failed") result.failed.push(`${where}: ${test.fullName}`);
      else result.skipped.push(`${where}: ${test.fullName}`);
    }
    // A file that does not even load has no test to fail.
    if (suite.status === "failed" && result.failed.length === before) {
      result.failed.push(`${where}: the file failed outside of any test`);
    }
  }
}

/** The sum of the run that just ended. */
export function readReports(turboStatus) {
  const read = (folder) => {
    const file = reportOf(folder);
    return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
  };
  return sumReports(ranTasks(), read, turboStatus);
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
