import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type WatchResponse, WatchResponseSchema } from "../src/gen/etcd/etcdserverpb/rpc_pb.ts";
import { inPieces } from "../src/response-splitter.ts";

const pieceBytes = 1_000;

function envelope(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

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

async function split(bytes: Buffer, cuts: readonly number[]): Promise<Buffer> {
  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    let at = 0;
    for (let index = 0; at < bytes.length; index++) {
      const to = at + (cuts[index % cuts.length] ?? bytes.length);
      yield bytes.subarray(at, to);
      at = to;
    }
  }
  const out: Uint8Array[] = [];
  for await (const piece of inPieces(chunks(), pieceBytes)) out.push(piece);
  return Buffer.concat(out);
}

function messagesOf(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    messages.push(bytes.subarray(at + 5, end));
    at = end;
  }
  return messages;
}

// toEqual tells a Buffer from a Uint8Array.
const decode = (bytes: Uint8Array) => fromBinary(WatchResponseSchema, new Uint8Array(bytes));

test("any chunks of any responses say the same in small pieces", async () => {
  const sizes = fc.array(fc.oneof(fc.nat(40), fc.nat(400), fc.nat(3_000)), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ sizes, fragment: fc.boolean() }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4_000 })), { minLength: 1 }),
      async (entries, cuts) => {
        const whole = entries.map(({ sizes, fragment }, index) => response(sizes, index * 100, fragment));
        const read = whole.map((message) => decode(toBinary(WatchResponseSchema, message)));
        const bytes = Buffer.concat(whole.map((message) => envelope(toBinary(WatchResponseSchema, message))));
        const pieces = messagesOf(await split(bytes, cuts));
        let at = 0;
        for (const message of read) {
          const events = [];
          for (;;) {
            const piece = decode(pieces[at++] as Buffer);
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

test("what is compressed passes as it is", async () => {
  const bytes = envelope(Buffer.alloc(9_000, 0xff), 1);
  expect(await split(bytes, [64, 3, 5_000])).toEqual(bytes);
});

test("gives out what is there before the rest of the message has come", async () => {
  const bytes = envelope(
    toBinary(
      WatchResponseSchema,
      response(
        Array.from({ length: 50 }, () => 100),
        0,
      ),
    ),
  );
  async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    yield bytes.subarray(0, 3_000);
    throw new Error("cut");
  }
  const out: Uint8Array[] = [];
  const reading = async () => {
    for await (const piece of inPieces(chunks(), pieceBytes)) out.push(piece);
  };
  await expect(reading()).rejects.toThrow("cut");
  const events = messagesOf(Buffer.concat(out)).flatMap((piece) => decode(piece).events);
  expect(events.length).toBeGreaterThan(15);
  const same = decode(
    toBinary(
      WatchResponseSchema,
      response(
        events.map(() => 100),
        0,
      ),
    ),
  );
  expect(events).toEqual(same.events);
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
])("refuses $how", async ({ message }) => {
  await expect(split(envelope(message), [1_000])).rejects.toMatchObject({ code: "PROTOCOL" });
});
