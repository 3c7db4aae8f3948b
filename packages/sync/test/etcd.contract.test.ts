import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { etcdSink, etcdSource } from "@tidemark/source-etcd";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { type History, openHistory, openWatcher } from "@tidemark/store-watch";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { directChannels } from "../src/direct-channels.ts";
import type { Channel } from "../src/channel.ts";
import type { Sink } from "../src/sink.ts";
import { openSite } from "../src/site.ts";
import type { Site } from "../src/site-types.ts";

// Real etcds, which are killed, and sites that are closed in the middle of what they do.

const etcdTest = serviceTest("etcd");
// Two servers and four threads start in each: it takes as long as the machine is busy.
const timeoutMs = 240_000;
const prefix = "/config/";
const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString();

interface Place {
  readonly site: Site;
  readonly history: History;
  close(): Promise<void>;
}

interface Setup {
  readonly folder: string;
  readonly etcds: Readonly<Record<"a" | "b", TestEtcd>>;
}

async function setup(): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), "sync-etcd-"));
  const [a, b] = await Promise.all([startEtcd(), startEtcd()]);
  onTestFinished(async () => {
    await Promise.all([a, b].map((etcd) => etcd[Symbol.asyncDispose]()));
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, etcds: { a, b } };
}

async function startPlaces(
  { folder, etcds }: Setup,
  wrap: (sink: Sink, name: "a" | "b") => Sink = (sink) => sink,
): Promise<Readonly<Record<"a" | "b", Place>>> {
  const open = async (name: "a" | "b") => {
    const endpoints = [etcds[name].endpoint];
    const history = await openHistory({ file: join(folder, `${name}.db`) });
    const backoff = { initialDelayMs: 10, maxDelayMs: 200 };
    const watcher = await openWatcher({ source: etcdSource({ endpoints, prefix, backoff }), history, name: "etcd" });
    const graph = await history.openGraph({ name: "group", description: name });
    const sink = etcdSink({ endpoints, prefix, requestTimeoutMs: 30_000 });
    const start = (channel: Channel): Place => {
      const site = openSite({
        graph,
        channel,
        store: { history, stream: "etcd", sink: wrap(sink, name) },
        initialDelayMs: 10,
        maxDelayMs: 200,
      });
      let closing: Promise<void> | undefined;
      const stop = async () => {
        sink.close();
        await site.close();
        await watcher.close();
        await history.close();
      };
      const close = () => (closing ??= stop());
      onTestFinished(close);
      return { site, history, close };
    };
    return { graph, start };
  };
  const [a, b] = await Promise.all([open("a"), open("b")]);
  const [there, back] = directChannels(a.graph, b.graph);
  return { a: a.start(there), b: b.start(back) };
}

async function contents(etcd: TestEtcd): Promise<Record<string, string | undefined>> {
  const { kvs } = await etcd.client.list(prefix);
  return Object.fromEntries(kvs.map(({ key, value }) => [text(key), text(value)]));
}

async function valuesIn({ history }: Place): Promise<Set<string | undefined>> {
  const values = new Set<string | undefined>();
  for (let after = 0n; ; ) {
    const { items } = await history.changes(after, { stream: "group" });
    for (const { value } of items) values.add(text(value));
    const last = items.at(-1);
    if (last === undefined) return values;
    after = last.position;
  }
}

/** Looks until it is so; the test's own limit ends it. */
async function until(predicate: () => Promise<boolean>): Promise<void> {
  while (!(await predicate())) await systemClock.sleep(20);
}

