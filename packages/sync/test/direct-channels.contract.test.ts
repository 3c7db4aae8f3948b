import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { openThreadlessHistory } from "@tidemark/store-watch/testing";
import { expect, onTestFinished, test } from "vitest";
import { directChannels } from "../src/direct-channels.ts";
import { openSite } from "../src/site.ts";

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sync-direct-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const historyIn = (folder: string, name: string) =>
  openThreadlessHistory({ file: join(folder, `${name}.db`), origin: randomUUID(), clock: systemClock });

async function open(folder: string, name: string) {
  const history = await historyIn(folder, name);
  return { history, graph: await history.openGraph({ name: "group", description: name }) };
}

test("two sites of one process go on where they were, whoever was closed", async () => {
  const folder = temporaryFolder();
  const key = (text: string) => Buffer.from(text);
  let told: number | undefined;
  for (let round = 0; round < 3; round++) {
    const [one, other] = [await open(folder, "one"), await open(folder, "other")];
    const [there, back] = directChannels(one.graph, other.graph);
    // The first time the other site comes only when something is under way.
    const site = openSite({ graph: one.graph, channel: there });
    await site.write([{ key: key(`one ${round}`), value: key("1") }]);
    const far = openSite({ graph: other.graph, channel: back });
    await far.write([{ key: key(`other ${round}`), value: key("1") }]);
    await Promise.all([site.flush(), far.flush()]);
    const [here, away] = [await site.status(), await far.status()];
    expect(away.vector).toEqual(here.vector);
    expect(Object.values(here.vector)).toEqual([round + 1, round + 1]);
    // What was taken before is not sent again.
    expect([here.counters.applied, here.counters.duplicates]).toEqual([1, 0]);
    told = here.published;
    await site.close();
    await far.close();
    await one.history.close();
    await other.history.close();
  }
  expect(told).toBe(3);
});

test("two graphs of one history are no two sites", async () => {
  const history = await historyIn(temporaryFolder(), "h");
  onTestFinished(() => history.close());
  const graphs = [
    await history.openGraph({ name: "a", description: "" }),
    await history.openGraph({ name: "b", description: "" }),
  ] as const;
  expect(() => directChannels(...graphs)).toThrow(/\[OPTIONS_INVALID\].*two histories/);
});
