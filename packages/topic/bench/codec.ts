// How fast the hot messages are read and written, against protobuf-es and against protobufjs as `ydb-sdk-proto` has it:
// medians of the ratios of interleaved repetitions. `--gate` fails below half of what is published.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { systemClock } from "@tidemark/clock";
import { createRequire } from "node:module";
import { FrameBuilder } from "../src/frames/frame-builder.ts";
import { decodeReadResponse } from "../src/frames/read-response.ts";
import { encodeReadResponse } from "../src/frames/read-response-encode.ts";
import { releaseFrame } from "../src/frames/slab.ts";
import { scanWriteRequest } from "../src/frames/write-request.ts";
import { decodeWriteAcks } from "../src/frames/write-response.ts";
import { encodeWriteAcks } from "../src/frames/write-response-encode.ts";
import {
  StreamReadMessage_FromServerSchema,
  StreamWriteMessage_FromClientSchema,
  StreamWriteMessage_FromServerSchema,
} from "../src/gen/ydb/topic_pb.ts";

interface StaticType {
  decode(bytes: Uint8Array): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  create(fields: unknown): unknown;
}

/** Not a dependency: found where the topic server's tests have it. */
function loadStatic(): { write: StaticType; read: StaticType; Timestamp: StaticType } | undefined {
  try {
    const server = createRequire(new URL("../../topic-server/package.json", import.meta.url));
    const proto = createRequire(server.resolve("ydb-sdk"))("ydb-sdk-proto");
    const { StreamWriteMessage, StreamReadMessage } = proto.Ydb.Topic;
    return {
      write: StreamWriteMessage.FromClient,
      read: StreamReadMessage.FromServer,
      Timestamp: proto.google.protobuf.Timestamp,
    };
  } catch {
    return undefined;
  }
}

const now = 1_700_000_000_123;
const repetitions = 9;
const budgetMs = 60;
let sink = 0;

function nsPerMessage(count: number, work: () => number): number {
  let calls = 0;
  const start = systemClock.monotonic();
  let elapsed = 0;
  while (elapsed < budgetMs) {
    for (let n = 0; n < 10; n++) sink += work();
    calls += 10;
    elapsed = systemClock.monotonic() - start;
  }
  return (elapsed * 1e6) / (calls * count);
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

interface Goal {
  readonly over: string;
  readonly name: string;
  readonly goal: number;
  readonly gate: number;
}

function compare(title: string, count: number, works: Record<string, () => number>, goals: readonly Goal[]): boolean {
  const names = Object.keys(works);
  const times: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) nsPerMessage(count, works[name] as () => number);
  for (let n = 0; n < repetitions; n++) {
    const order = n % 2 === 0 ? names : names.toReversed();
    for (const name of order) times[name]?.push(nsPerMessage(count, works[name] as () => number));
  }
  let isMet = true;
  const parts = names.map((name) => `${name} ${median([...(times[name] ?? [])]).toFixed(0)} ns`);
  for (const { name, over, goal, gate } of goals) {
    const ratios = times[over]?.map((time, n) => time / (times[name]?.[n] ?? Number.NaN)) ?? [];
    if (ratios.length === 0) continue;
    const ratio = median(ratios);
    parts.push(`${ratio.toFixed(1)}x ${over} (goal ${goal}x)`);
    if (!(ratio >= gate)) isMet = false;
  }
  process.stdout.write(`${title}: ${parts.join(", ")}\n`);
  return isMet;
}

const pbjs = loadStatic();
const isGate = process.argv.includes("--gate");
let isAllMet = true;
const sizes = process.argv.includes("--all")
  ? [
      [100, 1],
      [100, 100],
      [100, 1000],
      [1024, 100],
      [10240, 100],
    ]
  : [[100, 100]];
