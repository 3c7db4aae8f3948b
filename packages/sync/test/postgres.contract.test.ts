import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchSource } from "@tidemark/source-watch";
import { type History, openHistory, openWatcher, StoreWatchError } from "@tidemark/store-watch";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openTopicServer } from "@tidemark/topic-server";
import { serviceTest } from "@tidemark/tooling/services";
import { openStore, serveWatch, type Store } from "@tidemark/watch-server";
import pg from "pg";
import { expect, inject, onTestFinished } from "vitest";
import { ownStoreSink } from "../src/own-store-sink.ts";
import { openSite } from "../src/site.ts";
import type { SiteEvent } from "../src/site-status.ts";
import type { Site } from "../src/site-types.ts";
import { topicChannel } from "../src/topic-channel.ts";

// Sites whose histories are in a real PostgreSQL, which other processes reach, too.

const test = serviceTest("postgres");
const timeoutMs = 90_000;
const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();

let schemas = 0;

/** A store and the schema of a site: what is there, whichever process has the site. */
interface Place {
  readonly name: string;
  readonly store: Store;
  /** Where the store is watched. */
  readonly address: string;
  readonly schema: string;
  readonly sql: pg.Client;
  /** Every version of the graph, as text. */
  versions(): Promise<readonly string[]>;
}

/** A process that has the site of a place, or waits for it. */
interface Holder {
  readonly site: Site;
  readonly events: SiteEvent["type"][];
  close(): Promise<void>;
}

