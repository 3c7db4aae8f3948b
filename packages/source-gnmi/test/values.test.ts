import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { buildTree } from "../src/build-tree.ts";
import { exactNumber, formatExactJson, type Json, parseExactJson } from "../src/exact-json.ts";
import { type Encoding, type TypedValue, TypedValueSchema, UpdateSchema } from "../src/gen/gnmi/gnmi_pb.ts";
import { formatPath } from "../src/path.ts";
import { flatten } from "../src/subtree.ts";
import { readUpdate, readValue, writeValue } from "../src/typed-value.ts";

const read = (value: TypedValue["value"]) => readValue(create(TypedValueSchema, { value } as never));

test.each([
  [{ case: "stringVal", value: 'a"\n😀' }, '"a\\"\\n😀"', undefined],
  [{ case: "intVal", value: -9223372036854775808n }, "-9223372036854775808", undefined],
  [{ case: "uintVal", value: 18446744073709551615n }, "18446744073709551615", undefined],
  [{ case: "boolVal", value: false }, "false", undefined],
  [{ case: "bytesVal", value: Uint8Array.of(0, 255) }, '"AP8="', "bytes"],
  [{ case: "doubleVal", value: 0.1 }, "0.1", undefined],
  [{ case: "doubleVal", value: Number.NaN }, '"NaN"', "double"],
  [{ case: "floatVal", value: Math.fround(0.1) }, "0.1", undefined],
  [{ case: "floatVal", value: Math.fround(16777217) }, "16777216", undefined],
  [{ case: "decimalVal", value: { digits: -5n, precision: 2 } }, "-0.05", undefined],
  [{ case: "decimalVal", value: { digits: 314n, precision: 0 } }, "314", undefined],
  [{ case: "anyVal", value: { typeUrl: "t/x", value: Uint8Array.of(1) } }, '{"@type":"t/x","value":"AQ=="}', "any"],
  [{ case: "jsonVal", value: Buffer.from("18446744073709551615") }, "18446744073709551615", undefined],
  [{ case: "jsonIetfVal", value: Buffer.from(' "42" ') }, '"42"', undefined],
  [{ case: "jsonVal", value: Buffer.from("[1, 2]") }, "[1,2]", undefined],
  [{ case: "asciiVal", value: "show" }, '"show"', "ascii"],
  [{ case: "protoBytes", value: Uint8Array.of(9) }, '"CQ=="', "proto"],
  [
    {
      case: "leaflistVal",
      value: { element: [{ value: { case: "intVal", value: 1n } }, { value: { case: "stringVal", value: "x" } }] },
    },
    '[1,"x"]',
    undefined,
  ],
] as const)("reads a value of kind %#", (value, text, type) => {
  expect(read(value as never)).toEqual({ text, type });
});

test.each(["{", '{"a":}', "nul", "", "01"])("calls %j no JSON, and the JSON it is not is no crash", (text) => {
  expect(() => read({ case: "jsonVal", value: Buffer.from(text) })).toThrow(/VALUE_INVALID.*not JSON/);
});

test("refuses text that is not UTF-8, a value of an unknown kind, and none", () => {
  expect(() => read({ case: "jsonVal", value: Uint8Array.of(0x22, 0xff, 0x22) })).toThrow(/not UTF-8/);
  expect(() => readValue(fromBinary(TypedValueSchema, Uint8Array.of(0x98, 0x06, 1)))).toThrow(/kind/);
  expect(() => readUpdate(create(UpdateSchema))).toThrow(/no value/);
});

test("reads the values of devices before gNMI 0.3", () => {
  const old = (type: Encoding, value: string) =>
    readUpdate(create(UpdateSchema, { value: { value: Buffer.from(value), type } }));
  expect(old(0, '"x"')).toEqual({ text: '"x"', type: undefined });
  expect(old(3, "x")).toEqual({ text: '"x"', type: "ascii" });
  expect(old(1, "x")).toEqual({ text: '"eA=="', type: "bytes" });
});

const scalar: fc.Arbitrary<Json> = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.boolean(),
  fc.integer(),
  fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n).map((value) => exactNumber(String(value))),
);

