// Generates TypeScript into the calling package's src/gen/: `node ../../scripts/generate.mjs etcd [more subtrees of proto/]`.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./lib/toolchain.mjs";

const subtrees = process.argv.slice(2);
const proto = join(root, "proto");
const isProto = (name) => name.endsWith(".proto");
const present = subtrees.filter((tree) => {
  const folder = join(proto, tree);
  return existsSync(folder) && readdirSync(folder, { recursive: true }).some((name) => isProto(String(name)));
});

rmSync("src/gen", { recursive: true, force: true });
if (present.length > 0) {
  const paths = present.flatMap((tree) => ["--path", join(proto, tree)]);
  const done = spawnSync("buf", ["generate", root, "--template", join(root, "buf.gen.yaml"), "-o", ".", ...paths], {
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  process.exitCode = done.error ? 1 : (done.status ?? 1);
  if (done.error) process.stderr.write(`buf could not be started: ${done.error.message}\n`);
}
