// Installing, and running turbo and our own programs, inside the repository.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism, constants } from "node:os";
import { join } from "node:path";
import { fingerprint, stamp } from "./fingerprint.mjs";
import { Failure, root } from "./toolchain.mjs";

const groups = ["packages", "apps"];

/** Every package and app, as `{ folder, manifest }`. */
export function members() {
  return groups.flatMap((group) =>
    readdirSync(join(root, group)).flatMap((name) => {
      const folder = join(group, name);
      const file = join(root, folder, "package.json");
      return existsSync(file) ? [{ folder, manifest: JSON.parse(readFileSync(file, "utf8")) }] : [];
    }),
  );
}

/** Runs a program in the repository's root and returns its exit code. */
export function run(toolchain, file, args, options = {}) {
  const done = spawnSync(file, args, { cwd: root, stdio: "inherit", env: toolchain.env, ...options });
  if (done.error) throw new Failure(`${file} could not be started: ${done.error.message}`);
  return done.status ?? 1;
}

const manifests = () =>
  groups.flatMap((group) => readdirSync(join(root, group)).map((name) => join(group, name, "package.json")));

/** `pnpm install`, unless nothing it reads has changed since the last one. */
export function ensureInstalled(toolchain) {
  const inputs = () => fingerprint(["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ...manifests()]);
  // Inside node_modules, so that both vanish together.
  const installed = stamp("node_modules/.tidemark-installed");
  if (installed.matches(inputs())) return;
  process.stderr.write("Installing dependencies\n");
  const done = spawnSync(toolchain.pnpm, ["install", "--prefer-offline", "--reporter=append-only"], {
    cwd: root,
    env: toolchain.env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (done.error || done.status !== 0) {
    process.stderr.write(`${done.stdout ?? ""}${done.stderr ?? ""}`);
    throw new Failure("pnpm install failed; its output is above.");
  }
  installed.write(inputs());
}

/** Two tasks on two cores: each may start workers of its own, so more would only make them wait for each other. */
const atOnce = Math.max(2, Math.ceil(availableParallelism() / 2));
/** Tests of a package wait for disks, servers and timers for about a third of their time, so one more has room. */
const testsAtOnce = Math.max(3, atOnce);

/** `turbo run` with quiet output: what succeeds says nothing. */
export function turboRun(toolchain, tasks, args = [], env = {}) {
  const turbo = join(root, "node_modules", ".bin", process.platform === "win32" ? "turbo.cmd" : "turbo");
  const concurrency = `--concurrency=${tasks.includes("test") ? testsAtOnce : atOnce}`;
  const given = args.some((each) => each.startsWith("--concurrency")) ? [] : [concurrency];
  return run(toolchain, turbo, ["run", ...tasks, "--output-logs=errors-only", ...given, ...args], {
    env: { ...toolchain.env, ...env },
    shell: process.platform === "win32",
  });
}

/** Builds an app and what it stands on, unless nothing it is made of has changed. */
export function ensureBuilt(toolchain, app) {
  const main = join(root, "apps", app, "dist", "main.js");
  const inputs = fingerprint([
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "turbo.json",
    "tsconfig.base.json",
    "tsconfig.build.json",
    "buf.gen.yaml",
    "proto",
    "scripts",
    "packages",
    `apps/${app}`,
  ]);
  const built = stamp(`.toolchain/built-${app}`);
  if (existsSync(main) && built.matches(inputs)) return main;
  ensureInstalled(toolchain);
  process.stderr.write("Building\n");
  const status = turboRun(toolchain, ["build"], [`--filter=@tidemark/${app}`]);
  if (status !== 0) throw new Failure("The build failed; its output is above.", status);
  built.write(inputs);
  return main;
}

/** Makes an app fit to be run from its sources: what it depends on is installed, what is generated is there. */
export function ensureGenerated(toolchain, app) {
  const inputs = fingerprint([
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "buf.gen.yaml",
    "buf.yaml",
    "proto",
    "scripts",
    ...manifests(),
  ]);
  const generated = stamp(`.toolchain/generated-${app}`);
  if (existsSync(join(root, "apps", app, "src", "gen")) && generated.matches(inputs)) return;
  ensureInstalled(toolchain);
  const status = turboRun(toolchain, ["generate"], [`--filter=@tidemark/${app}...`]);
  if (status !== 0) throw new Failure("The code could not be generated; the output is above.", status);
  generated.write(inputs);
}

const forwarded = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Runs a program in the foreground as if it had been started instead of this one: same signals, same exit code. */
export function foreground(toolchain, args) {
  const child = spawn(toolchain.node, args, { stdio: "inherit", env: toolchain.env });
  for (const signal of forwarded) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the child as well; a second one would ask it to stop at once.
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  // npm passes a SIGTERM on to the shell in between, which dies of it and tells nobody.
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.env.npm_lifecycle_event === undefined || process.ppid === parent) return;
    clearInterval(watch);
    child.kill("SIGTERM");
  }, 250);
  watch.unref();
  return new Promise((resolve, reject) => {
    child.on("error", (error) => reject(new Failure(`The program could not be started: ${error.message}`)));
    child.on("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}
