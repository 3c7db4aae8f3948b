import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frame } from "../../src/contract.ts";
import { FrameBuffer } from "../../src/frame-buffer.ts";
import { begin, bufferOf, commit, discard, end, progress, put, remove, reset } from "./helpers.ts";

const text = fc.oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.constant(""));
const data = fc.uint8Array({ maxLength: 300 });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const defined = <T extends object>(value: T) =>
  Object.fromEntries(Object.entries(value).filter(([key, field]) => field !== undefined || key === "value")) as T;

const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc
    .record({
      type: fc.constant("change" as const),
      key: data,
      value: maybe(data),
      version: maybe(text),
      attributes: maybe(text),
      sourceTimeMs: maybe(fc.double({ noNaN: true })),
    })
    .map(defined),
  fc
    .record({ type: fc.constant("poison" as const), key: data, raw: data, error: text, version: maybe(text) })
    .map(defined),
  fc.record({ type: fc.constant("begin-snapshot" as const), epoch: text }),
  fc.record({ type: fc.constant("snapshot-end" as const), cursor: text }),
  fc
    .record({ type: fc.constant("commit" as const), cursor: text, sourceTimeMs: maybe(fc.double({ noNaN: true })) })
    .map(defined),
  fc.record({ type: fc.constant("progress" as const), cursor: text }),
  fc
    .record({
      type: fc.constant("gap" as const),
      reason: fc.constantFrom("compacted" as const, "disconnected" as const),
      detail: text,
      from: maybe(text),
      to: maybe(text),
    })
    .map(defined),
  fc.record({ type: fc.constant("reset" as const), epoch: text }),
  fc.constant<Frame>({ type: "discard" }),
);

test("gives back every frame as it was written, also after moving to another thread and back", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 40 }), (frames) => {
      const buffer = bufferOf(frames);
      expect(buffer.decode()).toEqual(frames);
      const { sealedGroups, endsOpen, bytes } = buffer;
      const parts = buffer.toTransfer();
      const moved = structuredClone(parts, { transfer: [parts.words, parts.data] });
      const there = FrameBuffer.fromTransfer(moved);
      expect(there.decode()).toEqual(frames);
      expect(there).toMatchObject({ sealedGroups, endsOpen, bytes });
      buffer.takeBack(there.toTransfer());
      expect(buffer.decode()).toEqual(frames);
      expect(buffer).toMatchObject({ frames: frames.length, sealedGroups, endsOpen, bytes });
    }),
    { numRuns: 200 },
  );
});

test("is empty after clear, and what follows is not mixed with what was", () => {
  const buffer = bufferOf([put("a", "1", 1), commit(1), put("b", "22222", 2)]);
  buffer.clear();
  expect(buffer).toMatchObject({ bytes: 0, frames: 0, sealedGroups: 0, endsOpen: false });
  buffer.write(put("c", "3", 3));
  expect(buffer.decode()).toEqual([put("c", "3", 3)]);
});

test("knows its boundaries and whether it ends within a group", () => {
  const facts = (frames: Frame[]) => {
    const { sealedGroups, endsOpen } = bufferOf(frames);
    return [sealedGroups, endsOpen];
  };
  expect(facts([])).toEqual([0, false]);
  expect(facts([put("a", "1", 1)])).toEqual([0, true]);
  expect(facts([put("a", "1", 1), commit(1), remove("a", 2)])).toEqual([1, true]);
  expect(facts([begin("e")])).toEqual([0, true]);
  expect(facts([begin("e"), put("a", "1", 1), end(1), reset("f"), discard, progress(3)])).toEqual([4, false]);
  expect(facts([put("a", "1", 1), progress(2)])).toEqual([0, true]);
});

test("throws while its memory is away, and owns nothing of what was written", () => {
  const key = new Uint8Array([1, 2, 3]);
  const buffer = bufferOf([{ type: "change", key, value: key }]);
  key.fill(9);
  expect(buffer.decode()).toEqual([
    { type: "change", key: new Uint8Array([1, 2, 3]), value: new Uint8Array([1, 2, 3]) },
  ]);
  buffer.toTransfer();
  expect(buffer.isAway).toBe(true);
  expect(() => buffer.write(discard)).toThrow(/\[INTERNAL\]/);
  expect(() => buffer.clear()).toThrow(/\[INTERNAL\]/);
});

test("gives memory back once it is far too large", () => {
  const buffer = new FrameBuffer();
  const capacity = () => {
    const parts = buffer.toTransfer();
    buffer.takeBack(parts);
    return parts.data.byteLength;
  };
  buffer.write(put("k", "x".repeat(20_000_000), 1));
  expect(capacity()).toBeGreaterThanOrEqual(20_000_000);
  buffer.clear();
  for (let round = 0; round < 10; round++) {
    buffer.write(put("k", "v", 1));
    buffer.clear();
  }
  expect(capacity()).toBeLessThanOrEqual(4 * 1024 * 1024);
});
