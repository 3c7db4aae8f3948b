import { create } from "@bufbuild/protobuf";
import { formatExactJson, isExactNumber, isJsonObject, type Json, parseExactJson } from "./exact-json.ts";
import { Encoding, type TypedValue, TypedValueSchema, type Update } from "./gen/gnmi/gnmi_pb.ts";
import { GnmiError } from "./gnmi-error.ts";

/** What is behind a JSON text that does not show it: `bytes` and `proto` are base64 there, `any` has a type and base64. */
export type LeafType = "bytes" | "proto" | "any" | "ascii" | "double";

/** A value as it is kept: JSON text, and what that does not say. */
export interface LeafValue {
  readonly text: string;
  readonly type: LeafType | undefined;
}

/** Either a leaf or what is below a node. */
export type ReadValue = LeafValue | { readonly subtree: Json };

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * What an update says.
 *
 * @throws {GnmiError} `VALUE_INVALID`.
 */
export function readUpdate({ val, value }: Update): ReadValue {
  if (val !== undefined) return readValue(val);
  // Devices before gNMI 0.3.
  if (value !== undefined) return readOldValue(value.value, value.type);
  throw new GnmiError("VALUE_INVALID", "the update has no value");
}

/** @throws {GnmiError} `VALUE_INVALID`. */
export function readValue({ value }: TypedValue): ReadValue {
  switch (value.case) {
    case "stringVal":
      return leaf(JSON.stringify(value.value));
    case "intVal":
    case "uintVal":
      return leaf(String(value.value));
    case "boolVal":
      return leaf(value.value ? "true" : "false");
    case "doubleVal":
      return readDouble(value.value, String(value.value));
    case "floatVal":
      return readDouble(value.value, shortestFloat(value.value));
    case "decimalVal":
      return leaf(decimalText(value.value.digits, value.value.precision));
    case "leaflistVal":
      return leaf(`[${value.value.element.map((each) => textOf(readValue(each))).join(",")}]`);
    case "jsonVal":
    case "jsonIetfVal":
      return readJson(value.value);
    case "bytesVal":
      return { text: base64Text(value.value), type: "bytes" };
    case "protoBytes":
      return { text: base64Text(value.value), type: "proto" };
    case "anyVal":
      return {
        text: `{"@type":${JSON.stringify(value.value.typeUrl)},"value":${base64Text(value.value.value)}}`,
        type: "any",
      };
    case "asciiVal":
      return { text: JSON.stringify(value.value), type: "ascii" };
    case undefined:
      throw new GnmiError("VALUE_INVALID", "the value is of a kind that gNMI 0.10 does not have, or missing");
    default:
      return value satisfies never;
  }
}

function leaf(text: string): LeafValue {
  return { text, type: undefined };
}

function readOldValue(bytes: Uint8Array, encoding: Encoding): ReadValue {
  if (encoding === Encoding.JSON || encoding === Encoding.JSON_IETF) return readJson(bytes);
  if (encoding === Encoding.ASCII) return { text: JSON.stringify(decode(bytes)), type: "ascii" };
  return { text: base64Text(bytes), type: encoding === Encoding.PROTO ? "proto" : "bytes" };
}

function readJson(bytes: Uint8Array): ReadValue {
  const value = parseExactJson(decode(bytes));
  return isSubtree(value) ? { subtree: value } : leaf(formatExactJson(value));
}

/** Objects and lists of objects have leaves of their own. */
export function isSubtree(value: Json): boolean {
  return isJsonObject(value) || (Array.isArray(value) && value.length > 0 && value.every(isJsonObject));
}

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new GnmiError("VALUE_INVALID", "the text is not UTF-8", { cause: error });
  }
}

function textOf(value: ReadValue): string {
  if ("subtree" in value) return formatExactJson(value.subtree);
  return value.text;
}

function base64Text(bytes: Uint8Array): string {
  return `"${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")}"`;
}

function readDouble(value: number, digits: string): LeafValue {
  // JSON has no words for these; RFC 7951 has them as text.
  return Number.isFinite(value) ? leaf(Object.is(value, -0) ? "-0" : digits) : { text: `"${value}"`, type: "double" };
}