for (const [bytes = 0, count = 0] of sizes) {
  const title = `${bytes} B x ${count}`;
  const data = Array.from({ length: count }, (_, n) => new Uint8Array(bytes).fill(n));
  const seqNos = Float64Array.from({ length: count }, (_, n) => 1_000_000 + n);
  const createdAtMs = new Float64Array(count).fill(now);
  // As the writer does it: message by message into memory that is used again when the frame is acknowledged.
  const builder = new FrameBuilder(16 * 1024 * 1024, 32 * (bytes + 64) * count);
  builder.setTrailer(1, undefined);
  const build = () => {
    for (let n = 0; n < count; n++) {
      const payload = data[n] as Uint8Array;
      builder.append(seqNos[n] as number, createdAtMs[n] as number, payload, bytes, bytes, undefined);
    }
    return builder.take();
  };
  const encode = () => {
    const { bytes: frame, slab } = build();
    releaseFrame(slab);
    return frame.length;
  };
  const esWrite = () => {
    const messages = data.map((payload, n) => ({
      seqNo: BigInt(seqNos[n] as number),
      createdAt: timestampFromMs(now),
      data: payload,
      uncompressedSize: BigInt(bytes),
    }));
    const value = { messages, codec: 1 };
    return create(StreamWriteMessage_FromClientSchema, { clientMessage: { case: "writeRequest", value } });
  };
  const pbjsWrite = () => {
    const messages = data.map((payload, n) => ({
      seqNo: seqNos[n],
      createdAt: { seconds: Math.floor(now / 1000), nanos: (now % 1000) * 1e6 },
      data: payload,
      uncompressedSize: bytes,
    }));
    return pbjs?.write.create({ writeRequest: { messages, codec: 1 } });
  };
  const frame = Buffer.from(build().bytes);
  if (Buffer.compare(frame, toBinary(StreamWriteMessage_FromClientSchema, esWrite())) !== 0)
    throw new Error("not the same bytes");
  isAllMet =
    compare(
      `encode WriteRequest ${title}`,
      count,
      {
        ours: encode,
        "protobuf-es": () => toBinary(StreamWriteMessage_FromClientSchema, esWrite()).length,
        ...(pbjs && { protobufjs: () => pbjs.write.encode(pbjsWrite()).finish().length }),
      },
      [
        { name: "ours", over: "protobuf-es", goal: 7, gate: 4 },
        { name: "ours", over: "protobufjs", goal: 3.5, gate: 2 },
      ],
    ) && isAllMet;
  isAllMet =
    compare(
      `decode WriteRequest ${title}`,
      count,
      {
        ours: () => scanWriteRequest(frame)?.length ?? 0,
        "protobuf-es": () => Number(fromBinary(StreamWriteMessage_FromClientSchema, frame).clientMessage.case?.length),
        ...(pbjs && { protobufjs: () => (pbjs.write.decode(frame) === undefined ? 0 : 1) }),
      },
      [
        { name: "ours", over: "protobuf-es", goal: 14, gate: 4 },
        { name: "ours", over: "protobufjs", goal: 3, gate: 2 },
      ],
    ) && isAllMet;
  const scanned = scanWriteRequest(frame);
  if (scanned === undefined) throw new Error("no write request");
  const text = new TextEncoder();
  const stored = {
    messages: scanned,
    firstOffset: 5_000_000,
    producerId: text.encode("producer-1"),
    sessionMeta: new Uint8Array(0),
    codec: 1,
    writtenAtMs: now,
    messageGroupId: text.encode("producer-1"),
  };
  const answer = encodeReadResponse(7, [stored]);
  const answerMessage = fromBinary(StreamReadMessage_FromServerSchema, answer);
  isAllMet =
    compare(
      `decode ReadResponse ${title}`,
      count,
      {
        ours: () => decodeReadResponse(answer)?.partitions[0]?.length ?? 0,
        "ours + data(i)": () => {
          const partition = decodeReadResponse(answer)?.partitions[0];
          let total = 0;
          for (let n = 0; n < (partition?.length ?? 0); n++) total += partition?.data(n).length ?? 0;
          return total;
        },
        "protobuf-es": () => fromBinary(StreamReadMessage_FromServerSchema, answer).status,
        ...(pbjs && { protobufjs: () => (pbjs.read.decode(answer) === undefined ? 0 : 1) }),
      },
      [
        { name: "ours", over: "protobuf-es", goal: 6, gate: 4 },
        { name: "ours", over: "protobufjs", goal: 3, gate: 2 },
      ],
    ) && isAllMet;
  compare(
    `encode ReadResponse ${title}`,
    count,
    {
      ours: () => encodeReadResponse(7, [stored]).length,
      "protobuf-es": () => toBinary(StreamReadMessage_FromServerSchema, answerMessage).length,
    },
    [{ name: "ours", over: "protobuf-es", goal: 4, gate: 2 }],
  );
  const runs = [{ kind: "written", count, firstOffset: 5_000_000 }] as const;
  const acks = encodeWriteAcks(scanned, runs, 3);
  const acksMessage = fromBinary(StreamWriteMessage_FromServerSchema, acks);
  compare(
    `encode acks ${title}`,
    count,
    {
      ours: () => encodeWriteAcks(scanned, runs, 3).length,
      "protobuf-es": () => toBinary(StreamWriteMessage_FromServerSchema, acksMessage).length,
    },
    [{ name: "ours", over: "protobuf-es", goal: 5, gate: 2 }],
  );
  compare(
    `decode acks ${title}`,
    count,
    {
      ours: () => decodeWriteAcks(acks)?.total ?? 0,
      "protobuf-es": () => fromBinary(StreamWriteMessage_FromServerSchema, acks).status,
    },
    [{ name: "ours", over: "protobuf-es", goal: 10, gate: 4 }],
  );
}
if (sink === 0) process.stdout.write("nothing was measured\n");
if (isGate && !isAllMet) process.exitCode = 1;
