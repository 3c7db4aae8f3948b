import { fileURLToPath } from "node:url";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { seededRng } from "@tidemark/clock";
import { scanWriteRequest } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { TopicStore } from "../src/internal.ts";
import { temporaryFolder } from "./support.ts";

const rounds = process.env["TIDEMARK_LONG"] === "1" ? 100 : 3;

/** Lets the writer run until it acknowledged so many writes, kills it, and says what it had acknowledged by then. */
async function killAfter(dataDir: string, writes: number, signal: AbortSignal): Promise<Map<string, number>> {
  const script = fileURLToPath(new URL("kill-writer.ts", import.meta.url));
  const flags = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, script, dataDir], { stdio: ["ignore", "pipe", "inherit"], signal });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    if (said.split("\n").length > writes) child.kill("SIGKILL");
  });
  await once(child, "close");
  const acknowledged = new Map<string, number>();
  for (const line of said.split("\n").slice(0, -1)) {
    const [name = "", seqNo] = line.split(" ");
    acknowledged.set(name, Number(seqNo));
  }
  return acknowledged;
}

/** Sequence numbers of each producer, in the order of the logs, and what their messages say. */
async function stored(dataDir: string): Promise<Map<string, number[]>> {
  await using store = await TopicStore.open({ dataDir, segmentBytes: 64 * 1024 });
  const found = new Map<string, number[]>();
  for (const { log } of store.topic("/local/killed")?.partitions ?? []) {
    let offset = log.startOffset;
    while (offset < log.endOffset) {
      for (const record of await log.read(offset, 1024 * 1024)) {
        expect(record.baseOffset).toBe(offset);
        const columns = scanWriteRequest(record.payload);
        for (let n = record.skip; n < (columns?.length ?? 0); n++) {
          const name = new TextDecoder().decode(record.producer);
          const seqNo = Number(columns?.seqNo(n));
          const seqNos = found.get(name) ?? [];
          found.set(name, seqNos);
          seqNos.push(seqNo);
          expect(new TextDecoder().decode(columns?.data(n))).toMatch(new RegExp(`^${name}${seqNo}\\.*$`));
        }
        offset += record.count;
      }
    }
  }
  return found;
}

test(`P18: after SIGKILL in the middle of writes, ${rounds} times, everything acknowledged is there once`, {
  timeout: rounds * 30_000,
}, async ({ signal }) => {
  const rng = seededRng(1);
  const dataDir = temporaryFolder();
  for (let round = 0; round < rounds; round++) {
    const acknowledged = await killAfter(dataDir, rng.int(20, 400), signal);
    expect(acknowledged.size).toBeGreaterThan(0);
    const found = await stored(dataDir);
    for (const [name, last] of acknowledged) {
      const seqNos = found.get(name) ?? [];
      expect(seqNos.at(-1)).toBeGreaterThanOrEqual(last);
      expect(seqNos).toEqual(Array.from({ length: seqNos.length }, (_, n) => n + 1));
    }
  }
});
