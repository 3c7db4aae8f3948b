import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { repository } from "../src/mutants/patch.ts";
import { runCli } from "../src/cli.ts";

const page = readFileSync(join(repository, "docs/guarantees.md"), "utf8");
const readmes = ["README.md", "apps/harness/README.md"].map((file) => readFileSync(join(repository, file), "utf8"));
const quoted = [...page.matchAll(/`([^`]+)`/g)].map(([, text]) => text as string);

test("every file that the guarantees name is there", () => {
  const paths = quoted.filter((text) => /^(packages|apps)\/\S+$/.test(text));
  expect(paths.length).toBeGreaterThan(20);
  const missing = paths.flatMap((path) => {
    // `{a,b}` and `*` as in a shell.
    const found = /[{*]/.test(path)
      ? globSync(path, { cwd: repository })
      : [path].filter((each) => existsSync(join(repository, each)));
    const choices = /\{([^}]+)\}/.exec(path)?.[1]?.split(",").length ?? 1;
    return found.length >= choices ? [] : [path];
  });
  expect(missing).toEqual([]);
});

test("every command of the harness that the guarantees and the READMEs name is one, and the READMEs name all", async () => {
  const commands = new Set(
    [...page.matchAll(/tidemark-harness (\w+)/g), ...page.matchAll(/`npm run harness -- (\w+)/g)].map(
      ([, name]) => name as string,
    ),
  );
  expect([...commands].toSorted()).toEqual(["chaos", "conformance", "mutants", "sim", "soak"]);
  const inReadmes = readmes.map(
    (text) => new Set([...text.matchAll(/^(?:npm run )?harness (?:-- )?([\w-]+)/gm)].map(([, name]) => name as string)),
  );
  for (const named of inReadmes) expect([...named]).toEqual(expect.arrayContaining([...commands]));
  for (const name of inReadmes.flatMap((named) => [...named])) commands.add(name);
  let help = "";
  const write = process.stdout.write;
  process.stdout.write = ((text: string) => ((help += text), true)) as typeof write;
  try {
    expect(await runCli(["help"])).toBe(0);
  } finally {
    process.stdout.write = write;
  }
  for (const command of commands) expect(help).toContain(`tidemark-harness ${command}`);
});

test("every link of the guarantees leads somewhere", () => {
  for (const [, target] of page.matchAll(/\]\(([^)#]+)\)/g)) {
    expect(existsSync(join(repository, "docs", target as string)), target).toBe(true);
  }
});
