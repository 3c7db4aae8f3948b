// Reads a topic to its end, without a consumer, by the protocol itself.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AsyncQueue } from "@tidemark/stream";
import type { TopicClient } from "@tidemark/topic";
import { decodeReadResponse, topicWire } from "@tidemark/topic/internal";

export interface ReadMessage {
  readonly partitionId: bigint;
  readonly offset: number;
  readonly seqNo: number;
  readonly producerId: string;
  readonly codec: number;
  readonly data: string;
  readonly bytes: Uint8Array;
  readonly createdAtMs: number;
  readonly uncompressedBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly sessionMeta: Readonly<Record<string, string>>;
}

type Request = MessageInitShape<typeof topicWire.StreamReadMessage_FromClientSchema>["clientMessage"];

/** The first `count` messages, those of a partition in their order. */
export async function readTopic(client: TopicClient, topic: string, count: number): Promise<readonly ReadMessage[]> {
  const { partitions } = await client.describeTopic(topic);
  const outgoing = new AsyncQueue<Uint8Array>();
  const send = (clientMessage: NonNullable<Request>) =>
    outgoing.push(
      toBinary(
        topicWire.StreamReadMessage_FromClientSchema,
        create(topicWire.StreamReadMessage_FromClientSchema, { clientMessage }),
      ),
    );
  const transport = client.stream("read");
  const read: ReadMessage[] = [];
  const partitionOf = new Map<number, bigint>();
  const partitionIds = partitions.map(({ partitionId }) => partitionId);
  send({ case: "initRequest", value: { topicsReadSettings: [{ path: topic, partitionIds }], readerName: "test" } });
  send({ case: "readRequest", value: { bytesSize: 100_000_000n } });
  try {
    if (count === 0) return read;
    for await (const bytes of transport.start(outgoing)) {
      const response = decodeReadResponse(bytes);
      if (response === undefined) {
        const message = fromBinary(topicWire.StreamReadMessage_FromServerSchema, bytes);
        if (message.issues.length > 0) throw new Error(message.issues.map((issue) => issue.message).join());
        if (message.serverMessage.case !== "startPartitionSessionRequest") continue;
        const session = message.serverMessage.value.partitionSession;
        const partitionSessionId = session?.partitionSessionId ?? 0n;
        partitionOf.set(Number(partitionSessionId), session?.partitionId ?? 0n);
        send({ case: "startPartitionSessionResponse", value: { partitionSessionId, readOffset: 0n } });
        continue;
      }
      for (const columns of response.partitions) {
        const { partitionSessionId } = columns;
        for (let n = 0; n < columns.length; n++) {
          const body = columns.data(n);
          read.push({
            partitionId: partitionOf.get(Number(partitionSessionId)) as bigint,
            offset: columns.offset(n),
            seqNo: Number(columns.seqNo(n)),
            producerId: columns.producerId(n),
            codec: columns.codec(n),
            data: Buffer.from(body).toString(),
            bytes: body,
            createdAtMs: columns.createdAtMs(n),
            uncompressedBytes: columns.uncompressedBytes(n),
            metadata: Object.fromEntries(
              columns.metadata(n).map(({ key, value }) => [key, Buffer.from(value).toString()]),
            ),
            sessionMeta: columns.writeSessionMeta(n),
          });
        }
      }
      send({ case: "readRequest", value: { bytesSize: BigInt(response.bytesSize) } });
      if (read.length >= count) return read;
    }
    throw new Error(`the stream ended after ${read.length} of ${count} messages`);
  } finally {
    transport.cancel(new Error("read"));
  }
}
