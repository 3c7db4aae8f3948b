// C1: the codec of the hot messages writes what protobuf-es writes, and reads what protobuf-es reads.
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { toInt64 } from "../src/frames/int64.ts";
import { decodeReadResponse } from "../src/frames/read-response.ts";
import { encodeReadResponse, encodeSessionMeta, readResponseBytes } from "../src/frames/read-response-encode.ts";
import { scanWriteRequest } from "../src/frames/write-request.ts";
import { encodeWriteRequest } from "../src/frames/write-request-encode.ts";
import { decodeWriteAcks } from "../src/frames/write-response.ts";
import { type AckRun, encodeWriteAcks } from "../src/frames/write-response-encode.ts";
import {
  type StreamReadMessage_FromServer,
  StreamReadMessage_FromServerSchema,
  StreamWriteMessage_FromClientSchema,
  StreamWriteMessage_FromServerSchema,
} from "../src/gen/ydb/topic_pb.ts";
import { TopicError } from "../src/topic-error.ts";
import { mangle } from "./support/mangle.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const runs = { numRuns: isLong ? 20_000 : 400 };
if (isLong) vi.setConfig({ testTimeout: 3_600_000 });

const int64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 300n }),
  fc.bigInt({ min: 2n ** 53n - 3n, max: 2n ** 53n + 3n }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);
