// Measures the store alone and behind its port: pnpm bench [rounds]
// One process has both ends, so what is behind the port is a lower bound. Medians over the rounds, which are interleaved.
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import {
  createStoreClient,
  type KeyValueStore,
  openStore,
  serveWatch,
  type Store,
  type WatchEvent,
} from "../src/index.ts";

const rounds = Number(process.argv[2] ?? 5);
const value = new Uint8Array(200).fill(120);
const results = new Map<string, number[]>();

async function measure(name: string, count: number, work: () => Promise<unknown>): Promise<void> {
  const start = performance.now();
  await work();
  const perSecond = (count * 1000) / (performance.now() - start);
  results.set(name, [...(results.get(name) ?? []), perSecond]);
}

/** So many callers, each of which waits for its write before it makes the next. */
async function puts(store: KeyValueStore, callers: number, count: number): Promise<void> {
  let left = count;
  const caller = async (who: number) => {
    for (let n = 0; left-- > 0; n++) await store.put(`${who}/${n % 1000}`, value);
  };
  await Promise.all(Array.from({ length: callers }, (_, who) => caller(who)));
}

async function changes(watch: AsyncIterable<WatchEvent>, count: number): Promise<void> {
  let seen = 0;
  for await (const event of watch) {
    if (event.type === "transactions") seen += event.transactions.length;
    if (seen >= count) return;
  }
}

async function fill(store: Store, count: number): Promise<void> {
  for (let at = 0; at < count; at += 1000) {
    await Promise.all(Array.from({ length: 1000 }, (_, n) => store.put(`k${at + n}`, value)));
  }
}

async function round(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const store = await openStore({ file: join(folder, "store.db") });
  const server = await serveWatch({ store });
  const clients = Array.from({ length: 10 }, () => createStoreClient({ address: server.address }));
  const [client] = clients as [(typeof clients)[number]];

  await measure("put, in process, 1 caller", 3000, () => puts(store, 1, 3000));
  await measure("put, in process, 64 callers", 50_000, () => puts(store, 64, 50_000));
  await measure("put, in process, 1024 callers", 100_000, () => puts(store, 1024, 100_000));
  await measure("put, gRPC, 1 caller", 2000, () => puts(client, 1, 2000));
  await measure("put, gRPC, 64 callers", 20_000, () => puts(client, 64, 20_000));

  const backlog = 100_000;
  const { marker } = await store.status();
  await fill(store, backlog);
  await measure("backlog, in process", backlog, () => changes(store.watch({ resumeMarker: marker }), backlog));
  await measure("backlog, gRPC", backlog, () => changes(client.watch({ resumeMarker: marker }), backlog));
  await measure("snapshot, gRPC, keys", backlog, async () => {
    for await (const event of client.watch({ range: { prefix: "k" } })) if (event.type === "snapshot-end") break;
  });

  for (const watchers of [1, 10]) {
    const now = (await store.status()).marker;
    const watches = clients.slice(0, watchers).map((each) => each.watch({ resumeMarker: now }));
    for (const watch of watches) await watch.next();
    const count = 20_000;
    await measure(`live changes seen by ${watchers}, gRPC, 64 callers writing`, count * watchers, async () => {
      await Promise.all([puts(store, 64, count), ...watches.map((watch) => changes(watch, count))]);
    });
  }

  const latencies: number[] = [];
  const watch = client.watch({ resumeMarker: (await store.status()).marker });
  await watch.next();
  for (let n = 0; n < 500; n++) {
    const start = performance.now();
    void store.put("latency", value);
    await changes({ [Symbol.asyncIterator]: () => ({ next: () => watch.next() }) }, 1);
    latencies.push(performance.now() - start);
  }
  latencies.sort((a, b) => a - b);
  results.set("put to watch over gRPC, p50, µs", [
    ...(results.get("put to watch over gRPC, p50, µs") ?? []),
    (latencies[250] as number) * 1000,
  ]);
  results.set("put to watch over gRPC, p99, µs", [
    ...(results.get("put to watch over gRPC, p99, µs") ?? []),
    (latencies[495] as number) * 1000,
  ]);

  await Promise.all(clients.map((each) => each.close()));
  await server.close();
  await store.close();
  rmSync(folder, { recursive: true, force: true });
}

for (let at = 0; at < rounds; at++) await round();
console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}, values of 200 bytes, ${rounds} rounds, medians\n`,
);
console.log("| what | a second |\n| --- | ---: |");
for (const [name, all] of results) {
  const median = all.toSorted((a, b) => a - b)[all.length >> 1] as number;
  console.log(`| ${name} | ${Math.round(median).toLocaleString("en")} |`);
}
