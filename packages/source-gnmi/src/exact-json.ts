import { GnmiError } from "./gnmi-error.ts";

/** A number whose digits JavaScript's numbers cannot hold, as it was written. */
export interface ExactNumber {
  readonly rawJSON: string;
}

/** What JSON text says. Objects have no prototype's members; the order of members is that of the text. */
export type Json = null | boolean | number | string | ExactNumber | readonly Json[] | { readonly [name: string]: Json };

export type JsonObject = { readonly [name: string]: Json };

// ES2026; every Node that runs this has it.
const RawJson = JSON as unknown as {
  rawJSON(text: string): ExactNumber;
  isRawJSON(value: unknown): value is ExactNumber;
};

type Reviver = (this: unknown, name: string, value: unknown, context: { readonly source?: string }) => unknown;

const keepDigits: Reviver = (_, value, { source }) =>
  typeof value === "number" && source !== undefined && String(value) !== source ? RawJson.rawJSON(source) : value;

/** Reads JSON text without rounding a number. @throws {GnmiError} `VALUE_INVALID`. */
export function parseExactJson(text: string): Json {
  try {
    return JSON.parse(text, keepDigits as Parameters<typeof JSON.parse>[1]) as Json;
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep(error);
    const what = error instanceof Error ? error.message : String(error);
    throw new GnmiError("VALUE_INVALID", `the text is not JSON: ${what}`, { cause: error });
  }
}

/**
 * The same value, written without spaces, and every number with the digits it came with.
 *
 * @throws {GnmiError} `VALUE_INVALID` where it is too deep.
 */
export function formatExactJson(value: Json): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw error instanceof RangeError ? tooDeep(error) : error;
  }
}

function tooDeep(cause: RangeError): GnmiError {
  return new GnmiError("VALUE_INVALID", `the JSON is deeper than can be read (${cause.message})`, { cause });
}

export function isExactNumber(value: Json): value is ExactNumber {
  return RawJson.isRawJSON(value);
}

export function isJsonObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !RawJson.isRawJSON(value);
}

/** A number with exactly these digits. */
export function exactNumber(digits: string): Json {
  const value = Number(digits);
  return String(value) === digits ? value : RawJson.rawJSON(digits);
}
