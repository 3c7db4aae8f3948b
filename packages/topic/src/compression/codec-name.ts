import { TopicError } from "../topic-error.ts";

/** A codec by name, or the number of a custom one in [10_000, 19_999]. */
export type CodecName = "raw" | "gzip" | "lzop" | "zstd" | number;

// topic.proto, Codec.
const numbers = { raw: 1, gzip: 2, lzop: 3, zstd: 4 } as const;
const names: Readonly<Record<number, CodecName>> = { 1: "raw", 2: "gzip", 3: "lzop", 4: "zstd" };

/** The number on the wire. @throws {TopicError} `OPTIONS_INVALID` */
export function codecNumber(name: CodecName): number {
  if (typeof name === "number") {
    if (Number.isInteger(name) && name >= 10_000 && name <= 19_999) return name;
    throw new TopicError("OPTIONS_INVALID", `a custom codec must be a whole number in [10000, 19999], got ${name}`);
  }
  const number = numbers[name] as number | undefined;
  if (number !== undefined) return number;
  throw new TopicError("OPTIONS_INVALID", `a codec is raw, gzip, lzop, zstd or a number, got ${String(name)}`);
}

export function codecName(number: number): CodecName {
  return names[number] ?? number;
}
