import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import type { HistoryGraph } from "../../src/history/graph-types.ts";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, begin, commit, end, put, streamOptions } from "./helpers.ts";
import { letRunOut, openSleeper } from "./sleeping-writer.ts";

// A graph on PostgreSQL whose writing goes over to another process and comes back.

const test = serviceTest("postgres");
const bytes = (text: string) => Buffer.from(text);
const edit = (key: string, value: string) => [{ type: "version" as const, key: bytes(key), value: bytes(value) }];
const group = { name: "group", description: "a test" };
const never = new AbortController().signal;

type Schema = Awaited<ReturnType<typeof temporarySchema>>;

async function opened(options: Parameters<typeof openPostgresHistory>[0]) {
  const history = await openPostgresHistory(options);
  onTestFinished(() => history.close());
  return history;
}

function tenureOf({ tenure }: HistoryGraph) {
  if (tenure === undefined) throw new Error("expected a graph whose writing can be lost");
  return tenure;
}

async function valuesOf({ database }: Schema): Promise<unknown[]> {
  return (await database.rows("SELECT gen, convert_from(value, 'UTF8') FROM versions ORDER BY pos")).map(String);
}

test("a graph whose writing was taken over writes nothing, and goes on from what the other one wrote", async () => {
  const schema = await temporarySchema();
  const sleeper = await openSleeper(schema.options);
  const graph = await sleeper.openGraph(group);
  const tenure = tenureOf(graph);
  await graph.write(edit("a", "1"));
  expect(tenure.isLost).toBe(false);
  const losing = tenure.lost(never);

  await letRunOut(schema);
  const other = await openPostgresHistory(schema.options);
  const theirs = await other.openGraph(group);
  await theirs.write(edit("a", "2"));
  const taken = await valuesOf(schema);
  expect(taken).toEqual(["1,1", "2,2"]);

  await expect(graph.write(edit("a", "late"))).rejects.toMatchObject({ code: "DATABASE_LOCKED", retryable: true });
  expect(await losing).toMatchObject({ code: "DATABASE_LOCKED" });
  expect(await tenure.lost(never)).toMatchObject({ code: "DATABASE_LOCKED" });
  expect(tenure.isLost).toBe(true);
  for (const write of [
    () => graph.apply([]),
    () => graph.ingest(),
    () => graph.storeWrites(),
    () => graph.settle([]),
    () => graph.prune({ beforeMs: 0, holdSinceMs: 0, published: 0 }),
    () => tenure.resume(),
  ]) {
    await expect(write()).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  }
  expect(await valuesOf(schema)).toEqual(taken);
  // What the other one writes it can still read.
  expect((await graph.status()).vector).toEqual({ [graph.origin]: 2 });
  expect(await graph.missing({})).toHaveLength(2);
  expect(await graph.heads(bytes("a"))).toMatchObject([{ id: { generation: 2 } }]);

  await other.close();
  // Although the lease is free: what it knows may not be so any more.
  await expect(graph.write(edit("a", "late"))).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  await Promise.all([tenure.resume(), tenure.resume()]);
  expect(tenure.isLost).toBe(false);
  await graph.write(edit("a", "3"));
  expect(await valuesOf(schema)).toEqual(["1,1", "2,2", "3,3"]);
  expect((await sleeper.fsck()).findings).toEqual([]);
});

test("one that has nothing to write is told by the heartbeat, and who waits is told when the history closes", async () => {
  const schema = await temporarySchema();
  const history = await opened({ ...schema.options, leaseMs: 1000 });
  const tenure = tenureOf(await history.openGraph(group));
  const losing = tenure.lost(never);
  await schema.client.query("UPDATE writer SET fence = fence + 1, session = 'other', expires_at = 'infinity'");
  expect(await losing).toMatchObject({ code: "DATABASE_LOCKED" });
  await schema.client.query("UPDATE writer SET expires_at = '-infinity'");
  await tenure.resume();
  const stopped = new AbortController();
  const [waiting, giving] = [tenure.lost(never), tenure.lost(stopped.signal)];
  stopped.abort(new Error("enough"));
  await expect(giving).rejects.toThrow("enough");
  await Promise.all([expect(waiting).rejects.toMatchObject({ code: "CLOSED" }), history.close()]);
});

test("opening it by its name ends what was opened before, also what was lost", async () => {
  const schema = await temporarySchema();
  const history = await opened(schema.options);
  const graph = await history.openGraph(group);
  await schema.client.query("UPDATE writer SET fence = fence + 1, session = 'other', expires_at = '-infinity'");
  await expect(graph.write(edit("a", "1"))).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  const again = await history.openGraph(group);
  await expect(tenureOf(graph).resume()).rejects.toMatchObject({ code: "STREAM_BUSY" });
  await expect(graph.status()).rejects.toMatchObject({ code: "STREAM_BUSY" });
  await again.write(edit("a", "1"));
  expect(tenureOf(again).isLost).toBe(false);
});

test("a stream and a graph come back each for itself, in any order", async () => {
  const schema = await temporarySchema();
  const history = await opened(schema.options);
  const stream = await history.openStream(streamOptions());
  const graph = await history.openGraph(group);
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  await graph.mirror("s");
  await graph.ingest();
  await schema.client.query("UPDATE writer SET fence = fence + 1, session = 'other', expires_at = '-infinity'");
  await expect(append(stream, [put("a", "2", 2), commit(2)])).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  // The stream has the lease again, and the graph does not go on by itself.
  const again = await history.openStream(streamOptions());
  await append(again, [put("a", "2", 2), commit(2)]);
  await expect(graph.ingest()).rejects.toMatchObject({ code: "DATABASE_LOCKED" });
  await tenureOf(graph).resume();
  await append(again, [put("a", "3", 3), commit(3)]);
  await graph.mirror("s");
  while (!(await graph.ingest()).isEnd);
  const values = await schema.database.rows(
    "SELECT convert_from(value, 'UTF8') FROM history WHERE stream = 'group' ORDER BY position",
  );
  expect(values.flat()).toEqual(["1", "2", "3"]);
  expect((await history.fsck()).findings).toEqual([]);
});