const positive = fc.oneof(fc.bigInt({ min: 1n, max: 300n }), fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }));
const safe = fc.oneof(fc.nat(300), fc.nat(2 ** 31 - 1), fc.maxSafeNat());
const data = fc.oneof(fc.uint8Array({ maxLength: 4 }), fc.uint8Array({ maxLength: 300 }));
const text = fc.string({ unit: "binary", maxLength: 12 });
const ms = fc.oneof(
  fc.constant(Number.NaN),
  fc.constant(0),
  fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }),
  fc.integer({ min: 1_600_000_000_000, max: 1_900_000_000_000 }),
);
const item = fc.record({ key: text, value: data });
const items = fc.option(fc.array(item, { maxLength: 3 }), { nil: undefined, freq: 3 });
const message = fc.record({ seqNo: int64, createdAtMs: ms, data, uncompressed: safe, metadata: items });
const tx = fc.option(fc.record({ id: text, session: text }), { nil: undefined, freq: 4 });
const request = fc.record({
  messages: fc.array(message, { maxLength: 6 }),
  codec: fc.constantFrom(0, 1, 2, 4, 10_000),
  tx,
});
/** As clients send them: in the one form for which there are short cuts, with gaps in it. */
const ordinary = fc.record({
  messages: fc.array(
    fc.oneof(
      {
        weight: 12,
        arbitrary: fc.record({
          seqNo: fc.oneof(fc.bigInt({ min: 0n, max: 300n }), fc.bigInt({ min: 0n, max: 2n ** 35n })),
          createdAtMs: fc.oneof(fc.constant(Number.NaN), fc.integer({ min: 0, max: 1_900_000_000_000 })),
          data,
          uncompressed: fc.nat(20_000),
          metadata: fc.constant(undefined),
        }),
      },
      message,
    ),
    { maxLength: 12 },
  ),
  codec: fc.constantFrom(1, 2),
  tx: fc.constant(undefined),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

const stampOf = (value: number) => (Number.isNaN(value) ? undefined : timestampFromMs(value));

function protobufOf({ messages, codec, tx: transaction }: Request): Uint8Array {
  const value = {
    messages: messages.map((each) => {
      const createdAt = stampOf(each.createdAtMs);
      return {
        seqNo: each.seqNo,
        data: each.data,
        uncompressedSize: BigInt(each.uncompressed),
        metadataItems: [...(each.metadata ?? [])],
        ...(createdAt && { createdAt }),
      };
    }),
    codec,
    ...(transaction && { tx: transaction }),
  };
  const whole = create(StreamWriteMessage_FromClientSchema, { clientMessage: { case: "writeRequest", value } });
  return toBinary(StreamWriteMessage_FromClientSchema, whole);
}

const columnsOf = ({ messages, codec, tx: transaction }: Request) => ({
  count: messages.length,
  seqNos: messages.map((each) => toInt64(each.seqNo)),
  createdAtMs: messages.map((each) => each.createdAtMs),
  data: messages.map((each) => each.data),
  uncompressedBytes: messages.map((each) => each.uncompressed),
  metadata: messages.map((each) => each.metadata),
  codec,
  tx: transaction,
});

test("writes a WriteRequest byte for byte as protobuf-es does", () => {
  fc.assert(
    fc.property(fc.oneof(request, ordinary), (given) => {
      expect(Buffer.from(encodeWriteRequest(columnsOf(given)))).toEqual(Buffer.from(protobufOf(given)));
    }),
    runs,
  );
});

/** What protobuf-es reads, in the terms of our columns. */
function expectSameRequest(frame: Uint8Array): void {
  const { clientMessage } = fromBinary(StreamWriteMessage_FromClientSchema, frame);
  const scanned = scanWriteRequest(frame);
  if (clientMessage.case !== "writeRequest") {
    expect(scanned).toBeUndefined();
    return;
  }
  const { value } = clientMessage;
  expect(scanned?.length).toBe(value.messages.length);
  expect(scanned?.codec).toBe(value.codec);
  expect(scanned?.tx?.id).toBe(value.tx?.id);
  expect(scanned?.tx?.session).toBe(value.tx?.session);
  for (const [index, each] of value.messages.entries()) {
    expect(BigInt(scanned?.seqNo(index) ?? -1)).toBe(each.seqNo);
    expect(Buffer.from(scanned?.data(index) ?? [])).toEqual(Buffer.from(each.data));
    expect(scanned?.uncompressedBytes(index)).toBe(Number(each.uncompressedSize));
    expect(scanned?.hasPartitioning(index)).toBe(each.partitioning.case !== undefined);
    expect(scanned?.metadata(index).map(({ key, value: bytes }) => [key, Buffer.from(bytes)])).toEqual(
      each.metadataItems.map(({ key, value: bytes }) => [key, Buffer.from(bytes)]),
    );
    const size = each.metadataItems.reduce((sum, entry) => sum + Buffer.byteLength(entry.key) + entry.value.length, 0);
    expect(scanned?.metadataBytes(index)).toBe(size);
    const created = each.createdAt;
    if (created === undefined) expect(scanned?.createdAtMs(index)).toBeNaN();
    else expect(scanned?.createdAtMs(index)).toBe(Number(created.seconds) * 1000 + created.nanos / 1_000_000);
  }
}

test("reads a WriteRequest as protobuf-es does: any order, unknown fields, repeated and split ones", () => {
  fc.assert(
    fc.property(fc.oneof(request, ordinary), fc.infiniteStream(fc.nat()), (given, choices) => {
      expectSameRequest(protobufOf(given));
      expectSameRequest(Buffer.from(mangle(StreamWriteMessage_FromClientSchema, protobufOf(given), choices)));
    }),
    runs,
  );
});

const ack = fc.record({
  seqNo: fc.oneof(fc.bigInt({ min: 1n, max: 5n }), positive),
  status: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        case: fc.constant("written" as const),
        value: fc.record({ offset: fc.oneof(fc.bigInt({ min: 0n, max: 5n }), positive) }),
      }),
    },
    fc.record({ case: fc.constant("skipped" as const), value: fc.record({ reason: fc.constantFrom(0, 1) }) }),
    fc.record({ case: fc.constant("writtenInTx" as const), value: fc.constant({}) }),
    fc.constant({ case: undefined }),
  ),
});
/** Real ones come in rows. */
const rowOfAcks = fc.tuple(ack, fc.integer({ min: 1, max: 5 })).map(([first, count]) =>
  Array.from({ length: count }, (_, n) => ({
    seqNo: BigInt.asIntN(63, first.seqNo + BigInt(n)),
    status:
      first.status.case === "written"
        ? { case: "written" as const, value: { offset: BigInt.asIntN(63, first.status.value.offset + BigInt(n)) } }
        : first.status,
  })),
);
const acks = fc.array(rowOfAcks, { maxLength: 4 }).map((list) => list.flat());
const kinds = { written: 2, skipped: 3, writtenInTx: 4 } as const;

