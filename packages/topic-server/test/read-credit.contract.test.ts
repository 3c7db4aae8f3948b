import { toBinary } from "@bufbuild/protobuf";
import { seededRng } from "@tidemark/clock";
import { topicWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { acceptPartition, expectRead, message, openTestServer, openWrite, rawClient, write } from "./support.ts";

const { StreamReadMessage_ReadResponseSchema: ReadResponse } = topicWire;

test("X13: the server takes from the credit just what it says, and goes below zero for one message only", async () => {
  const rng = seededRng(13);
  const client = rawClient(await openTestServer());
  await client.createTopic("/local/t", { partitioningSettings: { minActivePartitions: 2n } as never });
  const count = 120;
  const sizes = Array.from({ length: count }, () => (rng.float() < 0.1 ? rng.int(20_000, 60_000) : rng.int(0, 2000)));
  for (let partition = 0; partition < 2; partition++) {
    const { stream } = await openWrite(client, "/local/t", `p${partition}`, partition);
    for (const [n, size] of sizes.entries()) await write(stream, [message(n + 1, new Uint8Array(size))]);
  }
  const stream = client.read();
  const value = { topicsReadSettings: [{ path: "/local/t" }], consumer: "c" };
  stream.send({ clientMessage: { case: "initRequest", value } });
  await expectRead(stream, "initResponse");
  await acceptPartition(stream);
  await acceptPartition(stream);
  let credit = 0;
  const seen = new Map<bigint, number>();
  const read = () => [...seen.values()].reduce((sum, n) => sum + n, 0);
  while (read() < 2 * count) {
    if (credit <= 0) {
      // Sometimes what was taken, sometimes a little, and sometimes too little to get out of what is owed.
      const bytes = rng.int(1, 30_000);
      credit += bytes;
      stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: BigInt(bytes) } } });
      if (credit <= 0) continue;
    }
    const response = await expectRead(stream, "readResponse");
    expect(response.partitionData).toHaveLength(1);
    const [part] = response.partitionData;
    const messages = part?.batches.flatMap(({ messageData }) => messageData) ?? [];
    const bytes = Number(response.bytesSize);
    // Its own size on the wire, so that clients that count for themselves come to the same.
    const onTheWire = toBinary(ReadResponse, response).length;
    expect(Math.abs(bytes - onTheWire)).toBeLessThanOrEqual(16);
    credit -= bytes;
    if (credit < 0) expect(messages).toHaveLength(1);
    const id = part?.partitionSessionId ?? 0n;
    for (const { offset, data } of messages) {
      const next = seen.get(id) ?? 0;
      expect(Number(offset)).toBe(next);
      expect(data.length).toBe(sizes[next]);
      seen.set(id, next + 1);
    }
  }
});

test("X4: two topics with the same partitions on one stream are told apart by their sessions and paths", async () => {
  const client = rawClient(await openTestServer());
  for (const name of ["one", "two"]) {
    await client.createTopic(name);
    const { stream } = await openWrite(client, name);
    await write(stream, [message(1, name)]);
  }
  const stream = client.read();
  const value = {
    topicsReadSettings: [{ path: "/local/one" }, { path: "two" }, { path: "/local/one/" }],
    consumer: "c",
  };
  stream.send({ clientMessage: { case: "initRequest", value } });
  await expectRead(stream, "initResponse");
  stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: 10_000n } } });
  const sessions = new Map<bigint, string | undefined>();
  for (let n = 0; n < 2; n++) {
    const { id, partition, partitionSession } = await acceptPartition(stream);
    expect(partition).toBe(0);
    sessions.set(id, partitionSession?.path);
  }
  expect(new Set(sessions.values())).toEqual(new Set(["one", "two"]));
  for (let n = 0; n < 2; n++) {
    const { partitionData } = await expectRead(stream, "readResponse");
    const [part] = partitionData;
    const data = part?.batches[0]?.messageData[0]?.data;
    expect(new TextDecoder().decode(data)).toBe(sessions.get(part?.partitionSessionId ?? 0n));
  }
});
