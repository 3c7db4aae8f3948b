import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEtcd, type TestEtcd } from "@tidemark/source-etcd/testing";
import { openHistory } from "@tidemark/store-watch";
import { conditionsOf } from "../conditions.ts";
import { load } from "../etcd/load.ts";
import { count, duration, mebibytes, type Report, type ReportSection } from "../report.ts";
import { median } from "../stats.ts";
import { type Contender, contenders, prefix } from "./contenders.ts";

export interface MirrorBenchOptions {
  readonly reps: number;
  readonly quick: boolean;
  readonly say: (line: string) => void;
}

const valueBytes = 200;

/** A one-way mirror beside etcd's own: how fast, and what a restart costs. */
export async function benchMirror(options: MirrorBenchOptions): Promise<Report> {
  return {
    name: "One etcd kept like another",
    conditions: await conditionsOf(),
    sections: [await benchThroughput(options), await benchRestart(options)],
  };
}

interface Run {
  readonly copyMs: number;
  readonly followMs: number;
  readonly cpuMs: number;
  readonly peakRssBytes: number;
}

async function benchThroughput({ reps, quick, say }: MirrorBenchOptions): Promise<ReportSection> {
  const keys = quick ? 500 : 5000;
  const runs = new Map<string, Run[]>(contenders.map(({ name }) => [name, []]));
  for (let rep = 0; rep < reps; rep++) {
    // In turn, so that what the machine does besides falls on all of them.
    for (const contender of contenders) {
      say(`${contender.name}, run ${rep + 1} of ${reps}`);
      runs.get(contender.name)?.push(await throughput(contender, keys));
    }
  }
  const rows = [...runs].map(([name, all]) => {
    const of = (pick: (run: Run) => number) => median(all.map(pick));
    return {
      name,
      cells: [
        `${count((keys / of(({ copyMs }) => copyMs)) * 1000)}/s`,
        `${count((keys / of(({ followMs }) => followMs)) * 1000)}/s`,
        duration(of(({ cpuMs }) => cpuMs)),
        mebibytes(of(({ peakRssBytes }) => peakRssBytes)),
      ],
    };
  });
  return {
    title: "Throughput",
    notes: [
      `${keys} keys of ${valueBytes} B that are there before it starts, then ${keys} puts of one key each as fast as etcd takes them; median of ${reps}.`,
      "Tidemark commits every version to disk at both sides before it goes on; make-mirror keeps nothing.",
    ],
    columns: ["first copy", "following", "CPU, all of it", "peak RSS"],
    rows,
    goals: [],
    raw: Object.fromEntries(runs),
  };
}

async function throughput(contender: Contender, keys: number): Promise<Run> {
  await using world = await startWorld();
  const { from, to, folder } = world;
  await load({ endpoint: from.endpoint, prefix, changes: keys, valueBytes, perTransaction: 1 });
  const begin = await contender.boot(from, to, folder);
  const beganMs = performance.now();
  const running = await begin();
  await untilEqual(from, to);
  const copyMs = performance.now() - beganMs;
  const againMs = performance.now();
  await load({ endpoint: from.endpoint, prefix, changes: keys, valueBytes: valueBytes + 1, perTransaction: 1 });
  await untilEqual(from, to);
  const followMs = performance.now() - againMs;
  const { cpuMs = Number.NaN, peakRssBytes = Number.NaN } = running.usage();
  await running.kill();
  return { copyMs, followMs, cpuMs, peakRssBytes };
}

interface Loss {
  readonly name: string;
  readonly stale: number;
  readonly wrong: number;
  readonly versions: number;
  readonly of: number;
  readonly rewritten: number;
}

/** Killed while nothing changes, started again after much did. */
async function benchRestart({ quick, say }: MirrorBenchOptions): Promise<ReportSection> {
  const keys = quick ? 100 : 1000;
  const results: Loss[] = [];
  for (const contender of contenders) {
    say(`${contender.name}, over a restart`);
    results.push(await restart(contender, keys));
  }
  return {
    title: "Over a restart",
    notes: [
      `${keys} keys are in both. The mirror is killed; a tenth of the keys is deleted, another tenth put three times; then it is started again.`,
      "Versions: values that were there in between and can be read afterwards.",
    ],
    columns: ["deleted keys still there", "wrong values", "versions kept", "untouched keys written again"],
    rows: results.map(({ name, stale, wrong, versions, of, rewritten }) => ({
      name,
      cells: [count(stale), count(wrong), `${versions} of ${of}`, count(rewritten)],
    })),
    goals: [],
    raw: results,
  };
}

