import { Code } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameDecoder } from "../src/frame-decoder.ts";

function framed(...frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(frame.length, 1);
      return [prefix, frame];
    }),
  );
}

/** Cuts bytes at the given places, in any order. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, n) => bytes.subarray(at[n], end));
}

test("frames come out as they went in, wherever the chunks are cut", () => {
  const frame = fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 200, maxLength: 600 }));
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 30 }), (frames, places) => {
      const decoder = new FrameDecoder(1000);
      const decoded = cut(framed(...frames), places).flatMap((chunk) => decoder.decode(chunk));
      expect(decoded.map((bytes) => Buffer.from(bytes))).toEqual(frames.map((bytes) => Buffer.from(bytes)));
      expect(decoder.isInside).toBe(false);
    }),
  );
});

test("a frame within a chunk is a view of it, and one that spans chunks stays as it is", () => {
  const decoder = new FrameDecoder(1000);
  const chunk = framed(Buffer.from("whole"), Buffer.from("spans"));
  const [whole] = decoder.decode(chunk.subarray(0, 17));
  expect(whole?.buffer).toBe(chunk.buffer);
  const rest = Buffer.from(chunk.subarray(17));
  const [spans] = decoder.decode(rest);
  chunk.fill(0);
  rest.fill(0);
  expect(Buffer.from(spans as Uint8Array).toString()).toBe("spans");
});

test("a large frame is gathered from small chunks, far above the first allocation", () => {
  const large = Buffer.alloc(5_000_000, "0123456789");
  const decoder = new FrameDecoder(5_000_000);
  const bytes = framed(large);
  const decoded: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += 16_384) decoded.push(...decoder.decode(bytes.subarray(at, at + 16_384)));
  expect(decoded).toHaveLength(1);
  expect(large.equals(decoded[0] as Uint8Array)).toBe(true);
});

test("a promise of many bytes costs little memory before they come", () => {
  const before = process.memoryUsage().arrayBuffers;
  const decoders = Array.from({ length: 20 }, () => new FrameDecoder(4_000_000_000));
  for (const decoder of decoders) decoder.decode(Buffer.from([0, 0xee, 0, 0, 0, 1]));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30 * 1024 * 1024);
});

test("a frame above the limit is refused by its prefix", () => {
  const decoder = new FrameDecoder(100);
  const chunk = framed(new Uint8Array(100), new Uint8Array(101));
  let thrown: unknown;
  try {
    decoder.decode(chunk.subarray(0, 110));
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({
    code: Code.ResourceExhausted,
    rawMessage: "Received message larger than max (101 vs. 100)",
  });
});

test("a compressed frame is refused with a sentence that says what to do", () => {
  for (const flags of [1, 2, 128]) {
    const chunk = framed(new Uint8Array(3));
    chunk[0] = flags;
    expect(() => new FrameDecoder(100).decode(chunk)).toThrow(/compression of the transport off/);
  }
});

test("a message from the splitter's size on goes through it as it arrives, and no other does", () => {
  const frame = fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 100, maxLength: 600 }));
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 30 }), (frames, places) => {
      const begun: number[] = [];
      // Marks what came through it, and hands it on piece by piece.
      const decoder = new FrameDecoder(50, {
        fromBytes: 100,
        begin: (size) => begun.push(size),
        push: (bytes) => [Buffer.from("split"), bytes],
      });
      const decoded: Buffer[] = [];
      let isSplit = false;
      for (const bytes of cut(framed(...frames), places).flatMap((chunk) => decoder.decode(chunk))) {
        if (Buffer.from(bytes).equals(Buffer.from("split"))) isSplit = true;
        else {
          decoded.push(...(isSplit ? [] : [Buffer.from("|")]), Buffer.from(bytes));
          isSplit = false;
        }
      }
      const large = frames.filter(({ length }) => length >= 100);
      expect(begun).toEqual(large.map(({ length }) => length));
      expect(decoder.isInside).toBe(false);
      const whole = frames.flatMap((bytes) => (bytes.length >= 100 ? [bytes] : [Buffer.from("|"), bytes]));
      expect(Buffer.concat(decoded)).toEqual(Buffer.concat(whole));
    }),
  );
});
