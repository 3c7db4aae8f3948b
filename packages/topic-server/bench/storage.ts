// Appends against what the disk itself can do, in one run, interleaved: `node bench/storage.ts [DIR] [repetitions]`.
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { fdatasync, writev } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemClock } from "@tidemark/clock";
import { diskFiles, memoryFiles, PartitionLog, type SyncPolicy } from "../src/internal.ts";
import { TailBudget } from "../src/storage/tail-cache.ts";

const [parent = tmpdir(), repetitions = "5"] = process.argv.slice(2);
const none = new Uint8Array(0);
const sync = promisify(fdatasync);
const write = promisify(writev);

/** The disk's own rate: append a group, sync, and so on. */
async function disk(folder: string, groupBytes: number, total: number): Promise<number> {
  const fd = openSync(join(folder, "raw"), "w+");
  const group = Buffer.alloc(groupBytes, 7);
  const startedMs = performance.now();
  for (let at = 0; at < total; at += groupBytes) {
    await write(fd, [group], at);
    await sync(fd);
  }
  const ms = performance.now() - startedMs;
  closeSync(fd);
  return total / 1e3 / ms;
}

/** The log's: as many records as make a group are on their way while the one before is synced. */
async function log(
  folder: string | undefined,
  recordBytes: number,
  groupBytes: number,
  total: number,
  policy: SyncPolicy,
) {
  const opened = await PartitionLog.open({
    files: folder === undefined ? memoryFiles() : diskFiles(folder),
    folder: "1/0",
    clock: systemClock,
    sync: policy,
    segmentBytes: 64 * 1024 * 1024,
    tail: new TailBudget(0),
    sealed: [],
    startOffset: 0,
    checkpointOffset: 0,
    onRecovered: () => {},
    onSealed: () => {},
    onTrim: async () => {},
    onVisible: () => {},
  });
  const payload = Buffer.alloc(recordBytes, 7);
  const head = {
    count: 1,
    skip: 0,
    codec: 1,
    firstSeqNo: 1n,
    lastSeqNo: 1n,
    writtenAtMs: 1,
    txId: 0,
    producer: none,
    meta: none,
  };
  let sent = 0;
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    let stored = 0;
    const owner = {
      onStored: () => {
        stored += recordBytes;
        if (sent < total) append();
        else if (stored >= sent) resolve();
      },
      onLost: (_head: unknown, error: Error) => reject(error),
    };
    const append = () => {
      sent += recordBytes;
      opened.append(head, payload, owner);
    };
    for (let n = 0; n < (groupBytes * 2) / recordBytes; n++) append();
  });
  const ms = performance.now() - startedMs;
  await opened.close();
  return total / 1e3 / ms;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

for (const [recordBytes, groupBytes] of [
  [16 * 1024, 256 * 1024],
  [64 * 1024, 256 * 1024],
  [64 * 1024, 1024 * 1024],
  [256 * 1024, 1024 * 1024],
] as const) {
  const total = 256 * 1024 * 1024;
  const rows: number[][] = [];
  for (let n = 0; n < Number(repetitions); n++) {
    const folder = mkdtempSync(join(parent, "bench-"));
    try {
      const raw = await disk(folder, groupBytes, total);
      const durable = await log(join(folder, "log"), recordBytes, groupBytes, total, "always");
      const memory = await log(undefined, recordBytes, groupBytes, total, "always");
      rows.push([raw, durable, memory, durable / raw, durable / memory]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  const [raw, durable, memory, ofDisk, ofMemory] = [0, 1, 2, 3, 4].map((column) =>
    median(rows.map((row) => row[column] as number)),
  );
  console.log(
    `${recordBytes / 1024} KiB records, ${groupBytes / 1024} KiB groups: disk ${raw?.toFixed(0)} MB/s, ` +
      `log ${durable?.toFixed(0)} MB/s = ${((ofDisk as number) * 100).toFixed(0)} % of the disk; ` +
      `memory ${memory?.toFixed(0)} MB/s, durable ${((ofMemory as number) * 100).toFixed(0)} % of it`,
  );
}