async function restart(contender: Contender, keys: number): Promise<Loss> {
  await using world = await startWorld();
  const { from, to, folder } = world;
  await load({ endpoint: from.endpoint, prefix, changes: keys, valueBytes, perTransaction: 1 });
  const first = await (await contender.boot(from, to, folder))();
  await untilEqual(from, to);
  await first.kill();

  const names = (await from.client.list(prefix)).kvs.map(({ key }) => Buffer.from(key).toString());
  const gone = names.filter((_, index) => index % 10 === 0);
  const changed = names.filter((_, index) => index % 10 === 1);
  for (const key of gone) await from.client.delete(key);
  const between: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (const key of changed) {
      const value = `${key} in round ${round}`;
      between.push(value);
      await from.client.put(key, value);
    }
  }
  await from.client.put(`${prefix}zzz`, "the end");
  const quiet = new Map((await to.client.list(prefix)).kvs.map(({ key, modRevision }) => [text(key), modRevision]));
  const second = await (await contender.boot(from, to, folder))();
  await until(async () => {
    const end = await to.client.get(`${prefix}zzz`);
    return end !== undefined;
  });
  // What is still to come, comes; then it is looked at.
  await settled(to);
  await second.kill();
  const [want, have] = [await contents(from), await contents(to)];
  const touched = new Set([...gone, ...changed, `${prefix}zzz`]);
  const after = (await to.client.list(prefix)).kvs;
  return {
    name: contender.name,
    stale: gone.filter((key) => have.has(key)).length,
    wrong: [...want].filter(([key, value]) => have.get(key) !== value).length,
    versions: await versionsKept(folder, between, have),
    of: between.length,
    rewritten: after.filter(({ key, modRevision }) => {
      const name = text(key);
      return !touched.has(name) && quiet.get(name) !== modRevision;
    }).length,
  };
}

/** In a history where there is one, otherwise what the other etcd shows. */
async function versionsKept(
  folder: string,
  values: readonly string[],
  shown: ReadonlyMap<string, string>,
): Promise<number> {
  const found = new Set(shown.values());
  await using history = await openHistory({ file: join(folder, "to.db") });
  for (let after = 0n; ; ) {
    const { items } = await history.changes(after);
    for (const { value } of items) if (value !== undefined) found.add(text(value));
    const last = items.at(-1);
    if (last === undefined) break;
    after = last.position;
  }
  return values.filter((value) => found.has(value)).length;
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

async function contents(etcd: TestEtcd): Promise<Map<string, string>> {
  const { kvs } = await etcd.client.list(prefix);
  return new Map(kvs.map(({ key, value }) => [text(key), Buffer.from(value).toString("latin1")]));
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function untilEqual(from: TestEtcd, to: TestEtcd): Promise<void> {
  const want = await contents(from);
  // Asked for one key until that is there: reading all would slow down what is measured.
  const [key = "", value] = [...want].at(-1) ?? [];
  await until(async () => {
    const found = await to.client.get(key);
    return found !== undefined && Buffer.from(found.value).toString("latin1") === value;
  });
  await until(async () => {
    const have = await contents(to);
    return have.size === want.size && [...want].every(([name, each]) => have.get(name) === each);
  });
}

/** Resolves when nothing was written for a second. */
async function settled(etcd: TestEtcd): Promise<void> {
  for (let before = -1n; ; ) {
    const revision = await etcd.client.revision();
    if (revision === before) return;
    before = revision;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

async function startWorld() {
  const folder = await mkdtemp(join(tmpdir(), "tidemark-mirror-"));
  const [from, to] = await Promise.all([startEtcd(), startEtcd()]);
  return {
    folder,
    from,
    to,
    async [Symbol.asyncDispose]() {
      await Promise.all([from[Symbol.asyncDispose](), to[Symbol.asyncDispose]()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
