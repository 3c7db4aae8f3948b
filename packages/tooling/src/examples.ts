import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);

export interface ExampleOptions {
  /** Arguments per file name, such as `{ "follow.ts": ["--once"] }`. */
  readonly args?: Readonly<Record<string, readonly string[]>>;
  /** Files that are only type-checked, because they need something no test machine has. */
  readonly notRun?: readonly string[];
}

/** The code blocks of a README: what stands between ```ts and ```. */
function codeBlocks(readme: string): string[] {
  return [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
}

const linesOf = (text: string) => text.split("\n").map((line) => line.trim());

/** One test per file of examples/, which runs it from sources, and one that the README shows nothing else. */
export function testExamples({ args = {}, notRun = [] }: ExampleOptions = {}): void {
  const folder = join(process.cwd(), "examples");
  const files = readdirSync(folder).filter((name) => name.endsWith(".ts"));

  for (const file of files.filter((name) => !notRun.includes(name))) {
    test(`examples/${file} runs`, { timeout: 300_000 }, async ({ signal }) => {
      const path = join(folder, file);
      const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
      await run(process.execPath, [...conditions, path, ...(args[file] ?? [])], { signal });
    });
  }

  test("the README's code blocks are lines of examples", () => {
    const known = new Set(files.flatMap((file) => linesOf(readFileSync(join(folder, file), "utf8"))));
    const shown = codeBlocks(readFileSync(join(process.cwd(), "README.md"), "utf8")).flatMap(linesOf);
    expect(shown.filter((line) => !known.has(line))).toEqual([]);
  });
}
