// X6 and X20: what keeps a process alive, and what is left behind.

import { execFile } from "node:child_process";
import { getEventListeners } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ReconnectLimiter } from "@tidemark/stream";
import { createMemoryServer } from "@tidemark/stream/testing";
import { openReader, type Reader } from "@tidemark/topic-reader";
import { afterAll, expect, test } from "vitest";
import { clientMessage, payload, serverFrame } from "./support/frames.ts";
import { simClient } from "./support/sim-client.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const isLong = process.env["TIDEMARK_LONG"] === "1";
const run = promisify(execFile);

const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);
process.on("unhandledRejection", onUnhandled);
afterAll(() => void process.off("unhandledRejection", onUnhandled));

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function heapBytes(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    await turn();
    collect();
  }
  return process.memoryUsage().heapUsed;
}

for (const [mode, output] of [
  ["commit", "open\nreceived\ndone\n"],
  ["close", "open\nreceived\ndone\n"],
  ["idle", "open\n"],
] as const) {
  test(`X6: ${mode === "idle" ? "an idle reader lets the process end" : `a waiting ${mode} keeps the process alive`}`, async ({
    signal,
  }) => {
    const path = fileURLToPath(new URL("support/alive-main.ts", import.meta.url));
    const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
    const { stdout } = await run(process.execPath, [...conditions, path, mode], { signal });
    expect(stdout).toBe(output);
  });
}

/** Sends as much as there is credit for: `count` messages of a partition, in frames of ten. */
function endless(count: number, { acknowledges = true } = {}) {
  return createMemoryServer<Uint8Array, Uint8Array>({
    async onStream(peer) {
      let credit = 0;
      let offset = 0;
      let isStarted = false;
      for await (const frame of peer.received) {
        const message = clientMessage(frame);
        if (message.case === "initRequest") {
          peer.send(serverFrame({ case: "initResponse", value: { sessionId: "s" } }));
          const partitionSession = { partitionSessionId: 1n, path: "/local/a", partitionId: 0n };
          peer.send(serverFrame({ case: "startPartitionSessionRequest", value: { partitionSession } }));
        } else if (message.case === "startPartitionSessionResponse") isStarted = true;
        else if (message.case === "readRequest") credit += Number(message.value.bytesSize);
        else if (message.case === "commitOffsetRequest" && acknowledges) {
          const end = message.value.commitOffsets[0]?.offsets.at(-1)?.end ?? 0n;
          const partitionsCommittedOffsets = [{ partitionSessionId: 1n, committedOffset: end }];
          peer.send(serverFrame({ case: "commitOffsetResponse", value: { partitionsCommittedOffsets } }));
        }
        while (isStarted && credit > 0 && offset < count) {
          const messageData = Array.from({ length: 10 }, () => ({ offset: BigInt(offset++), data: payload("x") }));
          const partitionData = [{ partitionSessionId: 1n, batches: [{ codec: 1, messageData }] }];
          credit -= 1_000;
          peer.send(serverFrame({ case: "readResponse", value: { bytesSize: 1_000n, partitionData } }));
        }
      }
      peer.end();
    },
  });
}

test("X20: a long stream of messages with commits keeps the heap flat and leaves no rejection", async () => {
  const count = isLong ? 1_000_000 : 100_000;
  const memory = endless(count);
  const client = simClient(memory);
  await using reader = await openReader({ client, topics: "/local/a", consumer: "c", maxBufferBytes: 50_000 });
  let next = 0;
  let half = 0;
  for await (const batch of reader) {
    expect(batch.offset(0)).toBe(BigInt(next));
    next += batch.length;
    if ((next / 10) % 7 === 0) await batch.commit();
    else batch.commitAndForget();
    if (next === count / 2) half = await heapBytes();
    if (next === count) break;
  }
  expect((await heapBytes()) - half).toBeLessThan(1_500_000);
  expect(unhandled).toEqual([]);
});

test("X20: lifecycles that are cut anywhere leave no heap, listener, stream or rejection behind", async () => {
  const limiter = new ReconnectLimiter({ burst: 1e9 });
  const longLived = new AbortController();
  const memory = endless(40);
  const client = simClient(memory);
  const lifecycle = async (n: number) => {
    const { signal } = longLived;
    const opening = openReader({ client, topics: "/local/a", consumer: "c", limiter, closeGraceMs: 0, signal });
    const reader: Reader = await opening;
    const waits: Promise<unknown>[] = [];
    if (n % 2 === 0) waits.push(reader.receive({ signal }).catch(() => {}));
    if (n % 3 === 0) waits.push(reader.read({ signal }).next());
    if (n % 7 === 0) {
      const batch = await reader.receive();
      waits.push(batch.commit().catch(() => {}));
    }
    void reader.events();
    for (let k = 0; k < n % 20; k++) await Promise.resolve();
    if (n % 5 === 0) reader.destroy(new Error("enough"));
    else await reader.close().catch(() => {});
    await Promise.all(waits);
  };
  const count = isLong ? 50_000 : 2_000;
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  const half = await heapBytes();
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  expect((await heapBytes()) - half).toBeLessThan(1_000_000);
  expect(getEventListeners(longLived.signal, "abort")).toHaveLength(0);
  expect(memory.open).toBe(0);
  expect(unhandled).toEqual([]);
});
