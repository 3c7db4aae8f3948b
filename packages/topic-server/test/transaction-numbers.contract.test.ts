// A transaction's messages have the numbers that their producer gave them, and others may have used these meanwhile.

import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import {
  acceptPartition,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  write,
} from "./support.ts";

const path = "/local/t";

async function begin() {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { sessionId } = await client.query.createSession({});
  const id = (await client.query.beginTransaction({ sessionId })).txMeta?.id ?? "";
  const commit = async () => (await client.query.commitTransaction({ sessionId, txId: id })).status;
  const read = async (count: number) => {
    const { stream } = await openRead(client, path);
    await acceptPartition(stream);
    return (await readMessages(stream, count)).map(({ text }) => text);
  };
  return { client, tx: { id, session: sessionId }, commit, read };
}

test("X5: a transaction whose numbers are behind its producer by now is aborted, and not committed without them", async () => {
  const { client, tx, commit, read } = await begin();
  const { stream } = await openWrite(client, path, "p");
  expect(await write(stream, [message(1, "in the transaction"), message(2, "as well")], tx)).toEqual(["tx", "tx"]);
  // Whoever writes under the same name now is told 0 and begins with 1.
  const { stream: other, init } = await openWrite(client, path, "p");
  expect(init.lastSeqNo).toBe(0n);
  expect(await write(other, [message(1, "outside")])).toEqual([0]);
  expect(await commit()).toBe(StatusCode.ABORTED);
  expect(await write(other, [message(2, "next")])).toEqual([1]);
  expect(await read(2)).toEqual(["outside", "next"]);
});

test("X5: numbers that the producer had used before the transaction are skipped, and the rest is committed", async () => {
  const { client, tx, commit, read } = await begin();
  const { stream } = await openWrite(client, path, "p");
  await write(stream, [message(1, "before")]);
  expect(await write(stream, [message(1, "again"), message(2, "in it")], tx)).toEqual(["skipped", "tx"]);
  expect(await write(stream, [message(2, "again"), message(3, "in it, too")], tx)).toEqual(["skipped", "tx"]);
  expect(await commit()).toBe(StatusCode.SUCCESS);
  expect(await read(3)).toEqual(["before", "in it", "in it, too"]);
});
