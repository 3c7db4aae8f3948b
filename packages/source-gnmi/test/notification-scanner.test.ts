import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type TypedValue, TypedValueSchema } from "../src/gen/gnmi/gnmi_pb.ts";
import { scalarText } from "../src/notification-scanner.ts";
import { readValue } from "../src/typed-value.ts";

function quick(value: TypedValue["value"]): string | undefined {
  const bytes = Buffer.from(toBinary(TypedValueSchema, create(TypedValueSchema, { value } as never)));
  return scalarText(bytes, 0, bytes.length);
}

const int = (value: bigint) => ({ case: "intVal", value }) as const;
const json = (text: string) => ({ case: "jsonVal", value: Buffer.from(text) }) as const;

test.each([
  int(0n),
  int(-1n),
  int(-128n),
  int(-(2n ** 53n - 1n)),
  int(2n ** 53n - 1n),
  { case: "uintVal", value: 300n },
  { case: "boolVal", value: false },
  { case: "stringVal", value: 'a"\n' },
  json("-0"),
  json("18446744073709551615"),
  json("1.50e+3"),
  json('"10.0.0.1/8 ~"'),
  json("null"),
  { case: "jsonIetfVal", value: Buffer.from('"42"') },
] as const)("takes %o without a message, as the message would have it", (value) => {
  expect(quick(value as never)).toBe(
    (readValue(create(TypedValueSchema, { value } as never)) as { text: string }).text,
  );
});

test.each([
  int(-(2n ** 53n)),
  int(-(2n ** 63n)),
  int(2n ** 53n),
  json(" 1"),
  json("01"),
  json("1."),
  json("+1"),
  json("True"),
  json('"\\u0041"'),
  json('"é"'),
  json('"a'),
  json(""),
  json("{}"),
  json("[1]"),
  json(`"${"x".repeat(200)}"`),
] as const)("leaves %o to the generated code", (value) => {
  expect(quick(value)).toBeUndefined();
});

test("whatever it takes, the generated code reads the same", () => {
  const text = fc.oneof(
    fc.json({ maxDepth: 0 }),
    fc.double().map(String),
    fc.stringMatching(/^[-+"eE.0-9tfn\\ ]{0,8}$/),
    fc.string().map((each) => `"${each}"`),
  );
  const value = fc.oneof(
    fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).map(int),
    fc.integer().map((each) => int(BigInt(each))),
    text.map(json),
  );
  let taken = 0;
  fc.assert(
    fc.property(value, (each) => {
      const got = quick(each);
      if (got === undefined) return;
      taken++;
      expect(readValue(create(TypedValueSchema, { value: each }))).toEqual({ text: got, type: undefined });
    }),
    { numRuns: 3_000 },
  );
  expect(taken).toBeGreaterThan(500);
});
