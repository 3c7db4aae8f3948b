// A real service in this process, a client of it, and a writer without a package.

import { AsyncQueue } from "@tidemark/stream";
import { createTopicClient, type TopicClient, type TopicClientOptions } from "@tidemark/topic";
import { decodeWriteAcks, encodeWriteRequest, topicWire } from "@tidemark/topic/internal";
import { openTopicServer, type TopicServer, type TopicServerOptions } from "@tidemark/topic-server";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

const { StreamWriteMessage_FromClientSchema, StreamWriteMessage_FromServerSchema } = topicWire;

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "topic-reader-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function live(
  serverOptions: TopicServerOptions = {},
  clientOptions: TopicClientOptions = {},
): Promise<{ readonly server: TopicServer; readonly client: TopicClient }> {
  const server = await openTopicServer(serverOptions);
  onTestFinished(() => server.close());
  const client = createTopicClient(server.connectionString, clientOptions);
  onTestFinished(() => client.close());
  return { server, client };
}

export interface WriteOptions {
  readonly partition?: number;
  readonly producerId?: string;
  readonly codec?: number;
  readonly firstSeqNo?: number;
  readonly data?: (n: number) => Uint8Array;
}

/** Writes `count` messages and waits for their acknowledgement. */
export async function write(
  client: TopicClient,
  path: string,
  count: number,
  { partition = 0, producerId = `producer-${partition}`, codec = 1, firstSeqNo = 1, data }: WriteOptions = {},
): Promise<void> {
  const outgoing = new AsyncQueue<Uint8Array>();
  const transport = client.stream("write");
  const incoming = transport.start(outgoing)[Symbol.asyncIterator]();
  const initRequest = {
    path,
    producerId,
    partitioning: { case: "partitionId" as const, value: BigInt(partition) },
    writeSessionMeta: { from: "test" },
  };
  outgoing.push(
    toBinary(
      StreamWriteMessage_FromClientSchema,
      create(StreamWriteMessage_FromClientSchema, { clientMessage: { case: "initRequest", value: initRequest } }),
    ),
  );
  const first = await incoming.next();
  const answer = fromBinary(StreamWriteMessage_FromServerSchema, first.value as Uint8Array);
  if (answer.serverMessage.case !== "initResponse") throw new Error(`no: ${JSON.stringify(answer.issues)}`);
  const numbers = Array.from({ length: count }, (_, n) => n);
  outgoing.push(
    encodeWriteRequest({
      count,
      seqNos: numbers.map((n) => firstSeqNo + n),
      createdAtMs: numbers.map(() => 1_700_000_000_000),
      data: numbers.map((n) => data?.(n) ?? new TextEncoder().encode(`${path}/${partition}:${firstSeqNo + n}`)),
      codec,
    }),
  );
  for (let acknowledged = 0; acknowledged < count; ) {
    const { value, done } = await incoming.next();
    if (done) throw new Error("the write stream ended");
    const acks = decodeWriteAcks(value);
    if (acks === undefined)
      throw new Error(JSON.stringify(fromBinary(StreamWriteMessage_FromServerSchema, value).issues));
    acknowledged += acks.total;
  }
  outgoing.close();
  transport.cancel(new Error("done"));
}
