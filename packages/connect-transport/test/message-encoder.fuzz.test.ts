// Our encoder against protobuf-es's: byte for byte the same, or nothing.

import { create, createFileRegistry, type DescMessage, type Message, toBinary } from "@bufbuild/protobuf";
import {
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorSetSchema,
  StringValueSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { messageEncoderOf } from "../src/message-encoder.ts";

type Field = Partial<Omit<FieldDescriptorProto, "$typeName" | "$unknown" | "options">> & {
  readonly options?: { readonly packed: boolean };
};

const scalarTypes = {
  bytes: Type.BYTES,
  text: Type.STRING,
  flag: Type.BOOL,
  int32: Type.INT32,
  uint32: Type.UINT32,
  sint32: Type.SINT32,
  fixed32: Type.FIXED32,
  sfixed32: Type.SFIXED32,
  float: Type.FLOAT,
  double: Type.DOUBLE,
  int64: Type.INT64,
  uint64: Type.UINT64,
};
type ScalarName = keyof typeof scalarTypes;
const scalarNames = Object.keys(scalarTypes) as ScalarName[];

/** Numbers are not in the order of the fields, and long enough for tags of several bytes. */
const fields: Field[] = [
  ...scalarNames.flatMap((name, n): Field[] => [
    { name, number: 500 - n, type: scalarTypes[name], label: Label.OPTIONAL },
    { name: `${name}_list`, number: 1 + n, type: scalarTypes[name], label: Label.REPEATED },
    { name: `maybe_${name}`, number: 3000 + n, type: scalarTypes[name], proto3Optional: true, oneofIndex: n + 1 },
  ]),
  { name: "loose", number: 600, type: Type.INT32, label: Label.REPEATED, options: { packed: false } },
  { name: "color", number: 601, type: Type.ENUM, typeName: ".fuzz.Color" },
  { name: "colors", number: 602, type: Type.ENUM, typeName: ".fuzz.Color", label: Label.REPEATED },
  { name: "child", number: 603, type: Type.MESSAGE, typeName: ".fuzz.Every" },
  { name: "children", number: 604, type: Type.MESSAGE, typeName: ".fuzz.Every", label: Label.REPEATED },
  { name: "chosen_text", number: 20_000, type: Type.STRING, oneofIndex: 0 },
  { name: "chosen_number", number: 605, type: Type.UINT32, oneofIndex: 0 },
  { name: "chosen_child", number: 606, type: Type.MESSAGE, typeName: ".fuzz.Every", oneofIndex: 0 },
];

const rare: Record<string, Field> = {
  Zigzag: { type: Type.SINT64 },
  Fixed: { type: Type.FIXED64 },
  Wrapper: { type: Type.MESSAGE, typeName: ".google.protobuf.StringValue" },
  Json: { type: Type.MESSAGE, typeName: ".google.protobuf.Struct" },
  Within: { type: Type.MESSAGE, typeName: ".fuzz.Zigzag" },
};

const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const withNames = (list: Field[]) => list.map((field) => ({ ...field, jsonName: camel(field.name ?? "") }));

const registry = createFileRegistry(
  create(FileDescriptorSetSchema, {
    file: [
      StringValueSchema.file.proto,
      StructSchema.file.proto,
      {
        name: "fuzz.proto",
        package: "fuzz",
        syntax: "proto3",
        dependency: [StringValueSchema.file.proto.name, StructSchema.file.proto.name],
        enumType: [
          {
            name: "Color",
            value: [
              { name: "NONE", number: 0 },
              { name: "RED", number: 300 },
              { name: "BLACK", number: -1 },
            ],
          },
        ],
        messageType: [
          {
            name: "Every",
            field: withNames(fields),
            oneofDecl: [{ name: "choice" }, ...scalarNames.map((name) => ({ name: `_maybe_${name}` }))],
          },
          { name: "Nothing" },
          ...Object.entries(rare).map(([name, field]) => ({
            name,
            field: withNames([{ name: "it", number: 1, ...field }]),
          })),
        ],
      },
    ],
  }),
);
const typeOf = (name: string) => registry.getMessage(`fuzz.${name}`) as DescMessage;
const every = typeOf("Every");

const integer = (min: number, max: number) =>
  fc.oneof(fc.integer({ min, max }), fc.constantFrom(min, max, 0, 1, 127, 128, 16_383, 16_384));
const signed = integer(-(2 ** 31), 2 ** 31 - 1);
const unsigned = integer(0, 2 ** 32 - 1);
const natural = fc.bigInt({ min: 0n, max: BigInt(Number.MAX_SAFE_INTEGER) });

/** What protobuf-es takes, and we have to take, too. */
const ordinary: Record<ScalarName, fc.Arbitrary<unknown>> = {
  bytes: fc.uint8Array({ maxLength: 300 }),
  text: fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.constant("x".repeat(32)),
  ),
  flag: fc.boolean(),
  int32: signed,
  uint32: unsigned,
  sint32: signed,
  fixed32: unsigned,
  sfixed32: signed,
  float: fc.float(),
  double: fc.double(),
  int64: natural,
  uint64: natural,
};

