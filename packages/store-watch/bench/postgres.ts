// The same work for SQLite and PostgreSQL, on the disk before it counts on both: `pnpm bench postgres`, or a part of it by
// what the names of its rows contain: `pnpm bench postgres graph`. The server is started for it, with its usual settings.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FrameBuffer, type GraphMessage, type History, openHistory, sortableInteger } from "@tidemark/store-watch";
import { scratchFolder, startPostgres, stop } from "@tidemark/tooling/servers";
import { capabilities, cases, ingest, keyOf, median, numbers, rateText, repetitions, value } from "./ingest.ts";

interface Database {
  readonly name: string;
  /** A new history, for which `folder` is there. */
  readonly open: (folder: string) => Promise<History>;
}

/** Times of single operations, in milliseconds. */
interface Row {
  readonly name: string;
  readonly measure: (open: Database["open"]) => Promise<number[]>;
}

const operations = 2000;
const graphKeys = 1000;

/** @param part of the names of the rows that are measured; "" for all */
export async function besidePostgres(part: string): Promise<void> {
  console.log(`200-byte values, ${repetitions} repetitions, medians; loop: the event loop's delay`);
  const folder = scratchFolder("bench-postgres");
  const server = await startPostgres(folder, []);
  const database = `postgres://localhost/postgres?host=${folder}&user=postgres`;
  let schemas = 0;
  const databases: Database[] = [
    { name: "SQLite", open: (at) => openHistory({ file: join(at, "h.db"), synchronous: "full" }) },
    { name: "PostgreSQL", open: () => openHistory({ database, schema: `bench_${++schemas}` }) },
  ];
  try {
    for (const entry of cases.filter(({ name }) => name.includes(part))) {
      for (const { name, open } of databases) {
        const results: Awaited<ReturnType<typeof ingest>>[] = [];
        for (let round = 0; round < repetitions; round++)
          results.push(await ingest({ ...entry, changes: 100_000 }, open));
        const pick = (field: keyof (typeof results)[number]) => median(results.map((result) => result[field]));
        const loop = `loop p99 ${pick("p99").toFixed(1)} ms, max ${pick("max").toFixed(1)} ms`;
        console.log(`${entry.name.padEnd(46)} ${name.padEnd(10)} ${rateText(pick("rate"))} changes/s, ${loop}`);
      }
    }
    for (const row of rows.filter(({ name }) => name.includes(part))) {
      for (const { name, open } of databases) {
        const rounds: number[][] = [];
        for (let round = 0; round < repetitions; round++) rounds.push(await row.measure(open));
        const at = (share: number) =>
          median(rounds.map((times) => quantile(times, share)))
            .toFixed(2)
            .padStart(6);
        console.log(`${row.name.padEnd(46)} ${name.padEnd(10)} median ${at(0.5)} ms, p99 ${at(0.99)} ms`);
      }
    }
  } finally {
    await stop(server, "SIGINT");
    rmSync(folder, { recursive: true, force: true });
  }
}

function quantile(times: number[], share: number): number {
  return times.sort((one, other) => one - other)[Math.floor(times.length * share)] as number;
}

async function withHistory<T>(open: Database["open"], work: (history: History) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const history = await open(folder);
  try {
    return await work(history);
  } finally {
    await history.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function timed(count: number, operation: (index: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedMs = performance.now();
    await operation(index);
    times.push(performance.now() - startedMs);
  }
  return times;
}

async function openStream(history: History) {
  return history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
}

/** Commits of one change each. */
function appendOneByOne(stream: Awaited<ReturnType<typeof openStream>>): (index: number) => Promise<unknown> {
  const buffer = new FrameBuffer();
  return (index) => {
    buffer.clear();
    if (index === 0) buffer.write({ type: "reset", epoch: "e" });
    buffer.write({ type: "change", key: keyOf(index % 1000), value, version: sortableInteger(index + 1) });
    buffer.write({ type: "commit", cursor: sortableInteger(index + 1) });
    return stream.append(buffer);
  };
}

const edit = (key: number) => ({ type: "version", key: keyOf(key), value }) as const;

/** What another site made: batches of so many versions each. */
async function messagesOf(batches: number, versions: number): Promise<readonly GraphMessage[]> {
  return withHistory(
    (folder) => openHistory({ file: join(folder, "peer.db"), synchronous: "normal" }),
    async (history) => {
      const graph = await history.openGraph({ name: "g", description: "" });
      for (let batch = 0; batch < batches; batch++) {
        await graph.write(Array.from({ length: versions }, (_, index) => edit((batch * versions + index) % graphKeys)));
      }
      return graph.batches(0, { maxBytes: Number.MAX_SAFE_INTEGER });
    },
  );
}

const rows: Row[] = [
  {
    name: "one change a commit",
    measure: (open) =>
      withHistory(open, async (history) => timed(operations, appendOneByOne(await openStream(history)))),
  },
  {
    name: "one key read",
    measure: (open) =>
      withHistory(open, async (history) => {
        await timed(1000, appendOneByOne(await openStream(history)));
        const random = numbers(1000);
        return timed(operations, () => history.get("s", keyOf(random.next().value as number)));
      }),
  },
  {
    name: "graph: one edit a commit",
    measure: (open) =>
      withHistory(open, async (history) => {
        const graph = await history.openGraph({ name: "g", description: "" });
        return timed(operations, (index) => graph.write([edit(index % graphKeys)]));
      }),
  },
  {
    name: "graph: a peer's batch of 1 version a commit",
    measure: (open) => applied(open, operations / 2, 1),
  },
  {
    name: "graph: a peer's batch of 100 versions a commit",
    measure: (open) => applied(open, operations / 20, 100),
  },
  {
    name: "graph: heads of one key",
    measure: (open) =>
      withHistory(open, async (history) => {
        const graph = await history.openGraph({ name: "g", description: "" });
        await graph.write(Array.from({ length: graphKeys }, (_, index) => edit(index)));
        const random = numbers(graphKeys);
        return timed(operations, () => graph.heads(keyOf(random.next().value as number)));
      }),
  },
];

async function applied(open: Database["open"], batches: number, versions: number): Promise<number[]> {
  const messages = await messagesOf(batches, versions);
  return withHistory(open, async (history) => {
    const graph = await history.openGraph({ name: "g", description: "" });
    return timed(messages.length, (index) => graph.apply([(messages[index] as GraphMessage).data]));
  });
}