test("reads acknowledgements as protobuf-es does, as runs from which each can be told", () => {
  const property = fc.property(acks, safe, fc.infiniteStream(fc.nat()), (list, partition, choices) => {
    const value = {
      acks: list.map((each) => ({ seqNo: each.seqNo, messageWriteStatus: each.status })),
      partitionId: BigInt(partition),
    };
    const whole = create(StreamWriteMessage_FromServerSchema, {
      status: 400_000,
      serverMessage: {
        case: "writeResponse",
        value: value as MessageInitShape<typeof StreamWriteMessage_FromServerSchema> as never,
      },
    });
    const frame = mangle(
      StreamWriteMessage_FromServerSchema,
      toBinary(StreamWriteMessage_FromServerSchema, whole),
      choices,
    );
    const { serverMessage, status } = fromBinary(StreamWriteMessage_FromServerSchema, frame);
    const decoded = decodeWriteAcks(frame);
    if (serverMessage.case !== "writeResponse" || status !== 400_000) {
      expect(decoded).toBeUndefined();
      return;
    }
    if (decoded === undefined) throw new Error("not read");
    expect(decoded.partitionId).toBe(Number(serverMessage.value.partitionId));
    const told: unknown[] = [];
    for (let run = 0; run < decoded.length; run++) {
      const kind = decoded.kind(run);
      for (let n = 0n; n < decoded.count(run); n++) {
        told.push([BigInt(decoded.firstSeqNo(run)) + n, kind, kind === 2 ? BigInt(decoded.firstOffset(run)) + n : 0n]);
      }
      expect(BigInt(decoded.lastSeqNo(run))).toBe(BigInt(decoded.firstSeqNo(run)) + BigInt(decoded.count(run)) - 1n);
    }
    expect(told).toEqual(
      serverMessage.value.acks.map(({ seqNo, messageWriteStatus: what }) => [
        seqNo,
        what.case === undefined ? 0 : kinds[what.case],
        what.case === "written" ? what.value.offset : 0n,
      ]),
    );
    expect(decoded.total).toBe(told.length);
  });
  fc.assert(property, runs);
});

test("makes one run of what follows by one, and never more", () => {
  const seqNos = [1, 2, 3, 3, 5, 6, 7, 8];
  const messages = { length: seqNos.length, seqNo: (index: number) => seqNos[index] as number };
  const decoded = decodeWriteAcks(
    encodeWriteAcks(
      messages,
      [
        { kind: "written", count: 5, firstOffset: 40 },
        { kind: "skipped", count: 2 },
        { kind: "writtenInTx", count: 1 },
      ],
      9,
    ),
  );
  const told = Array.from({ length: decoded?.length ?? 0 }, (_, run) => [
    decoded?.firstSeqNo(run),
    decoded?.lastSeqNo(run),
    decoded?.count(run),
    decoded?.firstOffset(run),
    decoded?.kind(run),
  ]);
  expect(told).toEqual([
    [1, 3, 3, 40, 2],
    [3, 3, 1, 43, 2],
    [5, 5, 1, 44, 2],
    [6, 7, 2, 0, 3],
    [8, 8, 1, 0, 4],
  ]);
});

const run: fc.Arbitrary<AckRun> = fc.oneof(
  fc.record({
    kind: fc.constant("written" as const),
    count: fc.nat(5),
    firstOffset: fc.oneof(fc.nat(3), fc.nat(2 ** 40)),
  }),
  fc.record({ kind: fc.constant("skipped" as const), count: fc.nat(5) }),
  fc.record({ kind: fc.constant("writtenInTx" as const), count: fc.nat(5) }),
);
const times = fc.option(
  fc.record({
    persistingMs: fc.nat(10_000_000),
    minQueueWaitMs: fc.nat(1000),
    maxQueueWaitMs: fc.nat(10),
    partitionQuotaWaitMs: fc.constant(0.5),
    topicQuotaWaitMs: fc.constant(0),
  }),
  { nil: undefined },
);
const durationOf = (value: number) => ({
  seconds: BigInt(Math.floor(value / 1000)),
  nanos: Math.round((value % 1000) * 1e6),
});

