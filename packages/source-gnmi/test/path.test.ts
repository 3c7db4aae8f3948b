import fc from "fast-check";
import { expect, test } from "vitest";
import { coversPath, formatPath, type GnmiPath, joinPaths, parsePath, pathElem } from "../src/path.ts";

const text = fc.string({ unit: "binary", minLength: 1, maxLength: 8 });
/** Of the signs that mean something. */
const tricky = fc.string({
  unit: fc.constantFrom("[", "]", "\\", "/", "=", ":", "*", ".", "n", "u", "\n", "\r", "\t", "\0", "é", "😀"),
  minLength: 1,
  maxLength: 6,
});
const word = fc.oneof(text, tricky);
const elem = fc
  .tuple(word, fc.dictionary(word, fc.oneof(fc.constant(""), word), { maxKeys: 3, noNullPrototype: true }))
  .map(([name, keys]) => pathElem(name, keys));
const path: fc.Arbitrary<GnmiPath> = fc.record({
  origin: fc.oneof(fc.constant(""), fc.stringMatching(/^[A-Za-z0-9_.-]{1,8}$/)),
  target: fc.oneof(fc.constant(""), word),
  elems: fc.array(elem, { maxLength: 5 }),
});

test("what is written is read as the same path", () => {
  fc.assert(
    fc.property(path, (it) => {
      expect(parsePath(formatPath(it))).toEqual(it);
    }),
  );
});

test("equal texts are equal paths and different paths have different texts", () => {
  fc.assert(
    fc.property(path, path, (a, b) => {
      expect(formatPath(a) === formatPath(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
    }),
  );
});

test("any text is a path that survives, or refused with its place", () => {
  fc.assert(
    fc.property(fc.oneof(text, tricky, fc.string({ unit: "grapheme" })), (it) => {
      let read: GnmiPath;
      try {
        read = parsePath(it);
      } catch (error) {
        expect(String(error)).toMatch(/\[PATH_INVALID\] expected .* at character \d+/);
        return;
      }
      expect(parsePath(formatPath(read))).toEqual(read);
    }),
  );
});

test.each([
  ["/", { origin: "", target: "", elems: [] }],
  ["", { origin: "", target: "", elems: [] }],
  ["/a/b", { origin: "", target: "", elems: [pathElem("a"), pathElem("b")] }],
  ["a/b/", { origin: "", target: "", elems: [pathElem("a"), pathElem("b")] }],
  ["openconfig:/a", { origin: "openconfig", target: "", elems: [pathElem("a")] }],
  ["cli:", { origin: "cli", target: "", elems: [] }],
  ["/oc-if:interfaces", { origin: "", target: "", elems: [pathElem("oc-if:interfaces")] }],
  ["oc-if:interfaces/x", { origin: "", target: "", elems: [pathElem("oc-if:interfaces"), pathElem("x")] }],
  ["//r1/a", { origin: "", target: "r1", elems: [pathElem("a")] }],
  ["//r1/openconfig:/a", { origin: "openconfig", target: "r1", elems: [pathElem("a")] }],
  ["/i/i[name=Ethernet1/2/3]/s", { origin: "", target: "", elems: ["i", ["i", "Ethernet1/2/3"], "s"].map(elemOf) }],
  // The three of the document about path strings.
  ["/foo[name=\\]]", { origin: "", target: "", elems: [pathElem("foo", { name: "]" })] }],
  ["/foo[name=[]", { origin: "", target: "", elems: [pathElem("foo", { name: "[" })] }],
  ["/foo[name=[\\\\\\]]", { origin: "", target: "", elems: [pathElem("foo", { name: "[\\]" })] }],
  ["/a[b=2][a=1]", { origin: "", target: "", elems: [pathElem("a", { a: "1", b: "2" })] }],
  ["/a[n=\\u00e9\\U0001F600\\n]", { origin: "", target: "", elems: [pathElem("a", { n: "é😀\n" })] }],
] as const)("reads %s", (written, wanted) => {
  expect(parsePath(written)).toEqual(wanted);
});

function elemOf(of: string | readonly string[]) {
  return typeof of === "string" ? pathElem(of) : pathElem(of[0] ?? "", { name: of[1] ?? "" });
}

test.each([
  "/a[b]",
  "/a[b=c",
  "/a//b",
  "/a[=c]",
  "/a]",
  "/a[b=1][b=2]",
  "/a\\",
  "/a\\q",
  "/a\\ud800",
  "//",
  "/a[b=1]c",
])("refuses %s", (written) => {
  expect(() => parsePath(written)).toThrow(/PATH_INVALID.*at character/);
});

test.each([
  ["/", "/a/b", true],
  ["/a", "/a/b", true],
  ["/a/b", "/a", false],
  ["/a/*", "/a/b/c", true],
  ["/a/*/c", "/a/b/d", false],
  ["/a/.../z", "/a/b/c/z", true],
  ["/a/.../z", "/a/z", true],
  ["/a/...", "/a", true],
  ["/a/.../z", "/a/b", false],
  ["/l[k=1]", "/l[k=1]/x", true],
  ["/l[k=2]", "/l[k=1]/x", false],
  ["/l[k=*]", "/l[k=1]/x", true],
  ["/l", "/l[k=1]/x", true],
  ["/l[k=1]", "/l[j=2][k=1]", true],
  ["/l[k=1]", "/l", false],
  ["oc:/a", "/a", true],
  ["oc:/a", "native:/a", false],
])("%s covers %s: %s", (pattern, path, wanted) => {
  expect(coversPath(parsePath(pattern), parsePath(path))).toBe(wanted);
});

test("a prefix and a path are one path, unless they contradict each other", () => {
  expect(formatPath(joinPaths(parsePath("oc:/a"), parsePath("/b")))).toBe("oc:/a/b");
  expect(formatPath(joinPaths(parsePath("/a"), parsePath("oc:/b")))).toBe("oc:/a/b");
  expect(() => joinPaths(parsePath("oc:/a"), parsePath("x:/b"))).toThrow(/PATH_INVALID/);
});
