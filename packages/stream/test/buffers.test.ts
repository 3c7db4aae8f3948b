import { createKeyedBuffer, createListBuffer } from "@tidemark/stream";
import fc from "fast-check";
import { expect, test } from "vitest";

test("a list keeps items in order and counts their bytes", () => {
  const list = createListBuffer<string>((item) => item.length);
  list.push("a");
  list.push("bcd");
  expect([list.items, list.bytes]).toEqual([["a", "bcd"], 4]);
  list.clear();
  expect([list.items, list.bytes]).toEqual([[], 0]);
});

test("H5: a keyed buffer keeps the last operation, so that an updated and deleted key stays deleted", () => {
  const keyed = createKeyedBuffer<string, number>();
  keyed.put("a", 1);
  keyed.delete("a");
  keyed.delete("b");
  keyed.put("b", 2);
  expect([...keyed.entries()]).toEqual([
    ["a", undefined],
    ["b", 2],
  ]);
});

test("H11: a keyed buffer counts what it replaced, and holds no more than its keys", () => {
  const keyed = createKeyedBuffer<string, string>((key, value) => key.length + (value?.length ?? 0));
  for (let n = 0; n < 1_000; n++) keyed.put(`k${n % 3}`, "12345");
  expect([keyed.length, keyed.duplicates, keyed.bytes]).toEqual([3, 997, 21]);
  keyed.delete("k0");
  expect([keyed.length, keyed.duplicates, keyed.bytes]).toEqual([3, 998, 16]);
  keyed.clear();
  expect([keyed.length, keyed.duplicates, keyed.bytes]).toEqual([0, 0, 0]);
});

test("what a keyed buffer holds, applied in its order, gives what all operations give", () => {
  const op = fc.record({ key: fc.constantFrom("a", "b", "c", "d"), value: fc.option(fc.nat(9), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60, size: "max" }), (ops) => {
      const keyed = createKeyedBuffer<string, number>((key, value) => key.length + (value ?? 0));
      const last = new Map<string, number>();
      ops.forEach(({ key, value }, index) => {
        if (value === undefined) keyed.delete(key);
        else keyed.put(key, value);
        last.set(key, index);
      });
      // The order of the last operations, which is how the source ended up where it is.
      const expected = [...last].sort(([, a], [, b]) => a - b).map(([key, index]) => [key, ops[index]?.value]);
      expect([...keyed.entries()]).toEqual(expected);
      expect(keyed.bytes).toBe(expected.reduce((sum, [, value]) => sum + 1 + ((value as number) ?? 0), 0));
      expect(keyed.duplicates).toBe(ops.length - last.size);
    }),
  );
});
