import { type Int64, int64Length, writeInt64 } from "./int64.ts";
import type { MetadataItem } from "./metadata.ts";
import { TimestampWriter } from "./timestamp.ts";
import type { TransactionRef } from "./write-request.ts";

/** Messages to write: one array a field, one element a message. */
export interface WriteRequestColumns {
  readonly count: number;
  /** Integers; above 2^53 as bigints. */
  readonly seqNos: ArrayLike<Int64>;
  /** Milliseconds since the epoch; NaN: not set. */
  readonly createdAtMs: ArrayLike<number>;
  readonly data: ArrayLike<Uint8Array>;
  /** Bytes before compression. @default the length of `data` */
  readonly uncompressedBytes?: ArrayLike<number>;
  readonly metadata?: ArrayLike<readonly MetadataItem[] | undefined>;
  readonly codec: number;
  readonly tx?: TransactionRef | undefined;
}

const utf8 = new TextEncoder();
const stamp = new TimestampWriter();
/** Lengths of the messages, between measuring and writing. */
let lengths = new Uint32Array(1024);

/** A field of bytes, which is not there when it is empty. */
const bytesField = (length: number): number => (length === 0 ? 0 : 1 + int64Length(length) + length);
const intField = (value: Int64): number => (value === 0 ? 0 : 1 + int64Length(value));

/**
 * One `StreamWriteMessage.FromClient` with a `WriteRequest`, in one allocation of its exact size; byte for byte what
 * protobuf-es makes of the same messages.
 */
export function encodeWriteRequest(columns: WriteRequestColumns): Uint8Array {
  const { count, seqNos, createdAtMs, data, uncompressedBytes, metadata, codec, tx } = columns;
  if (lengths.length < count) lengths = new Uint32Array(count * 2);
  let body = 0;
  for (let n = 0; n < count; n++) {
    const payload = (data[n] as Uint8Array).length;
    let length = bytesField(payload) + intField(seqNos[n] as Int64);
    const created = createdAtMs[n] as number;
    if (created === created) {
      stamp.set(created);
      length += 2 + stamp.length;
    }
    length += intField(uncompressedBytes === undefined ? payload : (uncompressedBytes[n] as number));
    const items = metadata?.[n];
    if (items !== undefined) length += metadataLength(items);
    lengths[n] = length;
    body += 1 + int64Length(length) + length;
  }
  const txBytes = tx === undefined ? undefined : encodeTransaction(tx);
  body += intField(codec) + (txBytes === undefined ? 0 : 1 + int64Length(txBytes.length) + txBytes.length);
  const frame = Buffer.allocUnsafeSlow(1 + int64Length(body) + body);
  frame[0] = 0x12;
  let at = writeInt64(frame, 1, body);
  for (let n = 0; n < count; n++) {
    frame[at++] = 0x0a;
    at = writeInt64(frame, at, lengths[n] as number);
    const seqNo = seqNos[n] as Int64;
    if (seqNo !== 0) {
      frame[at++] = 0x08;
      at = writeInt64(frame, at, seqNo);
    }
    const created = createdAtMs[n] as number;
    if (created === created) {
      stamp.set(created);
      frame[at++] = 0x12;
      frame[at++] = stamp.length;
      at = stamp.writeTo(frame, at);
    }
    const bytes = data[n] as Uint8Array;
    if (bytes.length > 0) {
      frame[at++] = 0x1a;
      at = writeInt64(frame, at, bytes.length);
      frame.set(bytes, at);
      at += bytes.length;
    }
    const uncompressed = uncompressedBytes === undefined ? bytes.length : (uncompressedBytes[n] as number);
    if (uncompressed !== 0) {
      frame[at++] = 0x20;
      at = writeInt64(frame, at, uncompressed);
    }
    const items = metadata?.[n];
    if (items !== undefined) at = writeMetadata(frame, at, items);
  }
  if (codec !== 0) {
    frame[at++] = 0x10;
    at = writeInt64(frame, at, codec);
  }
  if (txBytes !== undefined) {
    frame[at++] = 0x1a;
    at = writeInt64(frame, at, txBytes.length);
    frame.set(txBytes, at);
  }
  return frame;
}

const itemLength = (item: MetadataItem): number =>
  bytesField(Buffer.byteLength(item.key)) + bytesField(item.value.length);

function metadataLength(items: readonly MetadataItem[]): number {
  let length = 0;
  for (const item of items) {
    const inner = itemLength(item);
    length += 1 + int64Length(inner) + inner;
  }
  return length;
}

function writeMetadata(frame: Buffer, start: number, items: readonly MetadataItem[]): number {
  let at = start;
  for (const item of items) {
    frame[at++] = 0x3a;
    at = writeInt64(frame, at, itemLength(item));
    const keyBytes = Buffer.byteLength(item.key);
    if (keyBytes > 0) {
      frame[at++] = 0x0a;
      at = writeInt64(frame, at, keyBytes);
      at += frame.write(item.key, at, keyBytes, "utf8");
    }
    if (item.value.length > 0) {
      frame[at++] = 0x12;
      at = writeInt64(frame, at, item.value.length);
      frame.set(item.value, at);
      at += item.value.length;
    }
  }
  return at;
}

/** An encoded `TransactionIdentity`. */
export function encodeTransaction(tx: TransactionRef): Uint8Array {
  const id = utf8.encode(tx.id);
  const session = utf8.encode(tx.session);
  const bytes = new Uint8Array(bytesField(id.length) + bytesField(session.length));
  let at = 0;
  for (const [tag, text] of [[0x0a, id] as const, [0x12, session] as const]) {
    if (text.length === 0) continue;
    bytes[at++] = tag;
    at = writeInt64(bytes, at, text.length);
    bytes.set(text, at);
    at += text.length;
  }
  return bytes;
}
