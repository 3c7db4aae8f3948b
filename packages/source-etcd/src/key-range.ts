import { createHash } from "node:crypto";
import { EtcdError } from "./etcd-error.ts";

/** Keys from `start` on and before `end`, as etcd writes them: an `end` of one zero byte is the end of all keys. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

const toTheEnd = Uint8Array.of(0);
const encoder = new TextEncoder();

/** UTF-8 for text, and a copy of bytes, so that a caller can go on using his own. */
export function keyBytes(key: string | Uint8Array): Uint8Array {
  return typeof key === "string" ? encoder.encode(key) : Uint8Array.from(key);
}

/** Every key that begins with `prefix`; with an empty one every key there is. */
export function prefixRange(prefix: Uint8Array): KeyRange {
  if (prefix.length === 0) return { start: toTheEnd, end: toTheEnd };
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return { start: prefix, end: toTheEnd };
  // Not slice(): that of a Buffer is a view.
  const end = Uint8Array.from(prefix.subarray(0, length));
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return { start: prefix, end };
}

/**
 * Keys from `start` on and before `end`; without an `end`, to the last key there is.
 *
 * @throws {EtcdError} `OPTIONS_INVALID` when no key can be between them.
 */
export function keyRange(start: Uint8Array, end: Uint8Array | undefined): KeyRange {
  const first = start.length === 0 ? toTheEnd : start;
  if (end === undefined) return { start: first, end: toTheEnd };
  if (Buffer.compare(first, end) >= 0) {
    throw new EtcdError(
      "OPTIONS_INVALID",
      `range.end must come after range.start, got ${keyText(start)} and ${keyText(end)}`,
    );
  }
  return { start: first, end };
}

/** The first key after `key`. */
export function nextKey(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** A digest of what is followed, for `Source.scope`. */
export function rangeDigest(range: KeyRange): string {
  const hash = createHash("sha256").update(`${range.start.length}:`).update(range.start).update(range.end);
  return `etcd:${hash.digest("hex").slice(0, 32)}`;
}

/** A key for people: text where it is text, otherwise with `\x` escapes. */
export function keyText(key: Uint8Array): string {
  const text = new TextDecoder().decode(key);
  if (!/[\p{Cc}\ufffd]/u.test(text)) return text;
  let escaped = "";
  for (const byte of key) {
    escaped += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return escaped;
}
