// The floors: `turbo boundaries` with the repository's own rules, on small workspaces that keep or break them.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../..");

interface Package {
  readonly tag: string;
  readonly dependencies?: readonly string[];
  readonly source?: string;
}

/** Exit code and output of `turbo boundaries` in a workspace of these packages. */
function boundaries(packages: Readonly<Record<string, Package>>): {
  readonly isClean: boolean;
  readonly output: string;
} {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-floors-"));
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  try {
    write("package.json", JSON.stringify({ name: "fixture", private: true, packageManager: "pnpm@12.21.0" }));
    write("pnpm-workspace.yaml", "packages: [packages/*]\n");
    write("turbo.json", readFileSync(join(root, "turbo.json"), "utf8"));
    for (const [name, { tag, dependencies = [], source = "" }] of Object.entries(packages)) {
      const manifest = {
        name,
        version: "0.0.0",
        type: "module",
        exports: "./src/index.ts",
        dependencies: Object.fromEntries(dependencies.map((each) => [each, "workspace:*"])),
      };
      write(`packages/${name}/package.json`, JSON.stringify(manifest));
      write(`packages/${name}/turbo.json`, JSON.stringify({ extends: ["//"], tags: [tag] }));
      write(`packages/${name}/src/index.ts`, source);
      for (const each of dependencies) {
        mkdirSync(join(folder, "packages", name, "node_modules"), { recursive: true });
        symlinkSync(join(folder, "packages", each), join(folder, "packages", name, "node_modules", each));
      }
    }
    spawnSync("git", ["init", "-q"], { cwd: folder });
    const turbo = join(root, "node_modules/.bin/turbo");
    const done = spawnSync(turbo, ["boundaries"], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, TURBO_HASH: "" },
    });
    return { isClean: done.status === 0, output: done.stdout + done.stderr };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("an import downwards is allowed", () => {
  const { isClean, output } = boundaries({
    low: { tag: "floor-0" },
    high: { tag: "floor-1", dependencies: ["low"], source: 'import "low";\n' },
  });
  expect(output).toContain("no issues found");
  expect(isClean).toBe(true);
});

test("an import upwards is caught", () => {
  const { isClean, output } = boundaries({
    low: { tag: "floor-1", dependencies: ["high"], source: 'import "high";\n' },
    high: { tag: "floor-2" },
  });
  expect(output).toContain("Package `high` found without any tag listed in allowlist for `low`");
  expect(isClean).toBe(false);
});

test("an import of a neighbour on the same floor is caught", () => {
  expect(boundaries({ left: { tag: "floor-3", dependencies: ["right"] }, right: { tag: "floor-3" } }).isClean).toBe(
    false,
  );
});

test("an import of a package that is not declared is caught", () => {
  const { isClean, output } = boundaries({
    low: { tag: "floor-0" },
    high: { tag: "floor-1", source: 'import "low";\n' },
  });
  expect(output).toContain("low");
  expect(isClean).toBe(false);
});

test("a file of another package's folder is caught", () => {
  expect(
    boundaries({ low: { tag: "floor-0" }, high: { tag: "floor-1", source: 'import "../../low/src/index.ts";\n' } })
      .isClean,
  ).toBe(false);
});
