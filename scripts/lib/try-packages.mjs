// The packages as a user meets them: packed, installed into an empty folder by npm, and started under the Node at hand.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Failure, npmCommand, root } from "./toolchain.mjs";
import { members, run, turboRun } from "./workspace.mjs";

function must(name, status) {
  if (status !== 0) throw new Failure(`${name} failed; its output is above.`);
}

/** Packs every published package and returns `{ name, entries, bins, tarball }` of each. */
function packAll(toolchain, folder) {
  const published = members().filter(({ manifest }) => manifest.private !== true);
  return published.map(({ folder: source, manifest }) => {
    const tarball = join(folder, `${manifest.name.replace("@", "").replace("/", "-")}.tgz`);
    must(
      `Packing ${manifest.name}`,
      run(toolchain, toolchain.pnpm, ["pack", "--out", tarball], {
        cwd: join(root, source),
        stdio: ["ignore", "ignore", "inherit"],
      }),
    );
    const entries = Object.keys(manifest.publishConfig?.exports ?? {}).map((each) => manifest.name + each.slice(1));
    return { name: manifest.name, entries, bins: Object.keys(manifest.bin ?? {}), tarball };
  });
}

/** Starts the daemon in an empty folder, waits for its ready line, asks for its health, and stops it. */
async function tryDaemon(folder, env) {
  const args = [join(folder, "node_modules", "@tidemark", "daemon", "dist", "main.js"), "up", "--json"];
  const data = join(folder, "data");
  mkdirSync(data);
  const child = spawn(process.execPath, [...args, "--listen", "127.0.0.1:0", "--data", data], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.includes('"ready":true')) continue;
      const { http } = JSON.parse(line);
      const health = await fetch(new URL("/healthz", http));
      if (!health.ok) throw new Failure(`/healthz of the installed daemon says ${health.status}.`);
      child.kill("SIGTERM");
      const code = await ended;
      if (code !== 0) throw new Failure(`The installed daemon ended with ${code} after SIGTERM.`);
      return;
    }
    throw new Failure(`The installed daemon ended with ${await ended} before it was ready.`);
  } finally {
    child.kill("SIGKILL");
  }
}

/** Under `process.execPath`, which is the user's Node and not the toolchain's. */
export async function tryPackages(toolchain) {
  must("The build", turboRun(toolchain, ["build"]));
  const scratch = mkdtempSync(join(tmpdir(), "tidemark-try-"));
  const env = { ...process.env, NODE_ENV: "production" };
  try {
    const packed = packAll(toolchain, scratch);
    const folder = join(scratch, "user");
    mkdirSync(folder);
    const dependencies = Object.fromEntries(packed.map(({ name, tarball }) => [name, `file:${tarball}`]));
    // Siblings ask npm for each other by version; until that is published, the tarball at hand is meant.
    const manifest = { name: "user", private: true, type: "module", dependencies, overrides: dependencies };
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
    const npm = npmCommand();
    const install = [...npm.args, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    must("npm install of the packed packages", run({ env }, npm.file, install, { cwd: folder, shell: npm.shell }));

    const imports = packed.flatMap(({ entries }) =>
      entries.map((entry) => `await import(${JSON.stringify(entry)});\n`),
    );
    writeFileSync(join(folder, "all.js"), imports.join(""));
    must("Importing the installed packages", run({ env }, process.execPath, ["all.js"], { cwd: folder }));
    await tryDaemon(folder, env);
    process.stdout.write(`${imports.length} entries and the daemon work on Node ${process.versions.node}\n`);
    return 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
