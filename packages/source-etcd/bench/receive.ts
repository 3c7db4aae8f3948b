// What a backlog costs: the bare watch, thrown away, beside the source into a sink that throws away.
//
//     pnpm bench [keys] [repetitions]

import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { FrameSink } from "@tidemark/store-watch/contract";
import { Watch, WatchRequestSchema } from "../src/gen/etcd/etcdserverpb/rpc_pb.ts";
import { etcdSource } from "../src/index.ts";
import { prefixRange } from "../src/key-range.ts";
import { startEtcd } from "../src/testing.ts";

const keys = Number(process.argv[2] ?? 100_000);
const repetitions = Number(process.argv[3] ?? 5);
const value = Buffer.alloc(200, "v");

interface Measured {
  readonly ms: number;
  readonly cpuMs: number;
}

/** Time from the first event to the last, and what it cost this process. */
function stopwatch() {
  let from = 0;
  let cpu = process.cpuUsage();
  return {
    start() {
      from = performance.now();
      cpu = process.cpuUsage();
    },
    stop(): Measured {
      const { user, system } = process.cpuUsage(cpu);
      return { ms: performance.now() - from, cpuMs: (user + system) / 1_000 };
    },
  };
}

/** Stock connect-node with compression off, as a plain user of it would. */
async function bare(endpoint: string, prefix: string, events: number, startRevision: bigint): Promise<Measured> {
  const client = createClient(Watch, createGrpcTransport({ baseUrl: endpoint, acceptCompression: [] }));
  const controller = new AbortController();
  const { start, end } = prefixRange(Buffer.from(prefix));
  async function* requests() {
    const value = { key: start, rangeEnd: end, startRevision, fragment: false };
    yield create(WatchRequestSchema, { requestUnion: { case: "createRequest", value } });
    await new Promise((resolve) => controller.signal.addEventListener("abort", resolve));
  }
  const watch = stopwatch();
  watch.start();
  let seen = 0;
  let measured: Measured | undefined;
  try {
    for await (const response of client.watch(requests(), { signal: controller.signal })) {
      seen += response.events.length;
      if (seen < events) continue;
      measured = watch.stop();
      controller.abort();
    }
  } catch (error) {
    if (measured === undefined) throw error;
  }
  return measured as Measured;
}

async function throughSource(
  endpoint: string,
  prefix: string,
  events: number,
  from: { epoch: string; cursor: string },
) {
  const controller = new AbortController();
  const watch = stopwatch();
  let seen = 0;
  let measured: Measured | undefined;
  const sink: FrameSink = {
    write(frame) {
      if (frame.type === "change" && ++seen === events) {
        measured = watch.stop();
        controller.abort();
      }
      return true;
    },
    ready: () => Promise.resolve(),
    alive() {},
    status() {},
  };
  watch.start();
  await etcdSource({ endpoints: [endpoint], prefix })
    .run(from, sink, controller.signal)
    .catch(() => {});
  return measured as Measured;
}

/** A point to resume from, before anything under the prefix was written. */
async function beginning(endpoint: string, prefix: string): Promise<{ epoch: string; cursor: string }> {
  const controller = new AbortController();
  let epoch = "";
  let cursor = "";
  const sink: FrameSink = {
    write(frame) {
      if (frame.type === "begin-snapshot") ({ epoch } = frame);
      if (frame.type === "snapshot-end") {
        ({ cursor } = frame);
        controller.abort();
      }
      return true;
    },
    ready: () => Promise.resolve(),
    alive() {},
    status() {},
  };
  await etcdSource({ endpoints: [endpoint], prefix })
    .run(undefined, sink, controller.signal)
    .catch(() => {});
  return { epoch, cursor };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

function row(label: string, events: number, runs: readonly Measured[]): string {
  const ms = median(runs.map((run) => run.ms));
  const cpu = median(runs.map((run) => run.cpuMs));
  const rate = Math.round((events * 1_000) / ms).toLocaleString("en");
  return `  ${label.padEnd(22)} ${ms.toFixed(0).padStart(7)} ms ${rate.padStart(11)} events/s ${((cpu * 1_000) / events).toFixed(2).padStart(7)} µs CPU an event`;
}

await using etcd = await startEtcd();
for (const size of [1, 100]) {
  const prefix = `size-${size}/`;
  const from = await beginning(etcd.endpoint, prefix);
  let next = 0;
  const writer = async () => {
    for (let at = next; at < keys; at = next) {
      next += size;
      await etcd.client.txn(Array.from({ length: size }, (_, index) => ({ key: `${prefix}${at + index}`, value })));
    }
  };
  await Promise.all(Array.from({ length: 64 }, writer));
  const start = BigInt(from.cursor.slice(1)) + 1n;
  const runs: { bare: Measured[]; source: Measured[] } = { bare: [], source: [] };
  for (let repetition = 0; repetition < repetitions; repetition++) {
    runs.bare.push(await bare(etcd.endpoint, prefix, keys, start));
    runs.source.push(await throughSource(etcd.endpoint, prefix, keys, from));
  }
  const share = (100 * median(runs.bare.map(({ ms }) => ms))) / median(runs.source.map(({ ms }) => ms));
  console.log(
    `${keys.toLocaleString("en")} keys of ${value.length} B, ${size} to a revision (median of ${repetitions})`,
  );
  console.log(row("bare connect-node", keys, runs.bare));
  console.log(row("through the source", keys, runs.source));
  console.log(`  ${share.toFixed(0)} % of the bare rate`);
}
process.exit();
