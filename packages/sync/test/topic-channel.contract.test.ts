import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock, type Timer } from "@tidemark/clock";
import type { History, HistoryGraph } from "@tidemark/store-watch";
import { openThreadlessHistory } from "@tidemark/store-watch/testing";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { readerDefaults } from "@tidemark/topic-reader";
import { openTopicServer } from "@tidemark/topic-server";
import { freePorts } from "@tidemark/tooling/ports";
import { expect, onTestFinished, test } from "vitest";
import type { ChannelBatch } from "../src/channel.ts";
import { openSite } from "../src/site.ts";
import type { Site } from "../src/site-types.ts";
import type { SiteOptions } from "../src/site-options.ts";
import { topicChannel } from "../src/topic-channel.ts";

// Real files, a real service, the real writer and reader. Histories run on this thread: starting others takes longer than
// all that happens here.

const bytes = (text: string) => Buffer.from(text);
const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();

interface Place {
  readonly site: Site;
  readonly history: History;
  readonly graph: HistoryGraph;
  close(): Promise<void>;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sync-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function service(): Promise<TopicClient> {
  const server = await openTopicServer();
  onTestFinished(() => server.close());
  const client = createTopicClient(server.connectionString);
  onTestFinished(() => client.close());
  await client.createTopic("group", { consumers: ["a", "b", "c"] });
  return client;
}

function historyIn(folder: string, name: string, origin: string = randomUUID()): Promise<History> {
  return openThreadlessHistory({ file: join(folder, `${name}.db`), origin, clock: systemClock });
}

async function startSite(
  client: TopicClient,
  folder: string,
  name: string,
  options: Partial<SiteOptions> = {},
): Promise<Place> {
  const history = await historyIn(folder, name);
  const graph = await history.openGraph({ name: "group", description: name });
  const channel = topicChannel({ client, topic: "group", consumer: name });
  const site = openSite({ graph, channel, ...options });
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= site.close().then(() => history.close()));
  onTestFinished(close);
  return { site, history, graph, close };
}

/** Resolves when the places know the same and nothing is under way. */
async function converged(...places: readonly Place[]): Promise<void> {
  const wait = Promise.withResolvers<void>();
  const look = async () => {
    const statuses = await Promise.all(places.map(({ site }) => site.status()));
    const vectors = statuses.map(({ vector }) =>
      JSON.stringify(Object.entries(vector).sort(([one], [other]) => (one < other ? -1 : 1))),
    );
    const isSent = statuses.every(({ published, vector, origin }) => published === (vector[origin] ?? 0));
    const isDone = statuses.every(({ conflicts, waiting }) => conflicts === 0 && waiting.length === 0);
    if (isSent && isDone && vectors.every((vector) => vector === vectors[0])) wait.resolve();
  };
  const stops = places.map(({ site }) => site.onEvent(() => void look().catch(wait.reject)));
  for (const { site } of places) site.closed.catch(wait.reject);
  await look();
  await wait.promise;
  for (const stop of stops) stop();
}

async function shown({ history }: Place): Promise<Record<string, string | undefined>> {
  const { items } = await history.list({ stream: "group" });
  return Object.fromEntries(items.map(({ key, value }) => [text(key), text(value)]));
}

test("two sites that edit at once converge over a real topic, with every version in both histories", {
  timeout: 180_000,
}, async () => {
  const client = await service();
  const folder = temporaryFolder();
  const a = await startSite(client, folder, "a");
  const b = await startSite(client, folder, "b");
  const edits: Promise<unknown>[] = [];
  for (let n = 0; n < 50; n++) {
    for (const [name, { site }] of [
      ["a", a],
      ["b", b],
    ] as const) {
      edits.push(
        site.write([
          { key: bytes(`k${n % 7}`), value: bytes(`${name}${n}`) },
          { key: bytes(`${name}${n}`), value: bytes("own") },
        ]),
      );
    }
  }
  await Promise.all(edits);
  await converged(a, b);
  expect(await shown(a)).toEqual(await shown(b));
  for (const { history } of [a, b]) {
    const { items } = await history.changes(0n, { limit: 10_000 });
    const values = new Set(items.map(({ value }) => text(value)));
    for (let n = 0; n < 50; n++) for (const name of ["a", "b"]) expect(values).toContain(`${name}${n}`);
    expect((await history.fsck()).findings).toEqual([]);
  }
});

