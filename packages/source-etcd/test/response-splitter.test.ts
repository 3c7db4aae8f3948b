import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/etcd/etcdserverpb/rpc_pb.ts";
import { ResponseSplitter } from "../src/response-splitter.ts";

const pieceBytes = 1_000;
const maxEventBytes = 10_000;

/** A response with events of these value sizes. */
function response(sizes: readonly number[], from: number, fragment = false): WatchResponse {
  const header = { clusterId: 7n, memberId: 2n ** 63n, revision: 1_000n, raftTerm: 3n };
  const events = sizes.map((size, index) => ({
    kv: {
      key: Buffer.from(`k${from + index}`),
      value: Buffer.alloc(size, from + index),
      modRevision: BigInt(from + index),
    },
  }));
  return create(WatchResponseSchema, { header, watchId: 5n, fragment, events });
}

/** What becomes of these messages, in chunks cut at these lengths, over and over. */
function split(messages: readonly Uint8Array[], cuts: readonly number[]): Uint8Array[] {
  const splitter = new ResponseSplitter(pieceBytes, maxEventBytes);
  const out: Uint8Array[] = [];
  for (const message of messages) {
    if (message.length < splitter.fromBytes) {
      out.push(message);
      continue;
    }
    splitter.begin(message.length);
    let at = 0;
    for (let index = 0; at < message.length; index++) {
      const to = at + (cuts[index % cuts.length] ?? message.length);
      out.push(...splitter.push(Buffer.from(message.subarray(at, to))));
      at = to;
    }
  }
  return out;
}

// toEqual tells a Buffer from a Uint8Array.
const decode = (bytes: Uint8Array) => fromBinary(WatchResponseSchema, new Uint8Array(bytes));

test("any chunks of any responses say the same in small pieces", () => {
  const sizes = fc.array(fc.oneof(fc.nat(40), fc.nat(400), fc.nat(3_000)), { maxLength: 30 });
  fc.assert(
    fc.property(
      fc.array(fc.record({ sizes, fragment: fc.boolean() }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4_000 })), { minLength: 1 }),
      (entries, cuts) => {
        const whole = entries.map(({ sizes, fragment }, index) => response(sizes, index * 100, fragment));
        const read = whole.map((message) => decode(toBinary(WatchResponseSchema, message)));
        const messages = whole.map((message) => toBinary(WatchResponseSchema, message));
        const pieces = split(messages, cuts);
        let at = 0;
        for (const message of read) {
          const events = [];
          for (;;) {
            const piece = decode(pieces[at++] as Uint8Array);
            expect({ ...piece, events: [], fragment: false }).toEqual({ ...message, events: [], fragment: false });
            events.push(...piece.events);
            if (events.length === message.events.length) {
              expect(piece.fragment).toBe(message.fragment);
              break;
            }
            expect(piece.fragment).toBe(true);
            // Without an event it would be a notice of progress.
            expect(piece.events.length).toBeGreaterThan(0);
          }
          expect(events).toEqual(message.events);
        }
        expect(at).toBe(pieces.length);
        for (const piece of pieces) {
          if (decode(piece).events.length > 1) expect(piece.length).toBeLessThan(2 * pieceBytes + 100);
        }
      },
    ),
  );
});

const responseOf = (sizes: readonly number[]) => Buffer.from(toBinary(WatchResponseSchema, response(sizes, 0)));
const sizes = (count: number) => Array.from({ length: count }, () => 100);

test("gives out what is there before the rest of the message has come", () => {
  const splitter = new ResponseSplitter(pieceBytes, maxEventBytes);
  const bytes = responseOf(sizes(50));
  splitter.begin(bytes.length);
  const events = splitter.push(bytes.subarray(0, 3_000)).flatMap((piece) => decode(piece).events);
  expect(events.length).toBeGreaterThan(15);
  expect(events).toEqual(decode(responseOf(sizes(events.length))).events);
});

test("an event that is larger than what is taken is refused before it is there", () => {
  const splitter = new ResponseSplitter(pieceBytes, maxEventBytes);
  const bytes = responseOf([100, 20_000]);
  splitter.begin(bytes.length);
  splitter.push(bytes.subarray(0, 500));
  expect(() => splitter.push(bytes.subarray(500, 1_000))).toThrow(/an event of 200\d\d bytes is larger than the 10000/);
});

test.each([
  {
    how: "an event before the header",
    message: Buffer.concat([Buffer.from("5a00", "hex"), Buffer.from("0a00", "hex"), Buffer.alloc(3_000)]),
  },
  {
    how: "a field that ends beyond the message",
    message: Buffer.concat([Buffer.from("5affff7f", "hex"), Buffer.alloc(3_000)]),
  },
  { how: "a field of another wire type", message: Buffer.concat([Buffer.from("5d", "hex"), Buffer.alloc(3_000)]) },
])("refuses $how", ({ message }) => {
  expect(() => split([message], [1_000])).toThrow(expect.objectContaining({ code: "PROTOCOL" }));
});
