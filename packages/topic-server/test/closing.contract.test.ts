import { once } from "node:events";
import { Code, ConnectError } from "@connectrpc/connect";
import { StatusCode, topicWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { Deaf, frame } from "./deaf.ts";
import {
  acceptPartition,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  type ReadStream,
  write,
  type WriteStream,
} from "./support.ts";

const path = "/local/t";
/** Longer than a test may take: who waits for it fails. */
const closeTimeoutMs = 3_600_000;
const { StreamReadMessage_FromClientSchema: ToRead } = topicWire;

test("a reader that never reads does not hold up close()", async () => {
  const server = await openTestServer({ closeTimeoutMs });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  for (let seqNo = 1; seqNo <= 20; seqNo++) await write(writer, [message(seqNo, new Uint8Array(100_000))]);
  const deaf = new Deaf(server, "StreamRead");
  await once(deaf.session, "connect");
  const value = { topicsReadSettings: [{ path }], consumer: "c" };
  deaf.send(
    frame(ToRead, { clientMessage: { case: "initRequest", value } }),
    frame(ToRead, { clientMessage: { case: "readRequest", value: { bytesSize: 10_000_000n } } }),
    frame(ToRead, { clientMessage: { case: "startPartitionSessionResponse", value: { partitionSessionId: 1n } } }),
  );
  await deaf.isFull();
  await server.close();
});

test("sessions end with UNAVAILABLE when the server closes, and their clients hear it", async () => {
  const server = await openTestServer({ closeTimeoutMs });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1)]);
  const { stream: reader } = await openRead(client, path, { credit: 0 });
  await acceptPartition(reader);
  const ends = [writer, reader].map(async (stream: WriteStream | ReadStream) => {
    const last = await stream.next();
    const error = await stream.next().catch((reason: unknown) => ConnectError.from(reason));
    return { status: last.status, words: last.issues[0]?.message, code: error instanceof ConnectError && error.code };
  });
  await server.close();
  const end = { status: StatusCode.UNAVAILABLE, words: "The server is closing", code: Code.Unavailable };
  expect(await Promise.all(ends)).toEqual([end, end]);
});

test("a session for transactions that is attached ends with the server", async () => {
  const server = await openTestServer({ closeTimeoutMs });
  const { query } = rawClient(server);
  const { sessionId } = await query.createSession({});
  const states = query.attachSession({ sessionId })[Symbol.asyncIterator]();
  expect((await states.next()).value?.status).toBe(StatusCode.SUCCESS);
  const last = states.next();
  await server.close();
  expect((await last).value?.status).toBe(StatusCode.UNAVAILABLE);
});
