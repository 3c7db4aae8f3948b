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
