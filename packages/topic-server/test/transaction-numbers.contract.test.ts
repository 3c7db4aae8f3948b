// A transaction's messages have the numbers that their producer gave them, and others may have used these meanwhile.

import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { TopicServerError } from "../src/index.ts";
import { acceptPartition, expectFailure, message, openRead, openWrite, readMessages, write } from "./support.ts";
import { beginTransaction, memoryFilesWith, openWithTopic, path } from "./support/set-up.ts";

async function begin(options: Parameters<typeof openWithTopic>[0] = {}) {
  const { store, client } = await openWithTopic(options);
  const { tx, commit } = await beginTransaction(client);
  const read = async (count: number) => {
    const { stream } = await openRead(client, path);
    await acceptPartition(stream);
    return (await readMessages(stream, count)).map(({ text }) => text);
  };
  return { store, client, tx, commit, read };
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

test("X5: what a transaction could not store yet comes before what its producer writes next", async () => {
  let isFull = false;
  const files = memoryFilesWith((file) => ({
    async writeThrough(pieces, position) {
      if (isFull) throw new TopicServerError("DISK_FULL", "no room", { retryable: true });
      await file.writeThrough(pieces, position);
    },
  }));
  const { store, client, tx, commit, read } = await begin({ files });
  const { stream } = await openWrite(client, path, "p");
  await write(stream, [message(1, "in the transaction")], tx);
  const next = await beginTransaction(client, tx.session);
  await write(stream, [message(2, "in the next one")], next.tx);
  isFull = true;
  expect(await commit()).toBe(StatusCode.UNDETERMINED);
  isFull = false;
  expect(await next.commit()).toBe(StatusCode.ABORTED);
  stream.send({ clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(2)] } } });
  expect(await expectFailure(stream)).toBe("OVERLOADED");
  const early = client.write();
  early.send({ clientMessage: { case: "initRequest", value: { path, producerId: "p" } } });
  expect(await expectFailure(early)).toBe("OVERLOADED");
  // Nobody else waits for it.
  const { stream: other } = await openWrite(client, path, "other");
  expect(await write(other, [message(1, "of somebody else")])).toEqual([0]);
  await store.maintain();
  const { stream: again, init } = await openWrite(client, path, "p");
  expect(init.lastSeqNo).toBe(1n);
  expect(await write(again, [message(2, "next")])).toEqual([2]);
  expect(await read(3)).toEqual(["of somebody else", "in the transaction", "next"]);
});
