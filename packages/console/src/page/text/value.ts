import { utf8 } from "./bytes.ts";
import { prettyJson } from "./json.ts";

/** How a value is shown. `formatted` is for JSON, `hex` for everything. */
export type ValueFormat = "formatted" | "text" | "hex";

/** Control characters that text does not have: with one of them it is data that happens to be valid UTF-8. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const control = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/** Remembers the answer per value: the page asks again with every picture, and values can be large. */
function perValue<T>(compute: (value: Uint8Array) => T): (value: Uint8Array) => T {
  const known = new WeakMap<Uint8Array, { readonly result: T }>();
  return (value) => {
    const found = known.get(value);
    if (found !== undefined) return found.result;
    const result = compute(value);
    known.set(value, { result });
    return result;
  };
}

/** The value as text if that is what it looks like. */
export const textOf = perValue((value): string | undefined => {
  const text = utf8(value);
  return text === undefined || control.test(text) ? undefined : text;
});

/** The formats that say something about this value, the most telling one first. */
export const formatsOf = perValue((value): readonly ValueFormat[] => {
  const text = textOf(value);
  if (text === undefined) return ["hex"];
  return prettyJson(text) === undefined ? ["text", "hex"] : ["formatted", "text", "hex"];
});

/** The value as lines in a format that `formatsOf` gave for it. */
export function linesOf(value: Uint8Array, format: ValueFormat, maxHexBytes = 65_536): string {
  if (format === "hex") return hexDump(value, maxHexBytes);
  const text = textOf(value) ?? "";
  return format === "formatted" ? (prettyJson(text) ?? text) : text;
}

/** `00000008  68 65 6c 6c 6f …  hello`, eight bytes a line, which fits on a phone. */
export function hexDump(bytes: Uint8Array, maxBytes: number): string {
  const lines: string[] = [];
  const shown = bytes.subarray(0, maxBytes);
  for (let at = 0; at < shown.length; at += 8) {
    const row = shown.subarray(at, at + 8);
    const hex = Array.from(row, (byte) => byte.toString(16).padStart(2, "0"));
    const text = Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
    lines.push(`${at.toString(16).padStart(8, "0")}  ${hex.join(" ").padEnd(23)}  ${text.join("")}`);
  }
  if (shown.length < bytes.length) lines.push(`… ${(bytes.length - shown.length).toLocaleString("en")} more bytes`);
  return lines.join("\n");
}

/** The beginning of a value. */
export interface Preview {
  readonly text: string;
  readonly isBinary: boolean;
}

const previewLength = 160;

/** The beginning of a value on one line, for a table cell. */
export const previewOf = perValue((value): Preview => {
  // A character cut in two at the end is no sign of binary data: a few bytes less decode.
  const head = value.subarray(0, previewLength * 4);
  for (let less = 0; less <= Math.min(3, head.length); less++) {
    if (less > 0 && head.length === value.length) break;
    const text = textOf(head.subarray(0, head.length - less));
    if (text === undefined) continue;
    const line = text
      .slice(0, previewLength * 2)
      .replace(/\s+/g, " ")
      .trim();
    const isCut = line.length > previewLength || head.length < value.length;
    return { text: isCut ? `${line.slice(0, previewLength)}…` : line, isBinary: false };
  }
  const hex = Array.from(value.subarray(0, 24), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { text: value.length > 24 ? `${hex} …` : hex, isBinary: true };
});