async function setup(): Promise<{ readonly client: TopicClient; place(name: string): Promise<Place> }> {
  const folder = mkdtempSync(join(tmpdir(), "sync-postgres-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const server = await openTopicServer();
  onTestFinished(() => server.close());
  const client = createTopicClient(server.connectionString);
  onTestFinished(() => client.close());
  await client.createTopic("group", { consumers: ["a", "b"] });
  return {
    client,
    place: async (name) => {
      const schema = `sync_${process.pid}_${++schemas}`;
      const sql = new pg.Client({ connectionString: url(), options: `-c search_path=${schema}` });
      await sql.connect();
      onTestFinished(async () => {
        await sql.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
        await sql.end();
      });
      const store = await openStore({ file: join(folder, `${name}.db`) });
      onTestFinished(() => store.close());
      const served = await serveWatch({ store });
      onTestFinished(() => served.close());
      const versions = async () => {
        const { rows } = await sql.query<{ readonly version: string }>(
          "SELECT key_text || '=' || coalesce(value_text, 'deleted') AS version FROM history WHERE stream = 'group' ORDER BY 1",
        );
        return rows.map(({ version }) => version);
      };
      return { name, store, address: served.address, schema, sql, versions };
    },
  };
}

const url = () => `postgres://localhost/postgres?host=${inject("postgresFolder")}&user=postgres`;

// Its lease lasts longer than a machine stands still: it ends when a test says so.
const openOf = ({ schema }: Place) => openHistory({ database: url(), schema, readers: 2 });

async function hold(client: TopicClient, place: Place, open = openOf): Promise<Holder> {
  const { name, store, address } = place;
  const history = await open(place);
  const quick = { initialDelayMs: 1, maxDelayMs: 50 };
  const source = watchSource({ address });
  const watcher = await openWatcher({ source, history, name: "store", restart: quick, commitRetry: quick });
  const graph = await history.openGraph({ name: "group", description: name });
  const site = openSite({
    graph,
    channel: topicChannel({ client, topic: "group", consumer: name }),
    store: { history, stream: "store", sink: ownStoreSink(store) },
    ...quick,
  });
  const events: SiteEvent["type"][] = [];
  site.onEvent(({ type }) => events.push(type));
  let closing: Promise<void> | undefined;
  const stop = async () => {
    await site.close();
    await watcher.close();
    await history.close();
  };
  const close = () => (closing ??= stop());
  onTestFinished(close);
  return { site, events, close };
}

/** As if the lease had run out and another process had come first; it keeps the lease until it is let go. */
const steal = ({ sql }: Place) =>
  sql.query(
    "UPDATE writer SET fence = fence + 1, session = 'thief', owner = 'a thief', expires_at = now() + interval '1 hour'",
  );
const letGo = ({ sql }: Place) => sql.query("UPDATE writer SET expires_at = '-infinity' WHERE session = 'thief'");

/** As if the lease had run out. What its holder writes, or its heartbeat, may come first: then it has to run out again. */
async function overtake(place: Place): Promise<History> {
  for (;;) {
    await place.sql.query("UPDATE writer SET expires_at = clock_timestamp()");
    try {
      return await openOf(place);
    } catch (error) {
      if (!StoreWatchError.is(error) || error.code !== "DATABASE_LOCKED") throw error;
    }
  }
}

async function contents({ store }: Place): Promise<Record<string, string | undefined>> {
  const { kvs } = await store.list();
  return Object.fromEntries(kvs.map(({ key, value }) => [text(key), text(value)]));
}

/** Asked whenever a site or a store has moved. */
async function until(
  sites: readonly Pick<Holder, "site">[],
  places: readonly Place[],
  isSo: () => Promise<boolean>,
): Promise<void> {
  const wait = Promise.withResolvers<void>();
  const stop = new AbortController();
  const look = async () => {
    if (await isSo()) wait.resolve();
  };
  const ask = () => void look().catch(wait.reject);
  const stops = sites.map(({ site }) => site.onEvent(ask));
  const watches = places.map(async ({ store }) => {
    for await (const _ of store.watch({ signal: stop.signal })) ask();
  });
  for (const watch of watches) watch.catch(() => undefined);
  for (const { site } of sites) site.closed.catch(wait.reject);
  ask();
  await wait.promise.finally(() => {
    stop.abort();
    for (const unlisten of stops) unlisten();
  });
  await Promise.allSettled(watches);
}

test(
  "a site whose history is taken away writes nothing, says so, and goes on by itself",
  async () => {
    const { client, place } = await setup();
    const [a, b] = [await place("a"), await place("b")];
    const [one, other] = [await hold(client, a), await hold(client, b)];
    const both = [one, other];
    const edits: string[] = [];
    const put = async ({ name, store }: Place, n: number) => {
      await store.put(`k${n % 3}`, `${name}${n}`);
      edits.push(`k${n % 3}=${name}${n}`);
    };
    for (let n = 0; n < 10; n++) await Promise.all([put(a, n), put(b, n)]);
    // In the middle of it.
    await until(both, [a, b], async () => (await a.versions()).length > 5);
    await steal(a);
    for (let n = 10; n < 20; n++) await Promise.all([put(a, n), put(b, n)]);
    await until(both, [a, b], async () => {
      const { state, problem = "" } = await one.site.status();
      const isTold = /another process has taken over|is written by a thief already/.test(problem);
      return state === "retrying" && isTold && one.events.includes("lost");
    });
    await expect(one.site.write([{ key: Buffer.from("x"), value: Buffer.from("1") }])).rejects.toMatchObject({
      code: "DATABASE_LOCKED",
      retryable: true,
    });
    // The other one has all it can have, and this one has written nothing since.
    const then = await a.versions();
    await until(both, [a, b], async () => (await contents(b))["k1"] === "b19");
    expect(await a.versions()).toEqual(then);
    expect(one.events).not.toContain("resumed");

    await letGo(a);
    await until(both, [a, b], async () => {
      const [here, there] = [await contents(a), await contents(b)];
      const isEqual = JSON.stringify(here) === JSON.stringify(there);
      return isEqual && (await a.versions()).length >= edits.length && (await b.versions()).length >= edits.length;
    });
    expect(one.events).toContain("resumed");
    // No event tells that there is nothing more to wait for.
    await expect.poll(async () => (await one.site.status()).state).toBe("running");
    // Every edit is there once, in both; what decided conflicts is a link and no version.
    for (const each of [a, b]) expect(await each.versions()).toEqual(edits.toSorted());
    await Promise.all(both.map(({ site }) => site.flush()));
    // What decides the last conflict may come into being after the flush, and is published like the rest.
    await until(both, [a, b], async () => {
      const [here, there] = [await one.site.status(), await other.site.status()];
      const arePublished = [here, there].every((site) => site.vector[site.origin] === site.published);
      return (
        arePublished && here.vector[there.origin] === there.published && there.vector[here.origin] === here.published
      );
    });
  },
  timeoutMs,
);

test(
  "another process goes on as the site and ends, and the first one goes on from where that came",
  async () => {
    const { client, place } = await setup();
    const [a, b] = [await place("a"), await place("b")];
    const [one, far] = [await hold(client, a), await hold(client, b)];
    await a.store.put("x", "1");
    await until([one, far], [a, b], async () => (await contents(b))["x"] === "1");

    const two = await hold(client, a, overtake);
    // Both see it, and one of them may write it down.
    await a.store.put("x", "2");
    await until([one, two, far], [a, b], async () => (await one.site.status()).state === "retrying");
    await b.store.put("y", "2");
    await until([two, far], [a, b], async () => (await contents(b))["x"] === "2" && (await contents(a))["y"] === "2");
    // What it reads is what the other one wrote.
    expect((await one.site.status()).vector).toEqual((await two.site.status()).vector);
    expect((await one.site.missing({})).length).toBeGreaterThan(0);

    await two.close();
    await a.store.put("x", "3");
    await b.store.put("y", "3");
    await until([one, far], [a, b], async () => (await contents(b))["x"] === "3" && (await contents(a))["y"] === "3");
    expect(one.events).toContain("resumed");
    await until([one, far], [a, b], async () => (await one.site.status()).waiting.length === 0);
    const expected = ["x=1", "x=2", "x=3", "y=2", "y=3"];
    await until([one, far], [a, b], async () => (await b.versions()).length >= expected.length);
    for (const each of [a, b]) expect(await each.versions()).toEqual(expected);
  },
  timeoutMs,
);
