// X6, X20: what keeps a process alive, and what is left behind.

import { execFile } from "node:child_process";
import { getEventListeners } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { systemClock, systemRng } from "@tidemark/clock";
import { ReconnectLimiter } from "@tidemark/stream";
import { createWriter } from "@tidemark/topic-writer";
import { afterAll, expect, test } from "vitest";
import { ModelTopic } from "./support/model-topic.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const isLong = process.env["TIDEMARK_LONG"] === "1";
const run = promisify(execFile);

const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);
process.on("unhandledRejection", onUnhandled);
afterAll(() => void process.off("unhandledRejection", onUnhandled));

for (const [mode, output] of [
  ["idle", "open\n"],
  ["ack", "open\ndone\n"],
  ["flush", "open\ndone\n"],
  ["close", "open\ndone\n"],
] as const) {
  test(`X6: ${mode === "idle" ? "an idle writer lets the process end" : `a pending ${mode} keeps it alive`}`, async ({
    signal,
  }) => {
    const path = fileURLToPath(new URL("support/alive-main.ts", import.meta.url));
    const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
    const { stdout } = await run(process.execPath, [...conditions, path, mode], { signal });
    expect(stdout).toBe(output);
  });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function heapBytes(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    await turn();
    collect();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

test("P19, X20: lifecycles of writers leave nothing behind", { timeout: 600_000 }, async () => {
  const limiter = new ReconnectLimiter({ burst: 1e9 });
  const longLived = new AbortController();
  const lifecycle = async (n: number) => {
    const topic = new ModelTopic({ clock: systemClock, rng: systemRng, hasRanges: true });
    const writer = createWriter({
      client: topic.client,
      topic: "orders",
      signal: longLived.signal,
      reconnect: { limiter },
      ...(n % 3 === 0 && { partitioning: { by: "key" as const } }),
    });
    // Nobody asks what became of it.
    void writer.writeAcked({ data: "1", ...(n % 3 === 0 && { key: "k" }) });
    const waits = [writer.ready(longLived.signal), writer.flush(longLived.signal)].map((wait) => wait.catch(() => {}));
    void writer.events();
    if (n % 5 !== 0) for (let k = 0; k < n % 40; k++) await Promise.resolve();
    if (n % 2 === 0) writer.destroy(new Error("enough"));
    else await writer.close();
    await Promise.all(waits);
  };
  const count = isLong ? 50_000 : 1_000;
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  const half = await heapBytes();
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  expect((await heapBytes()) - half).toBeLessThan(1_000_000);
  expect(getEventListeners(longLived.signal, "abort")).toHaveLength(0);
  expect(unhandled).toEqual([]);
});

test("X20: memory stays flat over many messages, at the limit of the buffer", { timeout: 600_000 }, async () => {
  const topic = new ModelTopic({ clock: systemClock, rng: systemRng });
  const writer = createWriter({ client: topic.client, topic: "orders", maxBufferMessages: 5_000 });
  const body = Buffer.alloc(100, "x");
  const write = async (count: number) => {
    for (let n = 0; n < count; n++) {
      if (!writer.write(body)) await writer.ready();
      expect(writer.bufferedMessages).toBeLessThanOrEqual(5_000);
    }
    await writer.flush();
    // What the model keeps is not the writer's.
    topic.partitions[0]?.log.splice(0);
    topic.requests.splice(0);
  };
  const count = isLong ? 1_000_000 : 30_000;
  await write(count / 2);
  const half = await heapBytes();
  await write(count / 2);
  expect((await heapBytes()) - half).toBeLessThan(2_000_000);
  await writer.close();
});