test("writes acknowledgements byte for byte as protobuf-es does", () => {
  const property = fc.property(
    fc.array(run, { maxLength: 5 }),
    fc.array(int64, { minLength: 25, maxLength: 25 }),
    safe,
    times,
    (given, seqNos, partition, spent) => {
      const length = given.reduce((sum, { count }) => sum + count, 0);
      const messages = { length, seqNo: (index: number) => toInt64(seqNos[index] as bigint) };
      let index = 0;
      const list = given.flatMap(({ kind, count, firstOffset = 0 }: AckRun) =>
        Array.from({ length: count }, (_, n) => ({
          seqNo: seqNos[index++] as bigint,
          messageWriteStatus:
            kind === "written"
              ? { case: kind, value: { offset: BigInt(firstOffset + n) } }
              : kind === "skipped"
                ? { case: kind, value: { reason: 1 as const } }
                : { case: kind, value: {} },
        })),
      );
      const statistics = spent && {
        persistingTime: durationOf(spent.persistingMs),
        minQueueWaitTime: durationOf(spent.minQueueWaitMs),
        maxQueueWaitTime: durationOf(spent.maxQueueWaitMs),
        partitionQuotaWaitTime: durationOf(spent.partitionQuotaWaitMs),
        topicQuotaWaitTime: durationOf(spent.topicQuotaWaitMs),
      };
      const value = { acks: list, partitionId: BigInt(partition), ...(statistics && { writeStatistics: statistics }) };
      const whole = create(StreamWriteMessage_FromServerSchema, {
        status: 400_000,
        serverMessage: { case: "writeResponse", value: value as never },
      });
      expect(Buffer.from(encodeWriteAcks(messages, given, partition, spent))).toEqual(
        Buffer.from(toBinary(StreamWriteMessage_FromServerSchema, whole)),
      );
    },
  );
  fc.assert(property, runs);
});

const readMessage = fc.record({
  offset: safe.map(BigInt),
  seqNo: int64,
  createdAt: ms.map(stampOf),
  data,
  uncompressedSize: safe.map(BigInt),
  messageGroupId: text,
  metadataItems: fc.array(item, { maxLength: 2 }),
});
const readBatch = fc.record({
  messageData: fc.array(readMessage, { maxLength: 4 }),
  producerId: text,
  writeSessionMeta: fc.dictionary(fc.oneof(text, fc.constant("__proto__")), text, { maxKeys: 2 }),
  codec: fc.constantFrom(0, 1, 2, 4, 10_001),
  writtenAt: ms.map(stampOf),
});
const partitionData = fc.record({
  partitionSessionId: safe.map(BigInt),
  batches: fc.array(readBatch, { maxLength: 3 }),
});
const readResponse = fc.record({
  partitionData: fc.array(partitionData, { maxLength: 2 }),
  bytesSize: safe.map(BigInt),
});

function withoutUndefined<T>(value: T): T {
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutUndefined) as T;
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutUndefined(inner)])) as T;
}

const msOf = (stamp: { seconds: bigint; nanos: number } | undefined) =>
  stamp === undefined ? Number.NaN : Number(stamp.seconds) * 1000 + stamp.nanos / 1_000_000;

function expectSameResponse(frame: Uint8Array): void {
  const whole: StreamReadMessage_FromServer = fromBinary(StreamReadMessage_FromServerSchema, frame);
  const decoded = decodeReadResponse(frame);
  if (whole.serverMessage.case !== "readResponse" || whole.status !== 400_000) {
    expect(decoded).toBeUndefined();
    return;
  }
  const { value } = whole.serverMessage;
  expect(decoded?.bytesSize).toBe(Number(value.bytesSize));
  expect(decoded?.partitions.length).toBe(value.partitionData.length);
  for (const [place, partition] of value.partitionData.entries()) {
    const columns = decoded?.partitions[place];
    if (columns === undefined) throw new Error("a partition is missing");
    expect(columns.partitionSessionId).toBe(Number(partition.partitionSessionId));
    expect(columns.batchCount).toBe(partition.batches.length);
    let index = 0;
    const checks: [number, () => void][] = [];
    for (const [which, batch] of partition.batches.entries()) {
      expect(columns.batchStart(which)).toBe(index);
      for (const each of batch.messageData) {
        const at = index++;
        checks.push([
          at,
          () => {
            expect(columns.offset(at)).toBe(Number(each.offset));
            expect(BigInt(columns.seqNo(at))).toBe(each.seqNo);
            expect(columns.createdAtMs(at)).toBe(msOf(each.createdAt));
            expect(Buffer.from(columns.data(at))).toEqual(Buffer.from(each.data));
            expect(columns.uncompressedBytes(at)).toBe(Number(each.uncompressedSize));
            expect(columns.messageGroupId(at)).toBe(each.messageGroupId);
            expect(columns.metadata(at).map((one) => [one.key, Buffer.from(one.value)])).toEqual(
              each.metadataItems.map((one) => [one.key, Buffer.from(one.value)]),
            );
            expect(columns.codec(at)).toBe(batch.codec);
            expect(columns.producerId(at)).toBe(batch.producerId);
            expect(columns.writtenAtMs(at)).toBe(msOf(batch.writtenAt));
            expect(new Map(Object.entries(columns.writeSessionMeta(at)))).toEqual(
              new Map(Object.entries(batch.writeSessionMeta)),
            );
          },
        ]);
      }
    }
    expect(columns.length).toBe(index);
    // In order, and back and forth.
    for (const [, check] of checks) check();
    for (const [, check] of checks.toReversed()) check();
  }
}

