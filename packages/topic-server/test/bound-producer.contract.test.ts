import { expect, test } from "vitest";
import { expectFailure, message, openTestServer, openWrite, rawClient, type RawClient, write } from "./support.ts";

const path = "/local/t";

function openAt(client: RawClient, producerId: string, partitionId: number) {
  const stream = client.write();
  const partitioning = { case: "partitionId", value: BigInt(partitionId) } as const;
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId, partitioning } } });
  return stream;
}

test("a producer that wrote to one partition is refused another one, where its numbers would start over", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 2n } });
  const { stream: first, init } = await openWrite(client, path, "p", 0);
  expect(init.partitionId).toBe(0n);
  // It has written nothing, so there is nothing to lose.
  const { stream: second } = await openWrite(client, path, "p", 1);
  await write(second, [message(1)]);
  expect(await expectFailure(first)).toBe("SESSION_EXPIRED");

  const refused = await openAt(client, "p", 0).next();
  expect(refused.issues[0]?.message).toBe(
    'producer "p" is bound to partition 1, got partition 0: take another producer_id, or name no partition',
  );
  expect(await expectFailure(openAt(client, "p", 0))).toBe("BAD_REQUEST");
  // Who is refused takes nobody's place.
  expect(await write(second, [message(2)])).toEqual([1]);
  expect((await openWrite(client, path, "p")).init).toMatchObject({ partitionId: 1n, lastSeqNo: 2n });

  // What it was split into is its own.
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  await server.store.splitPartition(topic, 1);
  expect((await openWrite(client, path, "p", 3)).init).toMatchObject({ partitionId: 3n, lastSeqNo: 2n });
  expect(await expectFailure(openAt(client, "p", 2))).toBe("BAD_REQUEST");
});
