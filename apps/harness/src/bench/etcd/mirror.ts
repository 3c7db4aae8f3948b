import { spawn } from "node:child_process";
import { startEtcd } from "@tidemark/source-etcd/testing";
import { usageOf } from "../../process/process-usage.ts";
import type { RunCost } from "./tidemark-run.ts";

export interface MirrorOptions {
  readonly endpoint: string;
  readonly prefix: string;
  /** Keys that must arrive; `make-mirror` writes each in a revision of its own. */
  readonly keys: number;
}

/** `etcdctl make-mirror` into an empty etcd, until that has everything. */
export async function mirrorAll({ endpoint, prefix, keys }: MirrorOptions): Promise<RunCost> {
  await using destination = await startEtcd();
  const wanted = (await destination.client.revision()) + BigInt(keys);
  const startedMs = performance.now();
  const args = ["make-mirror", "--endpoints", endpoint, "--prefix", prefix, `127.0.0.1:${destination.port}`];
  const child = spawn("etcdctl", args, {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let isOver = false;
  void ended.then(() => (isOver = true));
  try {
    while ((await destination.client.revision()) < wanted) {
      if (isOver) throw new Error(`etcdctl make-mirror ended before it was done: ${errors}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { changes: keys, ms: performance.now() - startedMs, ...usageOf(child.pid ?? 0) };
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}
