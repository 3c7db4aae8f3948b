// The one entry of every root script: `node scripts/run.mjs <command> [args]`. Runs on Node 20 and newer without any dependency.

import { spawnSync } from "node:child_process";
import { ensureToolchain, Failure, root } from "./lib/toolchain.mjs";

function run(toolchain, file, args) {
  const done = spawnSync(file, args, { cwd: process.cwd(), stdio: "inherit", env: toolchain.env });
  if (done.error) throw new Failure(`${file} could not be started: ${done.error.message}`);
  return done.status ?? 1;
}

const commands = {
  /** Any command with the toolchain first on PATH. */
  exec(args) {
    const toolchain = ensureToolchain();
    const [file, ...rest] = args;
    if (file === undefined)
      throw new Failure("exec needs a command, for example: node scripts/run.mjs exec pnpm install");
    return run(toolchain, file, rest);
  },
  install(args) {
    const toolchain = ensureToolchain();
    process.chdir(root);
    return run(toolchain, toolchain.pnpm, ["install", "--prefer-offline", ...args]);
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
