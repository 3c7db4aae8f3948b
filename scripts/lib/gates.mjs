// What must hold besides the tests.

import { join } from "node:path";
import { Failure, root } from "./toolchain.mjs";
import { members, run, turboRun } from "./workspace.mjs";

const suffix = process.platform === "win32" ? ".cmd" : "";
const tool = (toolchain, name, args) =>
  run(toolchain, join(root, "node_modules", ".bin", `${name}${suffix}`), args, { shell: process.platform === "win32" });

const gates = {
  generate: (toolchain) => turboRun(toolchain, ["generate"]),
  format: (toolchain) => tool(toolchain, "biome", ["format", "--log-level=warn", "."]),
  lint: (toolchain) => tool(toolchain, "oxlint", ["--type-aware", "--deny-warnings", "--quiet"]),
  boundaries: (toolchain) => tool(toolchain, "turbo", ["boundaries"]),
  knip: (toolchain) => tool(toolchain, "knip", ["--no-progress", "--no-config-hints"]),
  types: (toolchain) => turboRun(toolchain, ["check-types"], ["--continue=always"]),
  packages: (toolchain) => turboRun(toolchain, ["check-package"], ["--continue=dependencies-successful"]),
};

/** Runs the named gates, or all; a failing one does not hide the next. */
export function runGates(toolchain, names) {
  const chosen = names.length > 0 ? names : Object.keys(gates);
  const unknown = chosen.filter((name) => !(name in gates));
  if (unknown.length > 0)
    throw new Failure(`A gate is one of ${Object.keys(gates).join(", ")}; got "${unknown.join(", ")}".`);
  const failed = chosen.filter((name) => {
    process.stdout.write(`--- ${name}\n`);
    return gates[name](toolchain) !== 0;
  });
  process.stdout.write(failed.length > 0 ? `\nFailed gates: ${failed.join(", ")}\n` : "\nAll gates passed\n");
  return failed.length > 0 ? 1 : 0;
}

/** Writes the API report of every published package anew. */
export function updateApiReports(toolchain) {
  const status = turboRun(toolchain, ["build"]);
  if (status !== 0) throw new Failure("The build failed; its output is above.", status);
  const script = join(root, "scripts", "check-package.mjs");
  const checked = members().filter(({ manifest }) => manifest.scripts?.["check-package"] !== undefined);
  const failed = checked.filter(
    ({ folder }) => run(toolchain, toolchain.node, [script, "--update-api"], { cwd: join(root, folder) }) !== 0,
  );
  return failed.length > 0 ? 1 : 0;
}