test("a scalar goes out in every encoding that has it, over the wire, and comes back the same", () => {
  fc.assert(
    fc.property(scalar, fc.constantFrom("json", "json_ietf", "proto"), (value, encoding) => {
      const sent = toBinary(TypedValueSchema, writeValue(value, encoding as "json"));
      expect(readValue(fromBinary(TypedValueSchema, sent))).toEqual({ text: formatExactJson(value), type: undefined });
    }),
  );
});

test("a whole number that does not fit into 64 bits is a double, or refused where digits would be lost", () => {
  expect(readValue(writeValue(896452015332311600000, "proto"))).toEqual({
    text: "896452015332311600000",
    type: undefined,
  });
  expect(() => writeValue(exactNumber("896452015332311600001"), "proto")).toThrow(/no exact form/);
});

test("a list of scalars is one leaf in every encoding", () => {
  const value = [1, "two", true];
  for (const encoding of ["json", "json_ietf", "proto"] as const) {
    expect(readValue(writeValue(value, encoding))).toEqual({ text: '[1,"two",true]', type: undefined });
  }
  expect(() => writeValue({ a: 1 }, "proto")).toThrow(/send it as JSON/);
});

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,6}(:[a-z]{1,4})?$/).filter((text) => text !== "name");
const { tree } = fc.letrec<{ tree: Json; list: Json }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(scalar, { maxLength: 3 }),
    fc.dictionary(name, tie("tree"), { maxKeys: 4, noNullPrototype: true }),
    tie("list"),
  ),
  list: fc
    .uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 })
    .chain((names) =>
      fc.tuple(
        ...names.map((each) =>
          fc
            .dictionary(name, tie("tree"), { maxKeys: 2, noNullPrototype: true })
            .map((rest) => ({ name: each, ...rest })),
        ),
      ),
    ) as fc.Arbitrary<Json>,
}));

function leavesOf(value: Json, options = {}) {
  const leaves = new Map<string, string>();
  flatten(value, options, (elems, text) => leaves.set(formatPath({ origin: "", target: "", elems }), text));
  return leaves;
}

const stored = (leaves: Map<string, string>) => [...leaves].map(([key, value]) => ({ key, value }));

test("JSON that was taken apart into leaves can be put together again, in whatever order they come", () => {
  fc.assert(
    fc.property(fc.dictionary(name, tree, { minKeys: 1, maxKeys: 4, noNullPrototype: true }), (value) => {
      const leaves = leavesOf(value, { listKeys: { list: ["name"] } });
      const again = leavesOf(buildTree(stored(leaves).toReversed()), {});
      // Members may come in another order; as leaves they are the same.
      expect(Object.fromEntries(again)).toEqual(Object.fromEntries(leaves));
      expect(parseExactJson(formatExactJson(buildTree(stored(leaves))))).toEqual(buildTree(stored(leaves)));
    }),
  );
});

test("knows the keys of lists by OpenConfig's rule, by name, or because it was told", () => {
  const openconfig = { protocol: [{ identifier: "ISIS", name: "1", config: { x: 1 } }] };
  expect([...leavesOf(openconfig).keys()]).toContain("/protocol[identifier=ISIS][name=1]/config/x");
  const native = {
    interface: [
      { name: "e1", mtu: 9000 },
      { name: "e2", mtu: 1500 },
    ],
  };
  expect([...leavesOf(native).keys()]).toContain("/interface[name=e2]/mtu");
  const unknown = { route: [{ prefix: "10/8", via: "a" }] };
  expect(leavesOf(unknown)).toEqual(new Map([["/route", '[{"prefix":"10/8","via":"a"}]']]));
  expect([...leavesOf(unknown, { listKeys: { route: ["prefix"] } }).keys()]).toContain("/route[prefix=10/8]/via");
  // Keys that do not tell entries apart are none.
  const twice = {
    interface: [
      { name: "e1", a: 1 },
      { name: "e1", a: 2 },
    ],
  };
  expect([...leavesOf(twice).keys()]).toEqual(["/interface"]);
  expect([...leavesOf({ "oc-if:interfaces": { "oc-x:mtu": 1 } }, { stripModules: true }).keys()]).toEqual([
    "/interfaces/mtu",
  ]);
});

test("a tree deeper than any model is refused", () => {
  const deep = parseExactJson(`${'{"a":'.repeat(300)}1${"}".repeat(300)}`);
  expect(() => leavesOf(deep)).toThrow(/deeper than 128/);
});