test("reads a ReadResponse as protobuf-es does: any order, unknown fields, repeated and split ones", () => {
  const property = fc.property(readResponse, fc.infiniteStream(fc.nat()), (given, choices) => {
    const value = withoutUndefined(given) as never;
    const whole = create(StreamReadMessage_FromServerSchema, {
      status: 400_000,
      serverMessage: { case: "readResponse", value },
    });
    const bytes = toBinary(StreamReadMessage_FromServerSchema, whole);
    expectSameResponse(Buffer.from(bytes));
    expectSameResponse(Buffer.from(mangle(StreamReadMessage_FromServerSchema, bytes, choices)));
  });
  fc.assert(property, runs);
});

test("writes a ReadResponse from stored requests byte for byte as protobuf-es does", () => {
  const batch = fc.record({
    request: fc.oneof(request, ordinary),
    cut: fc.tuple(fc.nat(12), fc.nat(12)),
    firstOffset: fc.oneof(fc.nat(3), fc.nat(2 ** 40)),
    producerId: text,
    meta: fc.dictionary(text, text, { maxKeys: 2 }),
    writtenAtMs: fc.integer({ min: 0, max: 2 ** 41 }),
    group: text,
  });
  const utf8 = new TextEncoder();
  const property = fc.property(
    fc.array(batch, { maxLength: 3 }),
    safe,
    fc.option(safe, { nil: undefined }),
    (given, id, credit) => {
      const stored = given.map((each) => {
        const messages = scanWriteRequest(encodeWriteRequest(columnsOf(each.request)));
        if (messages === undefined) throw new Error("not a request");
        const from = Math.min(...each.cut, messages.length);
        const to = Math.min(Math.max(...each.cut), messages.length);
        return {
          messages,
          from,
          to,
          firstOffset: each.firstOffset,
          producerId: utf8.encode(each.producerId),
          sessionMeta: encodeSessionMeta(each.meta),
          codec: each.request.codec,
          writtenAtMs: each.writtenAtMs,
          messageGroupId: utf8.encode(each.group),
        };
      });
      const batches = given.map((each, place) => ({
        messageData: each.request.messages.slice(stored[place]?.from, stored[place]?.to).map((one, n) => ({
          offset: BigInt(each.firstOffset + n),
          seqNo: one.seqNo,
          createdAt: stampOf(one.createdAtMs),
          data: one.data,
          uncompressedSize: BigInt(one.uncompressed),
          // protobuf-es writes lone surrogates as replacement characters, as TextEncoder does.
          messageGroupId: each.group,
          metadataItems: [...(one.metadata ?? [])],
        })),
        producerId: each.producerId,
        writeSessionMeta: each.meta,
        codec: each.request.codec,
        writtenAt: timestampFromMs(each.writtenAtMs),
      }));
      const bytesSize = BigInt(credit ?? readResponseBytes(id, stored));
      const value = withoutUndefined({
        partitionData: [{ partitionSessionId: BigInt(id), batches }],
        bytesSize,
      }) as never;
      const whole = create(StreamReadMessage_FromServerSchema, {
        status: 400_000,
        serverMessage: { case: "readResponse", value },
      });
      const expected = toBinary(StreamReadMessage_FromServerSchema, whole);
      expect(Buffer.from(encodeReadResponse(id, stored, credit))).toEqual(Buffer.from(expected));
    },
  );
  fc.assert(property, runs);
});

