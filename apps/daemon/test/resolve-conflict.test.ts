import { createSimulation } from "@tidemark/clock/testing";
import type { HistoryGraph } from "@tidemark/store-watch";
import { createMemoryGraph } from "@tidemark/store-watch/testing";
import { expect, test } from "vitest";
import { resolveConflict, type SitePort } from "../src/daemon/admin-sites.ts";

const key = Buffer.from("color");
const { clock } = createSimulation({ seed: 1 });
const opened = (origin: string) => createMemoryGraph({ name: "g", origin, clock }).open();
const put = (graph: HistoryGraph, text: string) =>
  graph.write([{ type: "version", key, value: Buffer.from(text), attributes: undefined }]);
const batchesOf = async (graph: HistoryGraph) => (await graph.batches(0)).map(({ data }) => data);
const shown = async (graph: HistoryGraph) =>
  (await graph.heads(key)).map(({ value }) => Buffer.from(value ?? []).toString()).toSorted();

test("a head that comes while a decision is on its way stays in conflict with it", async () => {
  const [paris, oslo, rome] = [opened("paris"), opened("oslo"), opened("rome")];
  await put(paris, "red");
  await put(oslo, "blue");
  await put(rome, "green");
  await paris.apply(await batchesOf(oslo));
  const port = {
    graph: paris,
    site: {
      // Between the look at the heads and the write, the third site's change comes in.
      write: async (edits: Parameters<SitePort["site"]["write"]>[0]) => {
        await paris.apply(await batchesOf(rome));
        return paris.write(edits.map((edit) => ({ type: "version", attributes: undefined, ...edit })));
      },
    },
  } as unknown as SitePort;
  const heads = await paris.heads(key);
  const seen = heads.map(({ position }) => position);
  await resolveConflict(port, key, seen, seen[0] as bigint);
  const chosen = Buffer.from(heads[0]?.value ?? []).toString();
  expect(await shown(paris)).toEqual([chosen, "green"].toSorted());
});
