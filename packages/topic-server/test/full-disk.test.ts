// A disk that is really full: a small file system of its own, and the kernel's ENOSPC.
import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, onTestFinished, test } from "vitest";
import {
  acceptPartition,
  commit,
  expectFailure,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  type RawClient,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";

const run = promisify(execFile);
const path = "/local/t";
const body = (seqNo: number) => `${seqNo} `.padEnd(50_000, ".");

/** A file system of so many MiB. @returns why there is none, otherwise. */
async function mount(folder: string, mebibytes: number): Promise<string | undefined> {
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder]);
  } catch (error) {
    return `mounting a tmpfs needs Linux and root: ${error instanceof Error ? error.message.trim() : String(error)}`;
  }
  onTestFinished(async () => void (await run("umount", ["-l", folder])));
  return undefined;
}

/** Writes until there is no more room. @returns the last number that was acknowledged. */
async function fill(client: RawClient, from: number): Promise<number> {
  const { stream, init } = await openWrite(client, path);
  expect(init.lastSeqNo).toBe(BigInt(from));
  for (let seqNo = from + 1; ; seqNo++) {
    stream.send({
      clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(seqNo, body(seqNo))] } },
    });
    const answer = await stream.next();
    if (answer.serverMessage.case === "writeResponse") continue;
    expect(answer.status).toBe(StatusCode.OVERLOADED);
    expect(await stream.isOver()).toBe(true);
    return seqNo - 1;
  }
}

test("a disk that is full answers OVERLOADED, loses nothing acknowledged, and takes writes again once there is room", async ({
  skip,
}) => {
  const folder = temporaryFolder();
  const why = await mount(folder, 8);
  skip(why !== undefined, why);
  const ballast = join(folder, "ballast");
  writeFileSync(ballast, new Uint8Array(3 * 1024 * 1024));
  const dataDir = join(folder, "data");
  const open = () => openTestServer({ dataDir, segmentBytes: 256 * 1024, tailCacheBytes: 0, closeTimeoutMs: 100 });
  const everything = async (client: RawClient, count: number) => {
    const { stream } = await openRead(client, path, { consumer: "d", credit: 100_000_000 });
    await acceptPartition(stream);
    const read = await readMessages(stream, count);
    expect(read.map(({ offset, seqNo, text }) => [offset, seqNo, text === body(seqNo)])).toEqual(
      Array.from({ length: count }, (_, n) => [n, n + 1, true]),
    );
    stream.abort();
  };

  let server = await open();
  let client = rawClient(server);
  await client.createTopic(path, { consumers: [{ name: "c" }, { name: "d" }] });
  const first = await fill(client, 0);
  expect(first).toBeGreaterThan(10);
  // It lives: what is there is read and described, and what is new is refused again.
  await everything(client, first);
  expect((await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets?.end).toBe(BigInt(first));
  expect(await fill(client, first)).toBe(first);

  // A start has something to write down. Without room it says so, and changes nothing.
  await server.close();
  await expect(open()).rejects.toMatchObject({ code: "DISK_FULL" });
  rmSync(ballast);
  server = await open();
  client = rawClient(server);
  await everything(client, first);

  const second = await fill(client, first);
  expect(second).toBeGreaterThan(first + 10);
  await everything(client, second);

  // Room made by shorter retention, instead of somebody who deletes files.
  const { stream } = await openRead(client, path, { credit: 100_000_000 });
  const { id } = await acceptPartition(stream);
  await readMessages(stream, second);
  void commit(stream, id, 0, second);
  const { stream: blocked } = await openWrite(client, path);
  const request = { codec: 1, messages: [message(second + 1, body(second + 1))] };
  blocked.send({ clientMessage: { case: "writeRequest", value: request } });
  expect(await expectFailure(blocked)).toBe("OVERLOADED");
  stream.abort();
  const altered = await client.topics.alterTopic({ path, setRetentionStorageMb: 1n });
  expect(altered.operation?.status).toBe(StatusCode.SUCCESS);
  await server.store.maintain();
  const { stream: after } = await openWrite(client, path);
  expect(await write(after, [message(second + 1)])).toEqual([second]);
  const { stream: reader } = await openRead(client, path, { consumer: "d", credit: 100_000_000 });
  const { partitionOffsets } = await acceptPartition(reader);
  expect(partitionOffsets?.start).toBeGreaterThan(0n);
  expect(partitionOffsets?.end).toBe(BigInt(second + 1));
  await expectRead(reader, "readResponse");
});

test("a catalogue that cannot be written for another reason than want of room does not say that the disk is full", async ({
  skip,
}) => {
  skip(process.platform === "win32", "limits of a process are set by a shell");
  const script = fileURLToPath(new URL("limited-writer.ts", import.meta.url));
  const flags = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const limited = 'ulimit -f 256; exec "$@"';
  const { stdout } = await run("sh", ["-c", limited, "sh", process.execPath, ...flags, script, temporaryFolder()]);
  expect(stdout).toMatch(/^\[DISK_FAILED\] .*SQLITE_IOERR_WRITE$/m);
});
