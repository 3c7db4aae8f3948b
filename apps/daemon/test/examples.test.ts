import { readFileSync } from "node:fs";
import { testExamples } from "@tidemark/tooling/examples";
import { expect, test } from "vitest";
import example from "../examples/tidemark.config.ts";
import mirror from "../examples/mirror.config.ts";
import sites from "../examples/sites.config.ts";
import tokens from "../examples/tokens.config.ts";
import topics from "../examples/topics.config.ts";
import { checkConfig, settingNames } from "../src/config/config-schema.ts";

testExamples();

test("the examples are valid configurations", () => {
  for (const config of [example, topics, tokens, sites, mirror]) expect(checkConfig(config)).toEqual({ config });
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
