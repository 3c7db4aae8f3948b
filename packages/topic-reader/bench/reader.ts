// Messages a second through a whole reader, from frames that are encoded beforehand: no network, one process.
//
//     pnpm bench [--seconds=2] [--repetitions=5]

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { openReader, type ReaderOptions } from "@tidemark/topic-reader";
import { Compression } from "@tidemark/topic";
import { StatusCode, topicWire } from "@tidemark/topic/internal";
import { parseArgs } from "node:util";

const { StreamReadMessage_FromClientSchema, StreamReadMessage_FromServerSchema } = topicWire;
type FromServer = MessageInitShape<typeof StreamReadMessage_FromServerSchema>;

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "1" }, repetitions: { type: "string", default: "5" } },
});
const seconds = Number(values.seconds);
const repetitions = Number(values.repetitions);

const encode = (serverMessage: NonNullable<FromServer["serverMessage"]>): Uint8Array =>
  toBinary(
    StreamReadMessage_FromServerSchema,
    create(StreamReadMessage_FromServerSchema, { status: StatusCode.SUCCESS, serverMessage }),
  );

interface Prepared {
  readonly frames: readonly Uint8Array[];
  readonly bytes: number;
}

/** Some frames of a partition, to be sent over and over; so their offsets repeat. */
function prepare(size: number, count: number): Prepared {
  const frames = Array.from({ length: Math.max(8, Math.ceil(40_000 / count)) }, (_, n) => {
    const messageData = Array.from({ length: count }, (_, k) => ({
      offset: BigInt(n * count + k),
      seqNo: BigInt(n * count + k + 1),
      createdAt: { seconds: 1_790_000_000n, nanos: k * 1000 },
      data: new Uint8Array(size).fill(k),
      uncompressedSize: BigInt(size),
    }));
    const writtenAt = { seconds: 1_790_000_000n, nanos: 0 };
    const batch = { messageData, producerId: "producer", codec: 1, writtenAt };
    const partitionData = [{ partitionSessionId: 1n, batches: [batch] }];
    return encode({ case: "readResponse", value: { partitionData, bytesSize: BigInt(size * count) } });
  });
  return { frames, bytes: size * count };
}

/** Sends whenever there is credit. */
function clientOf({ frames, bytes }: Prepared): ReaderOptions["client"] {
  return {
    database: "/local",
    compression: new Compression(),
    token: () => Promise.resolve(undefined),
    classify: () => "fatal",
    stream() {
      const first = [
        encode({ case: "initResponse", value: { sessionId: "session" } }),
        encode({
          case: "startPartitionSessionRequest",
          value: { partitionSession: { partitionSessionId: 1n, path: "/local/a", partitionId: 0n } },
        }),
      ];
      let credit = 0;
      let isStarted = false;
      let isOver = false;
      let next = 0;
      let wake = () => {};
      const hear = async (outgoing: AsyncIterable<Uint8Array>) => {
        for await (const frame of outgoing) {
          if (isOver) break;
          const { clientMessage: message } = fromBinary(StreamReadMessage_FromClientSchema, frame);
          if (message.case === "readRequest") credit += Number(message.value.bytesSize);
          if (message.case === "startPartitionSessionResponse") isStarted = true;
          wake();
        }
        isOver = true;
        wake();
      };
      const take = (): IteratorResult<Uint8Array, undefined> | undefined => {
        const head = first.shift();
        if (head !== undefined) return { done: false, value: head };
        if (isOver) return { done: true, value: undefined };
        if (!isStarted || credit <= 0) return undefined;
        credit -= bytes;
        return { done: false, value: frames[next++ % frames.length] as Uint8Array };
      };
      return {
        start(outgoing) {
          void hear(outgoing);
          const iterator: AsyncIterator<Uint8Array, undefined> = {
            next() {
              const taken = take();
              if (taken !== undefined) return Promise.resolve(taken);
              return new Promise((resolve) => {
                wake = () => {
                  const now = take();
                  if (now === undefined) return;
                  wake = () => {};
                  resolve(now);
                };
              });
            },
          };
          return { [Symbol.asyncIterator]: () => iterator };
        },
        cancel() {
          isOver = true;
          wake();
        },
      };
    },
  };
}

type Use = "columns" | "objects" | "listener";

/** Returns messages a second. */
async function run(prepared: Prepared, use: Use): Promise<number> {
  const reader = await openReader({ client: clientOf(prepared), topics: "/local/a", consumer: "bench" });
  let messages = 0;
  let sum = 0;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  // A turn now and then, as sockets make them.
  let batches = 0;
  if (use === "listener") {
    const done = reader.listen(
      (batch) => {
        messages += batch.length;
        if (performance.now() > endMs) reader.destroy();
      },
      { isAutoCommit: false },
    );
    await done;
  } else {
    for await (const batch of reader) {
      if (use === "columns") {
        for (let n = 0; n < batch.length; n++) sum += batch.data(n).length;
      } else {
        for (const message of batch) sum += message.data.length;
      }
      messages += batch.length;
      if ((++batches & 15) === 0 && performance.now() > endMs) break;
    }
  }
  const rate = messages / ((performance.now() - startMs) / 1000);
  if (use !== "listener" && sum === 0) throw new Error("nothing was read");
  reader.destroy();
  return rate;
}

const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;

for (const [size, count] of [
  [100, 1000],
  [100, 10],
  [1024, 1000],
  [1024, 10],
] as const) {
  const prepared = prepare(size, count);
  for (const use of ["columns", "objects", "listener"] as const) {
    const rates: number[] = [];
    for (let n = 0; n < repetitions; n++) rates.push(await run(prepared, use));
    console.log(`${size} B x ${count} a frame, ${use}: ${Math.round(median(rates)).toLocaleString("en")} messages/s`);
  }
}
