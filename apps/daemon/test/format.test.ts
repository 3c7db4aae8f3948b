import fc from "fast-check";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { formatSize, showBytes, textOf } from "../src/cli/format/bytes.ts";
import { formatValueDiff } from "../src/cli/format/diff.ts";
import { formatFields, formatTable } from "../src/cli/format/table.ts";
import { formatAgo, formatCount, formatDuration, formatTime } from "../src/cli/format/time.ts";
import { jsonBytes, toJsonLine } from "../src/cli/json.ts";
import { keyArgument, parseBytes, parseKey } from "../src/cli/keys.ts";
import type { Style } from "../src/cli/format/style.ts";

const plain: Style = Object.assign((_: unknown, text: string) => text, { isColoured: false });
const marked: Style = Object.assign((format: unknown, text: string) => `<${String(format)}>${text}`, {
  isColoured: true,
});
const bytes = (text: string) => new Uint8Array(Buffer.from(text));

test("nothing that is shown can control a terminal", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 100 }), (value, maxLength) => {
      expect(showBytes(value, { maxLength })).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069\u2028\u2029]/u);
    }),
  );
  expect(showBytes(bytes("a\u001b[31mred\u202e"))).toBe("a\\x1b[31mred\\u{202e}");
  expect(showBytes(bytes("two\nlines"))).toBe("two\\nlines");
  expect(showBytes(bytes("two\nlines"), { isMultiline: true })).toBe("two\nlines");
});

test("shows text as text and the rest as hex with its size", () => {
  expect(showBytes(bytes("größe 👩‍👩‍👧"))).toBe("größe 👩‍👩‍👧");
  expect(showBytes(new Uint8Array([0xff, 0, 0x10]))).toBe("0xff0010 (3 bytes)");
  expect(showBytes(new Uint8Array(2000).fill(0xff), { maxLength: 40 })).toMatch(/^0x(ff)+… \(2\.0 KiB\)$/);
  expect(showBytes(new Uint8Array(16))).toMatch(/^0x0{32} \(16 bytes\)$/);
  expect(showBytes(new Uint8Array())).toBe("");
});

test("cuts long text and never in the middle of a character", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 80 }), fc.integer({ min: 2, max: 50 }), (text, maxLength) => {
      const shown = showBytes(bytes(text), { maxLength });
      expect(shown.isWellFormed()).toBe(true);
    }),
  );
  expect(showBytes(bytes("x".repeat(100)), { maxLength: 10 })).toBe(`${"x".repeat(9)}…`);
});

test("JSON keeps every byte, and text only where it is UTF-8", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (value) => {
      const { base64, text } = jsonBytes(value);
      expect(new Uint8Array(Buffer.from(base64, "base64"))).toEqual(value);
      if (text !== undefined) expect(bytes(text)).toEqual(value);
      else expect(textOf(value)).toBeUndefined();
    }),
  );
  expect(toJsonLine({ a: 2n ** 63n })).toBe('{"a":"9223372036854775808"}\n');
});

test("keys are read as text, hex and base64, and written back the same way", () => {
  expect(parseBytes("00ff10", { hex: true }, "KEY")).toEqual(Buffer.from([0, 255, 16]));
  expect(parseBytes("AP8Q", { base64: true }, "KEY")).toEqual(Buffer.from([0, 255, 16]));
  expect(parseBytes("größe", {}, "KEY")).toEqual(Buffer.from("größe"));
  expect(() => parseBytes("0ff", { hex: true }, "KEY")).toThrow(/two digits a byte/);
  expect(() => parseBytes("a*", { base64: true }, "KEY")).toThrow(/must be base64/);
  expect(() => parseBytes("00", { base64: true, hex: true }, "KEY")).toThrow(/exclude each other/);
  expect(() => parseKey("", {})).toThrow(/must not be empty/);
  expect(keyArgument(bytes("config/a"))).toBe("config/a");
  expect(keyArgument(bytes("it's here"))).toBe(`'it'\\''s here'`);
  expect(keyArgument(bytes("-v"))).toBe("'-v'");
  expect(keyArgument(new Uint8Array([0, 255]))).toBe("--hex 00ff");
});

test("tables align whatever colours are in them", () => {
  const table = formatTable(
    [{ title: "A" }, { title: "NUM", align: "right" }, { title: "B" }],
    [
      ["\u001b[31mlong one\u001b[39m", "1", "x"],
      ["é", "100", "y"],
      ["日本 👩‍👩‍👧", "2", "z"],
    ],
  );
  expect(stripVTControlCharacters(table)).toBe(
    "A         NUM  B\nlong one    1  x\né         100  y\n日本 👩‍👩‍👧     2  z\n",
  );
  expect(
    formatFields([
      ["a", "1"],
      ["long", "2"],
    ]),
  ).toBe("a     1\nlong  2\n");
});

test("times are short and read back", () => {
  expect(formatAgo(0, 500)).toBe("just now");
  expect(formatAgo(0, 65_000)).toBe("1m 5s ago");
  expect(formatAgo(0, 3 * 3_600_000)).toBe("3h ago");
  expect(formatAgo(10_000, 0)).toBe("in 10s");
  expect(formatDuration(850)).toBe("850ms");
  expect(formatDuration(86_400_000 * 2 + 3_600_000)).toBe("2d 1h");
  const time = new Date(2026, 10, 22, 9, 30, 5).getTime();
  expect(formatTime(time)).toBe("2026-11-22 09:30:05");
  expect(formatCount(1n, "key")).toBe("1 key");
  expect(formatCount(1_234_567, "key")).toBe("1,234,567 keys");
  expect(formatSize(1)).toBe("1 byte");
  expect(formatSize(1536)).toBe("1.5 KiB");
});

test("a diff shows changed lines, JSON field by field, and binary values as they are", () => {
  expect(formatValueDiff(bytes("a\nb\nc\n"), bytes("a\nx\nc\n"), plain)).toBe("    a\n  - b\n  + x\n    c\n");
  expect(formatValueDiff(bytes("1\n2\n3\n4\n5\n"), bytes("1\n2\n3\n4\n6\n"), plain)).toMatch(
    /^ {2}@@ -3,3 \+3,3 @@\n {4}3\n/,
  );
  expect(formatValueDiff(bytes('{"a":1,"b":2}'), bytes('{"a":1,"b":3}'), plain)).toContain(
    '  -   "b": 2\n  +   "b": 3\n',
  );
  expect(formatValueDiff(undefined, bytes("new"), plain)).toBe("  + new\n");
  expect(formatValueDiff(bytes("old"), undefined, plain)).toBe("  - old\n");
  expect(formatValueDiff(bytes("old"), new Uint8Array([255]), plain)).toBe("  - old\n  + 0xff (1 byte)\n");
  expect(formatValueDiff(bytes("a"), bytes("b"), marked)).toContain("<red>- a\n");
  expect(formatValueDiff(bytes("a"), bytes("\u001b[2J"), plain)).not.toContain("\u001b");
});

test("a diff never hides a difference behind reformatting", () => {
  expect(formatValueDiff(bytes('{"a":1}'), bytes('{ "a": 1 }'), plain)).toBe('  - {"a":1}\n  + { "a": 1 }\n');
  expect(formatValueDiff(bytes('{"a":9007199254740993}'), bytes('{"a":9007199254740992}'), plain)).toContain(
    "9007199254740993",
  );
});
