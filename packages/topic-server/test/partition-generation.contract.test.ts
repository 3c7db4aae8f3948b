import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import {
  acceptPartition,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  type RawClient,
  temporaryFolder,
  write,
} from "./support.ts";

const path = "/local/t";

async function generationOf(client: RawClient): Promise<bigint> {
  return (await client.describe(path)).partitions[0]?.partitionLocation?.generation ?? 0n;
}

function openAt(client: RawClient, generation: bigint, producerId: string) {
  const stream = client.write();
  const partitioning = { case: "partitionWithGeneration", value: { partitionId: 0n, generation } } as const;
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId, partitioning } } });
  return stream;
}

test("a direct write to another generation of a partition is refused with UNAVAILABLE", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const generation = await generationOf(client);
  for (const wrong of [generation - 1n, generation + 1n]) {
    for (const producerId of ["p", ""]) {
      const stream = openAt(client, wrong, producerId);
      const { status, issues } = await stream.next();
      expect(status).toBe(StatusCode.UNAVAILABLE);
      expect(issues[0]?.message).toBe(
        `Partition 0 has generation ${generation}, not ${wrong}: describe the topic anew`,
      );
      expect(await stream.isOver()).toBe(true);
    }
  }
  const stream = openAt(client, generation, "p");
  expect((await stream.next()).serverMessage.case).toBe("initResponse");
  expect(await write(stream, [message(1)])).toEqual([0]);
});

test("who knows a partition from before a restart is told, and readers see the generation that writers do", async () => {
  const dataDir = temporaryFolder();
  const first = await openTestServer({ dataDir });
  const before = rawClient(first);
  await before.createTopic(path);
  const old = await generationOf(before);
  const { stream: writer } = await openWrite(before, path);
  await write(writer, [message(1)]);
  await first.close();

  const client = rawClient(await openTestServer({ dataDir }));
  const now = await generationOf(client);
  expect(now).toBe(old + 1n);
  expect((await openAt(client, old, "p").next()).status).toBe(StatusCode.UNAVAILABLE);
  const stream = openAt(client, now, "p");
  const { serverMessage } = await stream.next();
  expect(serverMessage.case === "initResponse" && serverMessage.value.lastSeqNo).toBe(1n);
  const { stream: reader } = await openRead(client, path);
  expect((await acceptPartition(reader)).partitionLocation).toMatchObject({ nodeId: 1, generation: now });
});

test("a reader that asks for direct reading is told that there is none", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const stream = client.read();
  const value = { topicsReadSettings: [{ path }], consumer: "c", directRead: true };
  stream.send({ clientMessage: { case: "initRequest", value } });
  expect((await stream.next()).status).toBe(StatusCode.BAD_REQUEST);
  expect(await stream.isOver()).toBe(true);
});
