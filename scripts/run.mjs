// The one entry of every root script: `node scripts/run.mjs <command> [args]`. Runs on Node 20 and newer without any
// dependency, since it is what brings the dependencies.

import { randomInt } from "node:crypto";
import { join } from "node:path";
import { runGates, updateApiReports } from "./lib/gates.mjs";
import { findServices } from "./lib/services.mjs";
import { clearReports, printReport, readReports } from "./lib/test-report.mjs";
import { ensureToolchain, Failure, root } from "./lib/toolchain.mjs";
import { tryPackages } from "./lib/try-packages.mjs";
import { ensureBuilt, ensureGenerated, ensureInstalled, foreground, run, turboRun } from "./lib/workspace.mjs";

/** What Node needs to run a program of this repository as it is written. */
const fromSources = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];

const commands = {
  /** The daemon on its defaults; arguments are `tidemark up`'s. */
  start(args) {
    const toolchain = ensureToolchain();
    // What the daemon suggests to run next works here, too.
    toolchain.env.TIDEMARK_COMMAND ??= "node scripts/run.mjs tidemark";
    return foreground(toolchain, [ensureBuilt(toolchain, "daemon"), "up", ...args]);
  },

  /** Any command of `tidemark`, in the current folder: `alias tidemark="node $PWD/scripts/run.mjs tidemark"`. */
  tidemark(args) {
    const toolchain = ensureToolchain();
    return foreground(toolchain, [ensureBuilt(toolchain, "daemon"), ...args]);
  },

  /** A benchmark of the harness by name. */
  bench(args) {
    const toolchain = ensureToolchain();
    return foreground(toolchain, [ensureBuilt(toolchain, "harness"), "bench", ...args]);
  },

  /** Any command of `tidemark-harness`, from its sources, which is where mutants are made. */
  harness(args) {
    const toolchain = ensureToolchain();
    ensureGenerated(toolchain, "harness");
    return foreground(toolchain, [...fromSources, join(root, "apps/harness/src/main.ts"), ...args]);
  },

  /** Two sites on this machine and what can go wrong between them, to watch: `--seconds N`. */
  "demo-sites"(args) {
    const toolchain = ensureToolchain();
    const tidemark = ensureBuilt(toolchain, "daemon");
    const demo = join(root, "apps/daemon/demo/sites.ts");
    return foreground(toolchain, [...fromSources, demo, "--tidemark", tidemark, ...args]);
  },

  /** Every test; `--long` is the long mode, other arguments are turbo's, such as `--filter=@tidemark/clock`. */
  test(args) {
    const services = findServices();
    const toolchain = ensureToolchain();
    ensureInstalled(toolchain);
    clearReports();
    const isLong = args.includes("--long") || process.env.TIDEMARK_LONG === "1";
    const seed = process.env.TIDEMARK_SEED ?? `${randomInt(2 ** 31)}`;
    if (isLong) process.stderr.write(`The seed of this run is TIDEMARK_SEED=${seed}\n`);
    const status = turboRun(
      toolchain,
      ["test"],
      ["--summarize", "--continue=dependencies-successful", ...args.filter((each) => each !== "--long")],
      { TIDEMARK_SERVICES: services, ...(isLong ? { TIDEMARK_LONG: "1", TIDEMARK_SEED: seed } : {}) },
    );
    return printReport(readReports(status));
  },

  /** The gates; by name, or all of them. */
  check(args) {
    const toolchain = ensureToolchain();
    ensureInstalled(toolchain);
    return runGates(toolchain, args);
  },

  /** Rewrites the API reports in etc/, which `check` compares. */
  api() {
    const toolchain = ensureToolchain();
    ensureInstalled(toolchain);
    return updateApiReports(toolchain);
  },

  /** The packages as a user installs them, under the Node that runs this. */
  "try-packages"() {
    const toolchain = ensureToolchain();
    ensureInstalled(toolchain);
    return tryPackages(toolchain);
  },

  /** Any command with the toolchain first on PATH, in the current folder. */
  exec(args) {
    const [file, ...rest] = args;
    if (file === undefined) throw new Failure("exec needs a command, such as: node scripts/run.mjs exec pnpm install");
    return run(ensureToolchain(), file, rest, { cwd: process.cwd() });
  },

  /** Dependencies, when they changed. */
  install() {
    ensureInstalled(ensureToolchain());
    return 0;
  },
};

try {
  const [name = "", ...args] = process.argv.slice(2);
  const command = commands[name];
  if (command === undefined) throw new Failure(`Expected one of ${Object.keys(commands).join(", ")}; got "${name}".`);
  process.exitCode = await command(args);
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.exitCode;
}