/** What it takes, or refuses, and nobody should rely on. */
const strange = fc.constantFrom<unknown>(
  undefined,
  null,
  -0,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1e39,
  -1,
  2 ** 31,
  2 ** 32,
  -5n,
  2n ** 63n,
  2n ** 64n,
  "7",
  "",
  "\ud800 lone",
  true,
  [],
  {},
  new Uint8Array(0),
  Buffer.from("buffer"),
  { case: "chosenNumber", value: "x" },
);

function messages(value: (name: ScalarName) => fc.Arbitrary<unknown>, depth = 0): fc.Arbitrary<Message> {
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
  const some: Record<string, fc.Arbitrary<unknown>> = {
    loose: fc.array(value("int32"), { maxLength: 3 }),
    color: fc.constantFrom(0, 300, -1, 7),
    colors: fc.array(fc.constantFrom(0, 300, -1), { maxLength: 3 }),
  };
  for (const name of scalarNames) {
    some[name] = value(name);
    some[`${name}List`] = fc.array(value(name), { maxLength: 60, size: "small" });
    some[camel(`maybe_${name}`)] = optional(value(name));
  }
  if (depth < 2) {
    const child = messages(value, depth + 1);
    some["child"] = optional(child);
    some["children"] = fc.array(child, { maxLength: 2 });
    some["choice"] = fc.oneof(
      value("text").map((it) => ({ case: "chosenText", value: it })),
      value("uint32").map((it) => ({ case: "chosenNumber", value: it })),
      child.map((it) => ({ case: "chosenChild", value: it })),
      fc.constant({ case: undefined }),
    );
  }
  return fc
    .record(some, { requiredKeys: [] })
    .map(
      (set) => Object.assign(create(every) as unknown as Record<string, unknown>, definedOf(set)) as unknown as Message,
    );
}

/** As `create` leaves it: what is not set is not there. */
const definedOf = (set: object) => Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined));

/** Undefined: protobuf-es refuses it. */
function bytesOf(message: Message): Uint8Array | undefined {
  try {
    return toBinary(every, message);
  } catch {
    return undefined;
  }
}

const encode = messageEncoderOf(every);
if (encode === undefined) throw new Error("the type has an encoder");
const from = 7;

test("whatever protobuf-es takes without a second look is encoded, and the same", () => {
  fc.assert(
    fc.property(
      messages((name) => ordinary[name]),
      (message) => {
        const expected = toBinary(every, message);
        // Behind what is written there is room for the longest number and its tag.
        const target = Buffer.alloc(from + expected.length + 16);
        const end = encode(target, from, message);
        expect(end).toBe(from + expected.length);
        expect(target.subarray(from, end).equals(expected)).toBe(true);
      },
    ),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 20_000 : 300 },
  );
});

test("what is strange, or does not fit, is the same or left alone", () => {
  fc.assert(
    fc.property(
      messages((name) => fc.oneof({ weight: 30, arbitrary: ordinary[name] }, { weight: 1, arbitrary: strange })),
      fc.double({ min: 0, max: 1.2, noNaN: true }),
      (message, share) => {
        const expected = bytesOf(message);
        const target = Buffer.alloc(from + Math.ceil(share * (expected?.length ?? 1000)));
        const end = encode(target, from, message);
        if (end === -1) return;
        expect(expected && target.subarray(from, end).equals(expected)).toBe(true);
      },
    ),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 20_000 : 300 },
  );
});

test("a message of another type, a plain object and one with unknown fields are left alone", () => {
  const target = Buffer.alloc(100);
  const unknown = Object.assign(create(every) as Message, {
    $unknown: [{ no: 9, wireType: 0, data: Uint8Array.of(1) }],
  });
  for (const message of [create(typeOf("Nothing")), { int32: 1 }, unknown]) expect(encode(target, 0, message)).toBe(-1);
});

test("types with fields of a rarer kind are left to protobuf-es", () => {
  for (const name of Object.keys(rare)) expect([name, messageEncoderOf(typeOf(name))]).toEqual([name, undefined]);
  expect(messageEncoderOf(typeOf("Nothing"))).toBeDefined();
});
