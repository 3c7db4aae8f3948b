#!/usr/bin/env node
// Only syntax and imports that an old Node understands: it must get as far as the message below.
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  process.stderr.write(
    `error: Tidemark needs Node 22.18 or newer, this is ${process.version} (${process.execPath}).\n`,
  );
  process.exit(4);
}
// Commands are short: most of their time would go into compiling. In a folder of our own, since what lies in a shared one
// could be somebody else's code; in the environment, because that is where worker threads look.
process.env["NODE_COMPILE_CACHE"] ??= join(
  process.env["XDG_CACHE_HOME"] ?? process.env["LOCALAPPDATA"] ?? join(homedir(), ".cache"),
  "tidemark",
);
module.enableCompileCache();

const args = process.argv.slice(2);
if (args.length === 1 && (args[0] === "--version" || args[0] === "-V")) {
  const { version } = await import("./version.ts");
  process.stdout.write(`${version}\n`);
} else {
  const { runCli } = await import("./cli/run.ts");
  process.exitCode = await runCli(args);
}
