import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { testExamples } from "@tidemark/tooling/examples";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { startEtcd } from "../src/testing.ts";

const run = promisify(execFile);

// The two that need an etcd which is there already, and the one that starts its own.
testExamples({ notRun: ["follow.ts", "own-sink.ts", "treat-badly.ts"] });

serviceTest("etcd")("the examples run against a real etcd", async ({ signal }) => {
  await using etcd = await startEtcd();
  await etcd.client.put("/config/color", "blue");
  const folder = await mkdtemp(join(tmpdir(), "tidemark-example-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const example = async (file: string, ...args: string[]) => {
    const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
    const { stdout } = await run(process.execPath, [...conditions, join("examples", file), ...args], { signal });
    return stdout;
  };
  expect(await example("follow.ts", etcd.endpoint, join(folder, "config.db"))).toBe("/config/color = blue\n");
  expect(await example("own-sink.ts", etcd.endpoint)).toMatch(/^\/config\/color a2$/m);
  expect(await example("treat-badly.ts")).toMatch(/^after, then before \[\]$/m);
});
