import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHistory } from "@tidemark/store-watch";
import { onTestFinished } from "vitest";
import type { Daemon } from "./daemon.ts";

/**
 * The daemon's history shares the graph `shared` with another one; both changed the key `color` at once. `decide` ends
 * the conflict there.
 */
export async function twoGraphs(daemon: Daemon): Promise<{ decide(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-console-other-"));
  const far = await openHistory({ file: join(folder, "history.db") });
  onTestFinished(async () => {
    await far.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const options = { name: "shared", description: "shared by two sites" };
  const [here, there] = [await daemon.history.openGraph(options), await far.openGraph(options)];
  daemon.does({ heads: async (key) => (await here.heads(key)).map(({ position }) => position) });
  const write = (to: typeof here, value: string) =>
    to.write([{ type: "version", key: Buffer.from("color"), value: Buffer.from(value) }]);
  const exchange = async () => {
    for (const [from, to] of [
      [here, there],
      [there, here],
    ] as const) {
      await to.apply((await from.batches(0)).map(({ data }) => data));
    }
  };
  await write(here, "red");
  await exchange();
  await write(here, "blue");
  await write(there, "green");
  await exchange();
  return {
    decide: async () => {
      await write(there, "teal");
      await exchange();
    },
  };
}
