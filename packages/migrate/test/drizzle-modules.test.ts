import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

test("the engine's thread does not ask Node what each module of Drizzle is, and gets the same ones", async () => {
  const worker = new Worker(new URL("support/drizzle-modules-worker.ts", import.meta.url), {
    execArgv: ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"],
  });
  const [told] = (await once(worker, "message")) as [
    { readonly relative: readonly string[]; readonly isOneInstance: boolean; readonly isAnother: boolean },
  ];
  // What is left is what the form for `require` asks for.
  expect(told.relative.filter((each) => !each.includes(".cjs"))).toEqual([]);
  expect(told.relative.length).toBeGreaterThan(0);
  expect(told).toMatchObject({ isOneInstance: true, isAnother: true });
  await worker.terminate();
});
