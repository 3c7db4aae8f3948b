// Notices that nothing changed without starting any tool: path, size and modification time of every input.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { root } from "./toolchain.mjs";

// Outputs, and what is never an input of a build.
const ignored = new Set(["node_modules", "dist", "gen", "test", "examples", "etc", ".turbo", ".reports", "README.md"]);

function walk(path, add) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isDirectory()) {
    add(`${relative(root, path)} ${stats.size} ${stats.mtimeMs}`);
    return;
  }
  for (const name of readdirSync(path).sort()) if (!ignored.has(name)) walk(join(path, name), add);
}

/** A hash over files and folders of the repository; what is missing counts as absent. */
export function fingerprint(paths) {
  const hash = createHash("sha256");
  for (const path of paths) walk(join(root, path), (line) => hash.update(`${line}\n`));
  return hash.digest("hex");
}

/** A file that says for which inputs a step was last done. */
export function stamp(name) {
  const file = join(root, name);
  return {
    matches: (value) => existsSync(file) && readFileSync(file, "utf8") === value,
    write(value) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, value);
    },
    clear: () => rmSync(file, { force: true }),
  };
}
