import { expect, test } from "vitest";
import { message, openTestServer, openWrite, rawClient, temporaryFolder, write } from "./support.ts";
import { openWithTopic, path, shiftedClock } from "./support/set-up.ts";

const dayMs = 24 * 3_600_000;

/** A server with a topic, and a clock that is set forward by hand. */
async function begin(dataDir?: string) {
  const { clock, forward } = shiftedClock();
  const { server, store, client } = await openWithTopic({ clock, dataDir });
  const pass = async (days: number) => {
    forward(days * dayMs);
    await store.maintain();
  };
  return { server, clock, client, pass };
}

test("a producer that is away for more than 14 days begins anew, one that is connected does not", async () => {
  const { client, pass } = await begin();
  const numberOf = async (producer: string) => Number((await openWrite(client, path, producer)).init.lastSeqNo);
  const { stream: away } = await openWrite(client, path, "away");
  const { stream: busy } = await openWrite(client, path, "busy");
  const { stream: idle } = await openWrite(client, path, "idle");
  for (const stream of [away, busy, idle]) await write(stream, [message(5)]);
  for (const stream of [away, busy]) {
    stream.end();
    await stream.isOver();
  }
  await pass(13);
  const { stream: again, init } = await openWrite(client, path, "busy");
  expect(init.lastSeqNo).toBe(5n);
  await write(again, [message(6)]);
  again.end();
  await again.isOver();
  await pass(2);
  expect([await numberOf("away"), await numberOf("busy")]).toEqual([0, 6]);
  expect(await write(idle, [message(5)])).toEqual(["skipped"]);
  expect(await write(idle, [message(6)])).toEqual([4]);
});

test("it begins anew after a restart, too, and no number of others is lost", async () => {
  const dataDir = temporaryFolder();
  const { server, clock, client, pass } = await begin(dataDir);
  const { stream: away } = await openWrite(client, path, "away");
  await write(away, [message(5)]);
  away.end();
  await away.isOver();
  await pass(15);
  const { stream: late } = await openWrite(client, path, "late");
  await write(late, [message(7)]);
  await server.close();
  const next = rawClient(await openTestServer({ clock, dataDir }));
  expect((await openWrite(next, path, "away")).init.lastSeqNo).toBe(0n);
  expect((await openWrite(next, path, "late")).init.lastSeqNo).toBe(7n);
});