etcdTest(
  "two etcds that are edited on both sides and killed become equal, with every edit in both histories",
  async () => {
    const world = await setup();
    const { etcds } = world;
    const places = await startPlaces(world);
    const acknowledged: string[] = [];
    const clients = { a: etcds.a.newClient(), b: etcds.b.newClient() };
    const edit = async (name: "a" | "b", n: number) => {
      for (;;) {
        try {
          const value = `${name}${n}`;
          if (n % 9 === 8) await clients[name].delete(`${prefix}k${n % 7}`);
          else {
            await clients[name].txn([
              { key: `${prefix}k${n % 7}`, value },
              { key: `${prefix}${name}${n}`, value },
            ]);
            acknowledged.push(value);
          }
          return;
        } catch {
          clients[name].close();
          await systemClock.sleep(20);
          clients[name] = etcds[name].newClient();
        }
      }
    };
    const rounds = process.env["TIDEMARK_LONG"] === "1" ? 20 : 3;
    for (let round = 0; round < rounds; round++) {
      const edits = (["a", "b"] as const).map(async (name) => {
        for (let n = round * 20; n < round * 20 + 20; n++) await edit(name, n);
      });
      await etcds[round % 2 === 0 ? "a" : "b"].restart();
      await Promise.all(edits);
    }
    // Keys of their own: a transaction that loses one key loses all of them.
    for (const name of ["a", "b"] as const) await etcds[name].client.put(`${prefix}end of ${name}`, "1");
    await until(async () => {
      const [one, other] = [await contents(etcds.a), await contents(etcds.b)];
      return (
        `${prefix}end of b` in one && `${prefix}end of a` in other && JSON.stringify(one) === JSON.stringify(other)
      );
    });
    for (const place of Object.values(places)) {
      const values = await valuesIn(place);
      for (const value of acknowledged) expect(values).toContain(value);
    }
  },
  timeoutMs,
);

etcdTest(
  "a crash between the write and its book is no edit of the store's",
  async () => {
    const world = await setup();
    const { a, b } = world.etcds;
    const written = Promise.withResolvers<void>();
    const first = await startPlaces(world, (sink, name) =>
      name === "a"
        ? sink
        : {
            async apply(writes, signal) {
              await sink.apply(writes, signal);
              written.resolve();
              // The process dies here.
              return new Promise((_, reject) => {
                signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
              });
            },
          },
    );
    // Nobody watches b for the moment, or the watch would be first.
    await a.client.put(`${prefix}x`, "1");
    await written.promise;
    await Promise.all([first.a.close(), first.b.close()]);
    expect(await contents(b)).toEqual({ [`${prefix}x`]: "1" });

    const second = await startPlaces(world);
    await a.client.put(`${prefix}x`, "2");
    await until(async () => (await contents(b))[`${prefix}x`] === "2");
    await until(async () => (await second.b.site.status()).counters.stored === 1);
    const { items } = await second.b.history.log("group", Buffer.from(`${prefix}x`));
    expect(items.map(({ value }) => text(value))).toEqual(["2", "1"]);
    expect((await b.client.get(`${prefix}x`))?.version).toBe(2n);
  },
  timeoutMs,
);

etcdTest(
  "an edit that nobody knew of yet is a conflict, and not overwritten",
  async () => {
    const world = await setup();
    const { a, b } = world.etcds;
    let before = async () => {};
    const places = await startPlaces(world, (sink, name) => ({
      apply: async (writes, signal) => {
        if (name === "b") await before();
        return sink.apply(writes, signal);
      },
    }));
    await a.client.put(`${prefix}x`, "1");
    await until(async () => (await contents(b))[`${prefix}x`] === "1");
    before = async () => {
      before = async () => {};
      await b.client.put(`${prefix}x`, "local");
    };
    await a.client.put(`${prefix}x`, "2");
    await until(async () => {
      const values = [(await contents(a))[`${prefix}x`], (await contents(b))[`${prefix}x`]];
      return values[0] === values[1] && (await valuesIn(places.a)).has("local");
    });
    // The local edit can be on both sides before the write that it foiled has its answer.
    await until(async () => (await places.b.site.status()).counters.refused > 0);
    expect(await valuesIn(places.a)).toEqual(new Set(["1", "2", "local"]));
  },
  timeoutMs,
);

etcdTest(
  "a transaction that is too large for the other etcd holds up nothing but its store, and says what to do",
  async () => {
    const world = await setup();
    const { a, b } = world.etcds;
    const places = await startPlaces(world, (sink, name) =>
      name === "a" ? sink : { ...sink, apply: (writes, signal) => sink.apply(writes, signal) },
    );
    await places.a.site.write(
      Array.from({ length: 129 }, (_, n) => ({ key: Buffer.from(`${prefix}many/${n}`), value: Buffer.from("1") })),
    );
    await until(async () => (await places.b.site.status()).problem?.includes("--max-txn-ops") === true);
    await b.client.put(`${prefix}y`, "2");
    await until(async () => (await valuesIn(places.a)).has("2"));
    // It is tried again and again, and while it is, nobody knows better than that it runs.
    await until(async () => (await places.b.site.status()).state === "retrying");
    expect((await contents(b))[`${prefix}many/0`]).toBeUndefined();
    expect((await contents(a))[`${prefix}many/0`]).toBeUndefined();
  },
  timeoutMs,
);
