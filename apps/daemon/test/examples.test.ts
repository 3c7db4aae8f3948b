import { readFileSync } from "node:fs";
import { testExamples } from "@tidemark/tooling/examples";
import { expect, test } from "vitest";
import example from "../examples/tidemark.config.ts";
import { checkConfig, settingNames } from "../src/config/config-schema.ts";

testExamples();

test("the example is a valid configuration", () => {
  expect(checkConfig(example)).toEqual({ config: example });
});

test("the README's tables list every setting", () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const rows = readme.split("\n").filter((line) => line.startsWith("|"));
  for (const name of settingNames())
    expect(
      rows.some((row) => row.includes(`\`${name}\``)),
      name,
    ).toBe(true);
});
