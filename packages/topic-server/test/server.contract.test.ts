import { expect, test } from "vitest";
import {
  acceptPartition,
  commit,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";

test("a topic is created, written, read and committed, and all of it outlives the server", async () => {
  const dataDir = temporaryFolder();
  {
    const server = await openTestServer({ dataDir });
    const client = rawClient(server);
    expect(await client.createTopic("/local/orders")).toBe("SUCCESS");
    const { stream, init } = await openWrite(client, "/local/orders");
    expect(init.lastSeqNo).toBe(0n);
    expect(await write(stream, [message(1), message(2), message(5)])).toEqual([0, 1, 2]);
    expect(await write(stream, [message(5), message(6)])).toEqual(["skipped", 3]);
    const { stream: reader } = await openRead(client, "/local/orders");
    const part = await acceptPartition(reader);
    expect((await readMessages(reader, 4)).map(({ text }) => text)).toEqual(["m1", "m2", "m5", "m6"]);
    void commit(reader, part.id, 0, 3);
    const { partitionsCommittedOffsets } = await expectRead(reader, "commitOffsetResponse");
    expect(partitionsCommittedOffsets[0]?.committedOffset).toBe(3n);
    await server.close();
  }
  const server = await openTestServer({ dataDir });
  const client = rawClient(server);
  const { init, stream } = await openWrite(client, "/local/orders");
  expect(init.lastSeqNo).toBe(6n);
  expect(await write(stream, [message(6), message(7)])).toEqual(["skipped", 4]);
  const { stream: reader } = await openRead(client, "/local/orders");
  const part = await acceptPartition(reader);
  expect(part.committedOffset).toBe(3n);
  expect((await readMessages(reader, 2)).map(({ offset }) => offset)).toEqual([3, 4]);
});
