import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { encodeTransaction, FrameBuilder, topicWire } from "@tidemark/topic/internal";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeMessage, messagesOf, withoutFirst } from "../src/frame-reader.ts";
import { encodeMetadata } from "../src/message.ts";
import { toSeqNo } from "../src/seq-no.ts";

const message = fc.record({
  gap: fc.oneof(fc.constant(1n), fc.bigInt({ min: 1n, max: 2n ** 50n })),
  createdAtMs: fc.oneof(fc.constant(1_767_225_600_000), fc.integer({ min: -1e12, max: 4e12 })),
  data: fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ unit: "binary", maxLength: 50 })),
  uncompressed: fc.oneof(fc.constant(0), fc.nat()),
  metadata: fc.option(
    fc.dictionary(
      fc.string({ unit: "grapheme", maxLength: 5 }),
      fc.oneof(fc.uint8Array({ maxLength: 9 }), fc.string()),
    ),
    { nil: undefined },
  ),
});
type Message = typeof message extends fc.Arbitrary<infer T> ? T : never;

const bytesOf = (data: string | Uint8Array) => (typeof data === "string" ? Buffer.from(data) : data);

function expected(
  messages: readonly (Message & { seqNo: bigint })[],
  codec: number,
  tx?: { id: string; session: string },
) {
  const request = create(topicWire.StreamWriteMessage_WriteRequestSchema, {
    codec,
    ...(tx && { tx: create(topicWire.TransactionIdentitySchema, tx) }),
    messages: messages.map(({ seqNo, createdAtMs, data, uncompressed, metadata }) =>
      create(topicWire.StreamWriteMessage_WriteRequest_MessageDataSchema, {
        seqNo,
        createdAt: timestampFromMs(createdAtMs),
        data: bytesOf(data),
        uncompressedSize: BigInt(uncompressed),
        metadataItems: Object.entries(metadata ?? {}).map(([key, value]) => ({ key, value: bytesOf(value) })),
      }),
    ),
  });
  return create(topicWire.StreamWriteMessage_FromClientSchema, {
    clientMessage: { case: "writeRequest", value: request },
  });
}

const encode = (value: ReturnType<typeof expected>) => toBinary(topicWire.StreamWriteMessage_FromClientSchema, value);

test("frames are byte for byte what protobuf-es makes of the same messages", () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 60, size: "max" }),
      fc.constantFrom(1, 2, 4, 10_001),
      fc.option(fc.record({ id: fc.string(), session: fc.string() }), { nil: undefined }),
      fc.constantFrom(1024, 65_536),
      (messages, codec, tx, maxFrameBytes) => {
        const builder = new FrameBuilder(maxFrameBytes);
        builder.setTrailer(codec, tx && encodeTransaction(tx));
        let seqNo = 0n;
        let open: (Message & { seqNo: bigint })[] = [];
        const close = () => {
          const { bytes } = builder.take();
          expect(Buffer.from(bytes).equals(encode(expected(open, codec, tx)))).toBe(true);
          if (open.length > 1) {
            const shorter = withoutFirst(bytes, 1);
            expect(Buffer.from(shorter).equals(encode(expected(open.slice(1), codec, tx)))).toBe(true);
          }
          const [first] = messagesOf(bytes);
          const body = decodeMessage(first?.rest as Uint8Array).data;
          expect(Buffer.from(body).equals(bytesOf(open[0]?.data ?? ""))).toBe(true);
          open = [];
        };
        for (const each of messages) {
          seqNo += each.gap;
          const { createdAtMs, data, uncompressed } = each;
          const metadata = encodeMetadata(each.metadata);
          const append = () =>
            builder.append(toSeqNo(seqNo), createdAtMs, data, bytesOf(data).length, uncompressed, metadata);
          if (!append()) {
            close();
            expect(append()).toBe(true);
          }
          open.push({ ...each, seqNo });
        }
        close();
      },
    ),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 5_000 : 300 },
  );
});

test("a frame stays below its limit, and a message that is larger gets one of its own", () => {
  const builder = new FrameBuilder(4096);
  builder.setTrailer(1, undefined);
  const sizes: number[] = [];
  for (let n = 1; n <= 500; n++) {
    const data = new Uint8Array(n % 50 === 0 ? 10_000 : 100);
    if (builder.append(n, 0, data, data.length, data.length, undefined)) continue;
    sizes.push(builder.take().bytes.length);
    expect(builder.append(n, 0, data, data.length, data.length, undefined)).toBe(true);
  }
  expect(sizes.filter((size) => size > 4096).every((size) => size < 10_040)).toBe(true);
  expect(sizes.filter((size) => size > 4096)).toHaveLength(9);
  expect(sizes.filter((size) => size > 3900 && size <= 4096).length).toBeGreaterThan(5);
});

test("what is taken over from another frame keeps everything but its number", () => {
  const builder = new FrameBuilder(65_536);
  builder.setTrailer(1, undefined);
  builder.append(7, 1_000, "body", 4, 4, encodeMetadata({ a: "b" }));
  const [taken] = messagesOf(builder.take().bytes);
  builder.appendEncoded(2 ** 40, taken?.rest as Uint8Array);
  const { clientMessage } = fromBinary(topicWire.StreamWriteMessage_FromClientSchema, builder.take().bytes);
  expect(clientMessage.value).toMatchObject({
    messages: [{ seqNo: 2n ** 40n, uncompressedSize: 4n, metadataItems: [{ key: "a" }], createdAt: { seconds: 1n } }],
  });
});