/** The fewest digits that name this 32-bit number: 0.1, not 0.10000000149011612. */
function shortestFloat(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

function decimalText(digits: bigint, precision: number): string {
  if (precision === 0) return String(digits);
  // YANG's decimal64 has 18 at most; a larger number would only make a long text.
  if (precision > 18) throw new GnmiError("VALUE_INVALID", `the precision of a decimal is ${precision}, more than 18`);
  const text = String(digits < 0n ? -digits : digits).padStart(precision + 1, "0");
  return `${digits < 0n ? "-" : ""}${text.slice(0, -precision)}.${text.slice(-precision)}`;
}

/** How values are sent. */
export type EncodingName = "json" | "json_ietf" | "proto" | "bytes" | "ascii";

const encodings = {
  json: Encoding.JSON,
  json_ietf: Encoding.JSON_IETF,
  proto: Encoding.PROTO,
  bytes: Encoding.BYTES,
  ascii: Encoding.ASCII,
} as const satisfies Record<EncodingName, Encoding>;

export function encodingOf(name: EncodingName): Encoding {
  return encodings[name];
}

export function encodingName(encoding: Encoding): EncodingName | undefined {
  return (Object.keys(encodings) as EncodingName[]).find((name) => encodings[name] === encoding);
}

/**
 * A value as it goes to a device. Without a schema nobody knows whether a number is signed: with `proto` a whole number
 * from 0 on is unsigned. Where that is wrong, send JSON or a `TypedValue` of your own.
 *
 * @throws {GnmiError} `VALUE_INVALID`.
 */
export function writeValue(value: Json | Uint8Array, encoding: EncodingName): TypedValue {
  if (value instanceof Uint8Array) {
    if (encoding === "bytes" || encoding === "proto") return typed({ case: "bytesVal", value });
    return writeValue(Buffer.from(value).toString("base64"), encoding);
  }
  switch (encoding) {
    case "json":
      return typed({ case: "jsonVal", value: Buffer.from(formatExactJson(value)) });
    case "json_ietf":
      return typed({ case: "jsonIetfVal", value: Buffer.from(formatExactJson(value)) });
    case "ascii":
      return typed({ case: "asciiVal", value: typeof value === "string" ? value : formatExactJson(value) });
    case "bytes":
      return typed({
        case: "bytesVal",
        value: Buffer.from(typeof value === "string" ? value : formatExactJson(value)),
      });
    case "proto":
      return writeScalar(value);
    default:
      return encoding satisfies never;
  }
}

function writeScalar(value: Json): TypedValue {
  if (typeof value === "string") return typed({ case: "stringVal", value });
  if (typeof value === "boolean") return typed({ case: "boolVal", value });
  if (typeof value === "number" || (value !== null && isExactNumber(value))) {
    const digits = formatExactJson(value);
    if (!/^-?\d+$/.test(digits)) return typed({ case: "doubleVal", value: Number(digits) });
    const whole = BigInt(digits);
    if (whole < -(2n ** 63n) || whole >= 2n ** 64n) {
      if (typeof value === "number") return typed({ case: "doubleVal", value });
      throw new GnmiError("VALUE_INVALID", `${digits} has no exact form in this encoding: send it as JSON`);
    }
    return typed(whole < 0n ? { case: "intVal", value: whole } : { case: "uintVal", value: whole });
  }
  if (
    Array.isArray(value) &&
    value.every((each) => !isSubtree(each as Json) && !Array.isArray(each) && each !== null)
  ) {
    return typed({ case: "leaflistVal", value: { element: value.map(writeScalar) } as never });
  }
  const what = "an object, a null or a nested list has no form in this encoding: send it as JSON, or its leaves";
  throw new GnmiError("VALUE_INVALID", what);
}

function typed(value: TypedValue["value"]): TypedValue {
  const message = create(TypedValueSchema);
  message.value = value.case === "leaflistVal" ? listOf(value.value.element) : value;
  return message;
}

function listOf(element: readonly TypedValue[]): TypedValue["value"] {
  return create(TypedValueSchema, { value: { case: "leaflistVal", value: { element: [...element] } } }).value;
}
