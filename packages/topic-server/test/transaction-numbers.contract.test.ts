// A transaction's messages have the numbers that their producer gave them, and others may have used these meanwhile.

import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { type TopicServer, TopicServerError } from "../src/index.ts";
import { type LogFile, type LogFiles, memoryFiles } from "../src/internal.ts";
import {
  acceptPartition,
  expectFailure,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  write,
} from "./support.ts";

const path = "/local/t";

async function begin(server?: TopicServer) {
  const client = rawClient(server ?? (await openTestServer()));
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

test("X5: what a transaction could not store yet comes before what its producer writes next", async () => {
  const memory = memoryFiles();
  let isFull = false;
  const files: LogFiles = {
    ...memory,
    async open(name, isNew) {
      const file = await memory.open(name, isNew);
      const failing: LogFile = {
        size: () => file.size(),
        write: (pieces, position) => file.write(pieces, position),
        read: (target, position) => file.read(target, position),
        truncate: (size) => file.truncate(size),
        sync: () => file.sync(),
        close: () => file.close(),
        async writeThrough(pieces, position) {
          if (isFull) throw new TopicServerError("DISK_FULL", "no room", { retryable: true });
          await file.writeThrough(pieces, position);
        },
      };
      return failing;
    },
  };
  const server = await openTestServer({ files, maintenanceIntervalMs: 3_600_000 });
  const { client, tx, commit, read } = await begin(server);
  const { stream } = await openWrite(client, path, "p");
  await write(stream, [message(1, "in the transaction")], tx);
  const next = (await client.query.beginTransaction({ sessionId: tx.session })).txMeta?.id ?? "";
  await write(stream, [message(2, "in the next one")], { id: next, session: tx.session });
  isFull = true;
  expect(await commit()).toBe(StatusCode.UNDETERMINED);
  isFull = false;
  const behind = await client.query.commitTransaction({ sessionId: tx.session, txId: next });
  expect(behind.status).toBe(StatusCode.ABORTED);
  stream.send({ clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(2)] } } });
  expect(await expectFailure(stream)).toBe("OVERLOADED");
  const early = client.write();
  early.send({ clientMessage: { case: "initRequest", value: { path, producerId: "p" } } });
  expect(await expectFailure(early)).toBe("OVERLOADED");
  // Nobody else waits for it.
  const { stream: other } = await openWrite(client, path, "other");
  expect(await write(other, [message(1, "of somebody else")])).toEqual([0]);
  await server.store.maintain();
  const { stream: again, init } = await openWrite(client, path, "p");
  expect(init.lastSeqNo).toBe(1n);
  expect(await write(again, [message(2, "next")])).toEqual([2]);
  expect(await read(3)).toEqual(["of somebody else", "in the transaction", "next"]);
});