test("writes the same ReadResponse whatever form the stored requests came in", () => {
  const none = new Uint8Array(0);
  const property = fc.property(
    fc.oneof(ordinary, request),
    fc.infiniteStream(fc.nat()),
    fc.nat(2 ** 40),
    (given, choices, firstOffset) => {
      const frame = mangle(StreamWriteMessage_FromClientSchema, protobufOf(given), choices);
      const { clientMessage } = fromBinary(StreamWriteMessage_FromClientSchema, frame);
      const messages = scanWriteRequest(frame);
      if (messages === undefined || clientMessage.case !== "writeRequest") return;
      const shared = { producerId: none, sessionMeta: none, codec: 1, writtenAtMs: 0, messageGroupId: none };
      const answer = fromBinary(
        StreamReadMessage_FromServerSchema,
        encodeReadResponse(1, [{ messages, firstOffset, ...shared }]),
      );
      if (answer.serverMessage.case !== "readResponse") throw new Error("not an answer");
      const told = answer.serverMessage.value.partitionData[0]?.batches[0]?.messageData.map((each) => [
        each.offset,
        each.seqNo,
        Buffer.from(each.data).toString("hex"),
        each.uncompressedSize,
        each.createdAt && [each.createdAt.seconds, each.createdAt.nanos],
        each.metadataItems.map(({ key, value }) => [key, Buffer.from(value).toString("hex")]),
      ]);
      expect(told).toEqual(
        clientMessage.value.messages.map((each, n) => [
          BigInt(firstOffset + n),
          each.seqNo,
          Buffer.from(each.data).toString("hex"),
          each.uncompressedSize,
          each.createdAt && [each.createdAt.seconds, each.createdAt.nanos],
          each.metadataItems.map(({ key, value }) => [key, Buffer.from(value).toString("hex")]),
        ]),
      );
    },
  );
  fc.assert(property, runs);
});

const readers = { scanWriteRequest, decodeWriteAcks, decodeReadResponse };

test("answers malformed bytes with FRAME_INVALID, and nothing else", () => {
  const property = fc.property(
    fc.uint8Array({ maxLength: 64 }),
    fc.constantFrom(...Object.values(readers)),
    (bytes, read) => {
      try {
        read(bytes);
      } catch (error) {
        expect(TopicError.is(error) && error.code).toBe("FRAME_INVALID");
      }
    },
  );
  fc.assert(property, { numRuns: runs.numRuns * 5 });
});

test("finds every cut, and never reads beyond the frame whatever is flipped", () => {
  const property = fc.property(request, fc.array(fc.nat(), { maxLength: 50 }), (given, flips) => {
    const frame = Buffer.from(protobufOf(given));
    for (let length = 1; length < frame.length; length++) {
      const cut = frame.subarray(0, length);
      expect(() => scanWriteRequest(cut)).toThrow(/FRAME_INVALID/);
    }
    for (const flip of flips) {
      const flipped = Buffer.from(frame);
      const place = flip % flipped.length;
      flipped[place] = (flipped[place] as number) ^ (1 << ((flip >> 8) % 8));
      try {
        const scanned = scanWriteRequest(flipped);
        for (let n = 0; n < (scanned?.length ?? 0); n++) {
          expect(scanned?.dataEnd(n)).toBeLessThanOrEqual(scanned?.bodyEnd(n) ?? 0);
          expect(scanned?.bodyEnd(n)).toBeLessThanOrEqual(scanned?.frame.length ?? 0);
        }
      } catch (error) {
        expect(TopicError.is(error) && error.code).toBe("FRAME_INVALID");
      }
    }
  });
  fc.assert(property, { numRuns: Math.ceil(runs.numRuns / 4) });
});

test("ends groups that never end, or nest without end", () => {
  const deep = Buffer.alloc(10_000, 0x7b);
  for (const read of Object.values(readers)) expect(() => read(deep)).toThrow(/FRAME_INVALID.*nested too deeply/);
  expect(() => scanWriteRequest(Buffer.from([0x7b, 0x84, 0x01]))).toThrow(/FRAME_INVALID/);
});

test("does not take an offset above 2^53 for another", () => {
  const value = { partitionData: [{ partitionSessionId: 1n, batches: [{ messageData: [{ offset: 2n ** 53n }] }] }] };
  const whole = create(StreamReadMessage_FromServerSchema, {
    status: 400_000,
    serverMessage: { case: "readResponse", value },
  });
  const frame = toBinary(StreamReadMessage_FromServerSchema, whole);
  expect(() => decodeReadResponse(frame)).toThrow(/FRAME_INVALID.*offset 9007199254740992/);
});
