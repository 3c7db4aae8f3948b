// The most memory that a process takes which does nothing but follow a backlog.
//
//     node --conditions=@tidemark/source bench/memory.ts [MiB]

import { execFileSync } from "node:child_process";
import type { FrameSink } from "@tidemark/store-watch/contract";
import { etcdSource } from "../src/index.ts";
import { startEtcd } from "../src/testing.ts";

async function follow(endpoint: string, prefix: string, end: string, from?: { epoch: string; cursor: string }) {
  const controller = new AbortController();
  let bytes = 0;
  let epoch = "";
  let cursor = "";
  const sink: FrameSink = {
    write(frame) {
      if (frame.type === "change") bytes += frame.value?.length ?? 0;
      if (frame.type === "begin-snapshot") ({ epoch } = frame);
      if (frame.type === "commit" || frame.type === "snapshot-end") {
        ({ cursor } = frame);
        if (cursor >= end) controller.abort();
      }
      return true;
    },
    ready: () => Promise.resolve(),
    alive() {},
    status() {},
  };
  const from_ = performance.now();
  await etcdSource({ endpoints: [endpoint], prefix })
    .run(from, sink, controller.signal)
    .catch(() => {});
  return { bytes, epoch, cursor, ms: performance.now() - from_ };
}

const [, , first = "512", endpoint, prefix = "", end = "", epoch = "", cursor = ""] = process.argv;
if (first === "child") {
  const from = cursor === "" ? undefined : { epoch, cursor };
  const { bytes, ms } = await follow(endpoint ?? "", prefix, end, from);
  const peak = process.resourceUsage().maxRSS / 1_024;
  console.log(`${(bytes / 2 ** 20).toFixed(0)} MiB in ${ms.toFixed(0)} ms, peak RSS ${peak.toFixed(0)} MiB`);
} else {
  const total = Number(first) * 2 ** 20;
  const child = (...args: string[]) => {
    const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
    return execFileSync(process.execPath, [...conditions, import.meta.filename, "child", ...args], {
      encoding: "utf8",
    });
  };
  for (const size of [1_000_000, 100_000, 20_000]) {
    await using etcd = await startEtcd({ args: ["--quota-backend-bytes=8589934592"] });
    const start = await follow(etcd.endpoint, "", "");
    const value = Buffer.alloc(size, "v");
    const count = Math.min(100_000, Math.floor(total / size));
    let next = 0;
    const writer = async () => {
      for (let index = next++; index < count; index = next++) await etcd.client.put(`k${index}`, value);
    };
    await Promise.all(Array.from({ length: 8 }, writer));
    const after = `${String.fromCharCode(96 + `${count + 1}`.length)}${count + 1}`;
    process.stdout.write(
      `${count} values of ${size} B: as backlog ${child(etcd.endpoint, "", after, start.epoch, start.cursor)}`,
    );
    process.stdout.write(`${count} values of ${size} B: as snapshot ${child(etcd.endpoint, "", after)}`);
  }
}