test("a site that was away gets what it missed, and what it did meanwhile reaches the others", {
  timeout: 180_000,
}, async () => {
  const client = await service();
  const folder = temporaryFolder();
  const a = await startSite(client, folder, "a");
  {
    const b = await startSite(client, folder, "b");
    await b.site.write([{ key: bytes("x"), value: bytes("b1") }]);
    await converged(a, b);
    await b.close();
  }
  await a.site.write([{ key: bytes("x"), value: bytes("a1") }]);
  await a.site.flush();
  // Without a channel: as if it was cut off.
  {
    const history = await historyIn(folder, "b");
    const graph = await history.openGraph({ name: "group", description: "b" });
    await graph.write([{ type: "version", key: bytes("y"), value: bytes("b2") }]);
    await history.close();
  }
  const b = await startSite(client, folder, "b");
  await converged(a, b);
  expect(await shown(a)).toEqual({ x: "a1", y: "b2" });
  expect(await shown(b)).toEqual({ x: "a1", y: "b2" });
  expect((await b.site.status()).counters).toMatchObject({ duplicates: 0 });
});

test("a partition that stays away for too long does not end a site: its messages come again", {
  timeout: 180_000,
}, async () => {
  const dataDir = temporaryFolder();
  // Nobody else gets it while the service is away.
  const [port] = (await freePorts(1)) as [number];
  const first = await openTopicServer({ dataDir, listen: { port } });
  onTestFinished(() => first.close());
  const client = createTopicClient(first.connectionString);
  onTestFinished(() => client.close());
  await client.createTopic("group", { consumers: ["a"] });
  const armed = Promise.withResolvers<() => void>();
  let isAway = false;
  const clock: Clock = Object.assign(Object.create(systemClock) as Clock, {
    setTimer(delayMs: number, callback: () => void): Timer {
      if (isAway && delayMs === readerDefaults.reassignTimeoutMs) armed.resolve(callback);
      return systemClock.setTimer(delayMs, callback);
    },
  });
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const channel = topicChannel({ client, topic: "group", consumer: "a", clock });
  const publisher = await channel.openPublisher("p", stop.signal);
  await publisher.publish([{ seqNo: 1, data: bytes("one") }]);
  await publisher.close();
  const receive = async (subscription: AsyncIterator<ChannelBatch>) =>
    (await subscription.next()).value as ChannelBatch;
  const subscription = channel.subscribe("a", stop.signal)[Symbol.asyncIterator]();
  const batch = await receive(subscription);
  await first.close();
  isAway = true;
  const acknowledged = batch.ack();
  // The service has been away for as long as the reader waits.
  (await armed.promise)();
  // Retryable: the site subscribes again.
  await expect(acknowledged).rejects.toMatchObject({ code: "FAILED", retryable: true });
  await subscription.return?.();
  const second = await openTopicServer({ dataDir, listen: { port } });
  onTestFinished(() => second.close());
  const again = await receive(channel.subscribe("a", stop.signal)[Symbol.asyncIterator]());
  expect(again.messages.map(text)).toEqual(["one"]);
  await again.ack();
});

test("a site whose topic is away says so for as long as it is, also where nothing is to be carried", {
  timeout: 180_000,
}, async () => {
  const dataDir = temporaryFolder();
  // A service without the topic would end the site for good, so it comes with it.
  const before = await openTopicServer({ dataDir });
  const maker = createTopicClient(before.connectionString);
  await maker.createTopic("group", { consumers: ["a"] });
  await maker.close();
  await before.close();
  // Nobody else gets it while the service is away.
  const [port] = (await freePorts(1)) as [number];
  const client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  onTestFinished(() => client.close());
  const { site } = await startSite(client, temporaryFolder(), "a");
  const reached = async (state: string) => {
    for (;;) {
      const told = await site.status();
      if (told.state === state) return told;
      await systemClock.sleep(20);
    }
  };
  // It was never there.
  expect((await reached("retrying")).problem).toContain(`${port}`);
  const first = await openTopicServer({ dataDir, listen: { port } });
  onTestFinished(() => first.close());
  await reached("running");
  // It was there, and both streams of it go on by themselves until it is again.
  const disconnected = Promise.withResolvers<unknown>();
  site.onEvent((event) => {
    if (event.type === "disconnected") disconnected.resolve(event.error);
  });
  await first.close();
  await disconnected.promise;
  expect((await reached("retrying")).problem).toBeDefined();
  const second = await openTopicServer({ dataDir, listen: { port } });
  onTestFinished(() => second.close());
  expect((await reached("running")).problem).toBeUndefined();
});

