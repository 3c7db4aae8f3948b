import fc from "fast-check";
import { expect, test } from "vitest";
import {
  bytesOf,
  compareBytes,
  decodeKey,
  encodeKey,
  equalBytes,
  hasPrefix,
  identity,
  keyAfter,
  prefixEnd,
} from "../src/page/text/bytes.ts";
import { diffTexts } from "../src/page/text/diff.ts";
import { prettyJson } from "../src/page/text/json.ts";
import { agoText, durationText, fromLocalInput, rateText, sizeText, toLocalInput } from "../src/page/text/time.ts";
import { formatsOf, hexDump, linesOf, previewOf } from "../src/page/text/value.ts";
import { versionText } from "../src/page/text/version-text.ts";
import { visibleBytes, visibleParts } from "../src/page/text/visible.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
const shown = (text: string) =>
  visibleParts(text)
    .map((part) => part.text)
    .join("");

test("keys are in byte order, as Buffer.compare has it", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
      expect(equalBytes(a, b)).toBe(Buffer.from(a).equals(b));
    }),
  );
});

test("a prefix and its end hold exactly the keys that begin with it", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3 }), fc.uint8Array({ maxLength: 5 }), (prefix, key) => {
      const end = prefixEnd(prefix);
      const isWithin = compareBytes(key, prefix) >= 0 && (end === undefined || compareBytes(key, end) < 0);
      expect(isWithin).toBe(hasPrefix(key, prefix));
    }),
    { numRuns: 2_000 },
  );
});

test("nothing fits between a key and the one after it", () => {
  fc.assert(
    fc.property(bytes, bytes, (key, other) => {
      expect(compareBytes(other, key) > 0).toBe(compareBytes(other, keyAfter(key)) >= 0);
    }),
  );
});

test("any key survives the way through an address", () => {
  fc.assert(
    fc.property(bytes, (key) => {
      expect(Buffer.from(decodeKey(encodeKey(key)) ?? [])).toEqual(Buffer.from(key));
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const key = bytesOf(text);
      expect(Buffer.from(decodeKey(encodeKey(key)) ?? [])).toEqual(Buffer.from(key));
    }),
  );
  expect(encodeKey(bytesOf("/config/gateway"))).toBe("/config/gateway");
  expect(decodeKey("~***")).toBe(undefined);
});

test("the identity of a key is that of its bytes", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(identity(a) === identity(b)).toBe(equalBytes(a, b));
    }),
  );
});

test("what would hide or turn text around is shown as an escape", () => {
  expect(shown("a\u202egnp.exe")).toBe("a\\u202egnp.exe");
  expect(shown("zero\u200bwidth")).toBe("zero\\u200bwidth");
  expect(shown("a\nb\0")).toBe("a\\nb\\0");
  expect(shown("no-break\u00a0space")).toBe("no-break\\xa0space");
  expect(shown("plain text, ünïcödé, 日本語 😀")).toBe("plain text, ünïcödé, 日本語 😀");
  expect(visibleParts("a\u2028b")).toEqual([
    { text: "a", isEscape: false },
    { text: "\\u2028", isEscape: true },
    { text: "b", isEscape: false },
  ]);
  expect(visibleBytes(Uint8Array.of(0xff, 0, 0x41), undefined)).toEqual([
    { text: "\\xff\\x00", isEscape: true },
    { text: "A", isEscape: false },
  ]);
});

test("a text that only looks like an escape is told apart from one", () => {
  expect(visibleParts("\\u202e")).toEqual([{ text: "\\u202e", isEscape: false }]);
});

test("formatted JSON says the same as before", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(3), (text, indent) => {
      const value: unknown = JSON.parse(text);
      const pretty = prettyJson(JSON.stringify(value, undefined, indent));
      if (typeof value !== "object" || value === null) expect(pretty).toBe(undefined);
      else {
        expect(pretty).toBe(JSON.stringify(value, undefined, 2));
      }
    }),
    { numRuns: 500 },
  );
});

test("formatted JSON keeps every digit, duplicates, order and escapes", () => {
  expect(prettyJson('{"b":12345678901234567890,"a":1.0e2,"a":"\\u0041"}')).toBe(
    '{\n  "b": 12345678901234567890,\n  "a": 1.0e2,\n  "a": "\\u0041"\n}',
  );
  expect(prettyJson('{ "a" : [ ] , "b" : { } }')).toBe('{\n  "a": [],\n  "b": {}\n}');
  expect(prettyJson('["}{,:\\"]["]')).toBe('[\n  "}{,:\\"]["\n]');
});

test("what is no JSON is left alone", () => {
  for (const text of ["", "hello", "{", '{"a":}', "[1,]", "42", '"text"']) expect(prettyJson(text)).toBe(undefined);
});

