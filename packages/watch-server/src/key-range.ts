import { type Bytes, compareBytes, copyBytes, prefixEnd } from "./bytes.ts";
import { StoreError } from "./store-error.ts";

/** Which keys: all in [start, end), or all that begin with `prefix`, or all there are. */
export interface KeyRange {
  /** Inclusive. */
  readonly start?: Bytes;
  /** Exclusive. Empty or undefined: no end. */
  readonly end?: Bytes;
  /** Not together with `start` or `end`. */
  readonly prefix?: Bytes;
}

/** A range as the store works with it. */
export interface Span {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/** @throws StoreError `ARGUMENT_INVALID` for a prefix together with a start or an end. */
export function toSpan(range: KeyRange = {}): Span {
  // Copies: a span outlives the call, and a view would keep, and send to other threads, all that it is a view of.
  const start = copyBytes(range.start ?? "");
  const end = copyBytes(range.end ?? "");
  const prefix = copyBytes(range.prefix ?? "");
  if (prefix.length > 0) {
    if (start.length > 0 || end.length > 0) {
      throw new StoreError("ARGUMENT_INVALID", "a range is either a prefix or start and end, got both");
    }
    return { start: prefix, end: prefixEnd(prefix) };
  }
  return { start, end: end.length === 0 ? undefined : end };
}

export function isWhole(span: Span): boolean {
  return span.start.length === 0 && span.end === undefined;
}

export function contains(span: Span, key: Uint8Array): boolean {
  return compareBytes(key, span.start) >= 0 && (span.end === undefined || compareBytes(key, span.end) < 0);
}
