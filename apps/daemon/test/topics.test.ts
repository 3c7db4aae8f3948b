import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { createTopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";
import { openWriter } from "@tidemark/topic-writer";
import { expect, test } from "vitest";
import { spawnCli, startDaemon, testFolder, tidemark } from "./support.ts";

/** `tidemark topics`, once it says that it is ready. */
async function startTopics(folder: string, ...args: readonly string[]) {
  const child = spawnCli(["topics", "--json", "--data", folder, "--listen", "127.0.0.1:0", ...args]);
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const { ready, topics } = JSON.parse(line) as { readonly ready: boolean; readonly topics: string };
  expect(ready).toBe(true);
  return {
    url: topics,
    async end(signal: NodeJS.Signals): Promise<number | null> {
      const closed = once(child, "close");
      child.kill(signal);
      const [exitCode] = (await closed) as [number | null];
      return exitCode;
    },
  };
}

async function write(url: string, texts: readonly string[]): Promise<void> {
  await using client = createTopicClient(url);
  await client.createTopic("orders", { consumers: [{ name: "billing" }] });
  await using writer = await openWriter({ client, topic: "orders", producerId: "shop" });
  writer.write(texts);
  await writer.flush();
}

async function read(url: string, count: number): Promise<string[]> {
  await using client = createTopicClient(url);
  await using reader = await openReader({ client, topics: "orders", consumer: "billing" });
  const texts: string[] = [];
  for await (const batch of reader.read()) {
    for (let n = 0; n < batch.length; n++) texts.push(Buffer.from(batch.data(n)).toString());
    await batch.commit();
    if (texts.length >= count) break;
  }
  return texts;
}

test("what `tidemark topics` acknowledged is there after SIGKILL, and goes on where the consumer was", async () => {
  const folder = testFolder();
  const first = await startTopics(folder);
  await write(first.url, ["a", "b"]);
  await first.end("SIGKILL");
  const second = await startTopics(folder);
  expect(await read(second.url, 2)).toEqual(["a", "b"]);
  await write(second.url, ["c"]);
  expect(await second.end("SIGTERM")).toBe(0);
  const third = await startTopics(folder, "--sync=interval");
  expect(await read(third.url, 1)).toEqual(["c"]);
  expect(await third.end("SIGINT")).toBe(0);
});

test("`tidemark up` serves topics beside everything else, and says where", async () => {
  const daemon = await startDaemon(["--data", testFolder()]);
  await write(daemon.topics ?? "", ["hello"]);
  expect(await read(daemon.topics ?? "", 1)).toEqual(["hello"]);
  const [status] = await daemon.json(["status"]);
  expect(status.topics).toBe(daemon.topics);
  expect((await daemon.cli(["status"])).stdout).toContain(`${daemon.topics}  YDB Topic API`);
  expect(await daemon.stop("SIGTERM")).toBe(0);
});

test("`tidemark up --no-topics` serves none", async () => {
  const daemon = await startDaemon(["--data", testFolder(), "--no-topics"]);
  expect(daemon.topics).toBeNull();
  expect((await daemon.json(["status"]))[0].topics).toBeNull();
});

test("a folder, an address or a policy that cannot be used is told with what to do", async () => {
  const folder = testFolder();
  const running = await startTopics(folder);
  const twice = await tidemark(["topics", "--data", folder, "--listen", "127.0.0.1:0"]);
  expect(twice).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/Another daemon .* is using /) });
  await running.end("SIGTERM");

  const taken = createServer();
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const busy = await tidemark(["topics", "--data", folder, "--listen", `127.0.0.1:${port}`]);
  taken.close();
  expect(busy).toMatchObject({
    exitCode: 4,
    stderr: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:${port} is already in use[^]*--listen`)),
  });

  const open = await tidemark(["topics", "--data", folder, "--listen", "0.0.0.0:0"]);
  expect(open).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--insecure") });
  const policy = await tidemark(["topics", "--data", folder, "--sync", "sometimes"]);
  expect(policy).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("always, interval") });
});