test("a site that is new reads the whole topic", { timeout: 180_000 }, async () => {
  const client = await service();
  const folder = temporaryFolder();
  const a = await startSite(client, folder, "a");
  for (let n = 0; n < 20; n++) await a.site.write([{ key: bytes(`k${n % 3}`), value: bytes(`${n}`) }]);
  await a.site.flush();
  const c = await startSite(client, folder, "c");
  await converged(a, c);
  expect(await shown(c)).toEqual({ k0: "18", k1: "19", k2: "17" });
  expect((await c.history.log("group", bytes("k0"))).items).toHaveLength(7);
});

test("a site whose history was restored from a backup says so and publishes nothing under old numbers", {
  timeout: 180_000,
}, async () => {
  const client = await service();
  const a = await startSite(client, temporaryFolder(), "a");
  await a.site.write([{ key: bytes("x"), value: bytes("1") }]);
  await a.site.flush();
  await a.close();
  const history = await historyIn(temporaryFolder(), "a", a.site.origin);
  onTestFinished(() => history.close());
  const graph = await history.openGraph({ name: "group", description: "a" });
  const again = openSite({ graph, channel: topicChannel({ client, topic: "group", consumer: "b" }) });
  await expect(again.closed).rejects.toMatchObject({ code: "REWOUND" });
  expect((await again.status()).state).toBe("failed");
  await expect(again.write([])).rejects.toMatchObject({ code: "REWOUND" });
});

test("a site that is new gets from a peer what the topic has lost, and without one it is told that it cannot", {
  timeout: 180_000,
}, async () => {
  let ms = 0;
  // The service's clock, which will be two hours ahead.
  const later = Object.assign(Object.create(systemClock) as Clock, { now: () => systemClock.now() + ms });
  const server = await openTopicServer({ clock: later });
  onTestFinished(() => server.close());
  const client = createTopicClient(server.connectionString);
  onTestFinished(() => client.close());
  await client.createTopic("group", { consumers: ["a", "b", "c"], retentionMs: 3_600_000 });
  const folder = temporaryFolder();
  const a = await startSite(client, folder, "a");
  for (let n = 0; n < 100; n++) await a.site.write([{ key: bytes(`k${n}`), value: Buffer.alloc(500, n) }]);
  await a.site.flush();
  ms = 2 * 3_600_000;
  await server.store.maintain();
  const alone = await startSite(client, folder, "b");
  await expect(alone.site.closed).rejects.toMatchObject({ code: "TOO_OLD" });
  const c = await startSite(client, folder, "c", {
    peers: [{ name: "a", missing: (vector) => a.site.missing(vector) }],
  });
  await converged(a, c);
  expect(await shown(c)).toEqual(await shown(a));
  const { counters } = await c.site.status();
  expect(counters.caughtUp).toBeGreaterThan(50);
});

test("sites with other policies converge, too", { timeout: 180_000 }, async () => {
  const client = await service();
  const folder = temporaryFolder();
  const a = await startSite(client, folder, "a", { policy: "keep" });
  const b = await startSite(client, folder, "b", {
    policy: ({ keys }) => ({
      values: keys.map(({ key, heads }) => ({
        key,
        value: bytes(
          heads
            .map(({ value }) => text(value) ?? "")
            .sort((one, other) => (one < other ? -1 : 1))
            .join("+"),
        ),
      })),
    }),
  });
  await Promise.all([
    a.site.write([{ key: bytes("x"), value: bytes("a") }]),
    b.site.write([{ key: bytes("x"), value: bytes("b") }]),
  ]);
  await converged(a, b);
  const state = await shown(a);
  expect(state).toEqual(await shown(b));
  // The one that wrote second may have seen the first already: then there was nothing to decide.
  expect(["a+b", "a", "b"]).toContain(state["x"]);
});
