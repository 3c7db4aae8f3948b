import { int64Length, writeInt64 } from "./int64.ts";
import { type Scanner, wire } from "./scanner.ts";
import { decodeText } from "./text.ts";

/** One item of a message's metadata. The value is a view of the frame. */
export interface MetadataItem {
  readonly key: string;
  readonly value: Uint8Array;
}

const none: readonly MetadataItem[] = [];

/** Reads the item that ends at `end`. */
export function readMetadataItem(scanner: Scanner, end: number): MetadataItem {
  let key = "";
  let value = scanner.bytes.subarray(end, end);
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    const field = tag >>> 3;
    if (field !== 1 && field !== 2) {
      scanner.skip(tag, end);
      continue;
    }
    scanner.expect(tag, wire.bytes);
    const stop = scanner.span(end);
    if (field === 1) key = decodeText(scanner.bytes, scanner.at, stop);
    else value = scanner.bytes.subarray(scanner.at, stop);
    scanner.at = stop;
  }
  return { key, value };
}

/** Reads the items in fields `field` of the message body up to `end`, which is known to be well-formed. */
export function readMetadata(scanner: Scanner, end: number, field: number): readonly MetadataItem[] {
  let items: MetadataItem[] | undefined;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag >>> 3 !== field) {
      scanner.skip(tag, end);
      continue;
    }
    const stop = scanner.span(end);
    items ??= [];
    items.push(readMetadataItem(scanner, stop));
  }
  return items ?? none;
}

/** The bytes of text in UTF-8, or of bytes. */
const lengthOf = (value: string | Uint8Array): number =>
  typeof value === "string" ? Buffer.byteLength(value) : value.length;
/** An empty field is not on the wire. */
const fieldLength = (bytes: number): number => (bytes === 0 ? 0 : 1 + int64Length(bytes) + bytes);

/** The items as the fields `metadata_items` (7) of a message to write. */
export function encodeMetadataItems(items: readonly (readonly [string, string | Uint8Array])[]): Uint8Array {
  let total = 0;
  for (const [key, value] of items) {
    const item = fieldLength(Buffer.byteLength(key)) + fieldLength(lengthOf(value));
    total += 1 + int64Length(item) + item;
  }
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  for (const [key, value] of items) {
    const keyBytes = Buffer.byteLength(key);
    const valueBytes = lengthOf(value);
    bytes[at++] = 0x3a;
    at = writeInt64(bytes, at, fieldLength(keyBytes) + fieldLength(valueBytes));
    at = writeField(bytes, at, 0x0a, key, keyBytes);
    at = writeField(bytes, at, 0x12, value, valueBytes);
  }
  return bytes;
}

function writeField(bytes: Buffer, start: number, tag: number, value: string | Uint8Array, length: number): number {
  if (length === 0) return start;
  bytes[start] = tag;
  const at = writeInt64(bytes, start + 1, length);
  if (typeof value === "string") bytes.write(value, at, length, "utf8");
  else bytes.set(value, at);
  return at + length;
}