test("a value is offered in the formats that fit it", () => {
  expect(formatsOf(bytesOf('{"a":1}'))).toEqual(["formatted", "text", "hex"]);
  expect(formatsOf(bytesOf("hello\tworld\n"))).toEqual(["text", "hex"]);
  expect(formatsOf(Uint8Array.of(0xff))).toEqual(["hex"]);
  // Valid UTF-8, but no text.
  expect(formatsOf(Uint8Array.of(1, 2, 3))).toEqual(["hex"]);
  expect(linesOf(bytesOf("[1]"), "formatted")).toBe("[\n  1\n]");
  expect(linesOf(bytesOf("[1]"), "text")).toBe("[1]");
});

test("a hex dump shows offsets, bytes and text", () => {
  expect(hexDump(bytesOf("hello, world"), 100)).toBe(
    "00000000  68 65 6c 6c 6f 2c 20 77  hello, w\n00000008  6f 72 6c 64              orld",
  );
  expect(hexDump(new Uint8Array(1_000), 8).split("\n")).toEqual([
    "00000000  00 00 00 00 00 00 00 00  ........",
    "… 992 more bytes",
  ]);
});

test("a preview is one short line, and a character cut in two does not make it binary", () => {
  expect(previewOf(bytesOf("  two\n lines "))).toEqual({ text: "two lines", isBinary: false });
  for (const start of ["", "a", "ab", "abc"]) {
    const { text, isBinary } = previewOf(bytesOf(start + "€".repeat(1_000)));
    expect(isBinary).toBe(false);
    expect(text).toHaveLength(161);
  }
  expect(previewOf(Uint8Array.of(0xff, 0xfe))).toEqual({ text: "ff fe", isBinary: true });
  expect(previewOf(Uint8Array.of(0xe2, 0x82))).toMatchObject({ isBinary: true });
});

test("a diff tells every line of both sides, in order", () => {
  const line = fc.constantFrom("a", "b", "c", "", "  x");
  const text = fc.array(line, { maxLength: 30 }).map((lines) => lines.map((l) => `${l}\n`).join(""));
  fc.assert(
    fc.property(text, text, (before, after) => {
      const diff = diffTexts(before, after);
      const lines = diff?.rows.flatMap((row) => (row.type === "fold" ? row.lines : [row])) ?? [];
      const side = (kind: "added" | "removed") =>
        lines
          .filter((l) => l.kind !== kind)
          .map((l) => `${l.spans.map((s) => s.text).join("")}\n`)
          .join("");
      expect(side("added")).toBe(before);
      expect(side("removed")).toBe(after);
      expect(lines.filter((l) => l.kind !== "added").map((l) => l.before)).toEqual(
        before
          .split("\n")
          .slice(0, -1)
          .map((_, i) => i + 1),
      );
      for (const row of diff?.rows ?? [])
        if (row.type === "fold") expect(row.lines.every((l) => l.kind === "same")).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("a diff marks what changed within a line", () => {
  const diff = diffTexts('  "port": 80,\n', '  "port": 8080,\n');
  expect(diff?.rows).toMatchObject([
    { kind: "removed", spans: [{ text: '  "port": ' }, { text: "80", isChanged: true }, { text: ",\n".trimEnd() }] },
    { kind: "added", spans: [{ text: '  "port": ' }, { text: "8080", isChanged: true }, { text: "," }] },
  ]);
});

test("a diff gives up on what would take too long", () => {
  const noise = (seed: number) => Array.from({ length: 40_000 }, (_, i) => `${(i * seed) % 7919}\n`).join("");
  expect(diffTexts(noise(31), noise(17))).toBe(undefined);
});

test("times, durations, rates and sizes read well", () => {
  expect([0, 0.4, 4.25, 43, 999, 1_250, 59_000, 60_000, 3_700_000, 90_000_000].map(durationText)).toEqual([
    "0 ms",
    "< 1 ms",
    "4.3 ms",
    "43 ms",
    "999 ms",
    "1.3 s",
    "59 s",
    "1 min",
    "1 h",
    "1 d",
  ]);
  expect([agoText(1_000, 1_999), agoText(1_000, 2_000), agoText(0, 125_000), agoText(5_000, 1_000)]).toEqual([
    "just now",
    "1 s ago",
    "2 min ago",
    "just now",
  ]);
  expect([0, 0.25, 4, 42.4].map(rateText)).toEqual(["0/s", "0.3/s", "4/s", "42/s"]);
  expect([10, 2_048, 3_500_000n].map(sizeText)).toEqual(["10 B", "2 KiB", "3.3 MiB"]);
  expect(fromLocalInput(toLocalInput(1_767_225_601_000))).toBe(1_767_225_601_000);
  expect(fromLocalInput("")).toBe(undefined);
});

test("sortable integers are shown as numbers, anything else as it is", () => {
  expect(["a7", "e12345", "e123", "g1:2", ""].map(versionText)).toEqual(["7", "12345", "e123", "g1:2", ""]);
});
