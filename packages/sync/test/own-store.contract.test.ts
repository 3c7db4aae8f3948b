import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchSource } from "@tidemark/source-watch";
import { openHistory, openWatcher } from "@tidemark/store-watch";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openTopicServer } from "@tidemark/topic-server";
import { openStore, serveWatch, type Store } from "@tidemark/watch-server";
import { expect, onTestFinished, test } from "vitest";
import { ownStoreSink } from "../src/own-store-sink.ts";
import { dryRunSink, type Sink } from "../src/sink.ts";
import { openSite } from "../src/site.ts";
import type { Site } from "../src/site-types.ts";
import { topicChannel } from "../src/topic-channel.ts";

// Real stores behind their own service, real watchers, histories and a topic service.

const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();

interface Place {
  readonly site: Site;
  readonly store: Store;
  /** Every value that the graph ever had for a key. */
  values(key: string): Promise<readonly (string | undefined)[]>;
  close(): Promise<void>;
}

interface Setup {
  readonly client: TopicClient;
  readonly folder: string;
}

async function setup(): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), "sync-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const server = await openTopicServer();
  onTestFinished(() => server.close());
  const client = createTopicClient(server.connectionString);
  onTestFinished(() => client.close());
  await client.createTopic("group", { consumers: ["a", "b"] });
  return { client, folder };
}

async function startPlace(
  { client, folder }: Setup,
  name: string,
  sinkOf: (store: Store) => Sink | undefined = ownStoreSink,
): Promise<Place> {
  const store = await openStore({ file: join(folder, `${name}-store.db`) });
  const server = await serveWatch({ store });
  const history = await openHistory({ file: join(folder, `${name}.db`) });
  const watcher = await openWatcher({ source: watchSource({ address: server.address }), history, name: "store" });
  const graph = await history.openGraph({ name: "group", description: name });
  const sink = sinkOf(store);
  const site = openSite({
    graph,
    channel: topicChannel({ client, topic: "group", consumer: name }),
    store: { history, stream: "store", ...(sink && { sink }) },
  });
  let closing: Promise<void> | undefined;
  const stop = async () => {
    await site.close();
    await watcher.close();
    await history.close();
    await server.close();
    await store.close();
  };
  const close = () => (closing ??= stop());
  onTestFinished(close);
  return {
    site,
    store,
    close,
    values: async (key) => (await history.log("group", Buffer.from(key))).items.map(({ value }) => text(value)),
  };
}

async function contents({ store }: Place): Promise<Record<string, string | undefined>> {
  const { kvs } = await store.list();
  return Object.fromEntries(kvs.map(({ key, value }) => [text(key), text(value)]));
}

/** Resolves when the predicate holds; asked whenever a store or a site has moved. */
async function until(places: readonly Place[], predicate: () => Promise<boolean>): Promise<void> {
  const wait = Promise.withResolvers<void>();
  const stop = new AbortController();
  const look = async () => {
    if (await predicate()) wait.resolve();
  };
  const ask = () => void look().catch(wait.reject);
  const stops = places.map(({ site }) => site.onEvent(ask));
  const watches = places.map(async ({ store }) => {
    for await (const _ of store.watch({ signal: stop.signal })) ask();
  });
  for (const { site } of places) site.closed.catch(wait.reject);
  ask();
  await wait.promise;
  stop.abort();
  for (const unlisten of stops) unlisten();
  await Promise.allSettled(watches);
}

test("two stores that are edited on both sides become equal, with every edit in both histories", {
  timeout: 90_000,
}, async () => {
  const world = await setup();
  const [a, b] = [await startPlace(world, "a"), await startPlace(world, "b")];
  for (let n = 0; n < 20; n++) {
    await Promise.all([a, b].map(({ store }, index) => store.put(`k${n % 5}`, `${"ab"[index]}${n}`)));
    if (n % 7 === 0) await a.store.delete(`k${n % 5}`);
  }
  await a.store.put("end of a", "1");
  await b.store.put("end of b", "1");
  const isEqual = async () => {
    const [one, other] = [await contents(a), await contents(b)];
    const isThere = "end of a" in other && "end of b" in one;
    return isThere && JSON.stringify(one) === JSON.stringify(other);
  };
  await until([a, b], isEqual);
  for (const place of [a, b]) {
    const values = new Set((await Promise.all([0, 1, 2, 3, 4].map((n) => place.values(`k${n}`)))).flat());
    for (let n = 0; n < 20; n++) for (const name of ["a", "b"]) expect(values).toContain(`${name}${n}`);
  }
});

test("a store goes on where it stopped, and what both did meanwhile comes together", { timeout: 90_000 }, async () => {
  const world = await setup();
  const a = await startPlace(world, "a");
  {
    const b = await startPlace(world, "b");
    await b.store.put("x", "b1");
    await until([a, b], async () => (await contents(a))["x"] === "b1");
    await b.close();
  }
  await a.store.put("x", "a1");
  await a.store.put("y", "a1");
  // Nobody watches.
  const store = await openStore({ file: join(world.folder, "b-store.db") });
  await store.put("z", "b2");
  await store.close();
  const b = await startPlace(world, "b");
  await until([a, b], async () => (await contents(a))["z"] === "b2" && (await contents(b))["y"] === "a1");
  expect(await contents(a)).toEqual({ x: "a1", y: "a1", z: "b2" });
  expect(await contents(b)).toEqual({ x: "a1", y: "a1", z: "b2" });
  expect(await b.values("x")).toEqual(["a1", "b1"]);
});

test("what is lost on its way to an empty store is written there once its watch has said that it is empty", {
  timeout: 90_000,
}, async () => {
  const world = await setup();
  const a = await startPlace(world, "a");
  let lost = 0;
  const b = await startPlace(world, "b", (store) => {
    const sink = ownStoreSink(store);
    return {
      ...sink,
      apply: async (writes, signal) => {
        if (lost > 0) return sink.apply(writes, signal);
        lost++;
        throw Object.assign(new Error("the request was lost"), { retryable: true });
      },
    };
  });
  await a.store.put("x", "a1");
  await until([a, b], async () => (await contents(b))["x"] === "a1");
  expect(lost).toBe(1);
  // It was written once.
  expect(await b.store.list()).toMatchObject({ revision: 1n });
});

test("without a sink a store is only a source, and a dry run only tells", { timeout: 90_000 }, async () => {
  const world = await setup();
  const told: string[] = [];
  const a = await startPlace(world, "a", () => undefined);
  const b = await startPlace(world, "b", () =>
    dryRunSink((writes) => told.push(...writes.map(({ key, value }) => `${text(key)}=${text(value)}`))),
  );
  await a.store.put("x", "1");
  await b.store.put("y", "1");
  await until([a, b], async () => (await a.values("y")).length > 0 && (await b.values("x")).length > 0);
  await until([a, b], async () => told.length > 0);
  expect(told).toContain("x=1");
  expect(await contents(a)).toEqual({ x: "1" });
  expect(await contents(b)).toEqual({ y: "1" });
});
