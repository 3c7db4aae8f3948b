// Reads back the frames that FrameBuilder made, for the rare cases in which a frame cannot be sent again as it is.

import { type SeqNo, toSeqNo } from "./seq-no.ts";
import { varintLength, writeVarint } from "./varint.ts";

/** One message within a frame. */
export interface EncodedMessage {
  readonly seqNo: SeqNo;
  /** The encoded fields after the sequence number: a view into the frame. */
  readonly rest: Uint8Array;
}

class Cursor {
  at = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  varint(): SeqNo {
    let value = 0;
    let scale = 1;
    for (let n = 0; n < 7; n++) {
      const byte = this.bytes[this.at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    let big = BigInt(value);
    for (let shift = 49n; ; shift += 7n) {
      const byte = this.bytes[this.at++] as number;
      big += BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return toSeqNo(big);
    }
  }
}

/** Skips the header of a frame. */
function open(frame: Uint8Array): Cursor {
  const cursor = new Cursor(frame);
  cursor.at = 1;
  cursor.varint();
  return cursor;
}

/** The messages of a frame from number `skip` on. */
export function messagesOf(frame: Uint8Array, skip = 0): EncodedMessage[] {
  const cursor = open(frame);
  const messages: EncodedMessage[] = [];
  for (let n = 0; frame[cursor.at] === 0x0a; n++) {
    cursor.at++;
    const length = Number(cursor.varint());
    const end = cursor.at + length;
    if (n >= skip) {
      cursor.at++;
      const seqNo = cursor.varint();
      messages.push({ seqNo, rest: frame.subarray(cursor.at, end) });
    }
    cursor.at = end;
  }
  return messages;
}

/** The same frame without its first messages. */
export function withoutFirst(frame: Uint8Array, count: number): Uint8Array {
  const cursor = open(frame);
  for (let n = 0; n < count; n++) {
    cursor.at++;
    cursor.at += Number(cursor.varint());
  }
  const length = frame.length - cursor.at;
  const header = 1 + varintLength(length);
  const shorter = new Uint8Array(header + length);
  shorter[0] = frame[0] as number;
  writeVarint(shorter, 1, length);
  shorter.set(frame.subarray(cursor.at), header);
  return shorter;
}

/** A message as its fields, where somebody wants it back. */
export interface DecodedMessage {
  readonly createdAtMs: number;
  readonly data: Uint8Array;
  readonly uncompressedBytes: number;
  readonly metadata: readonly (readonly [key: string, value: Uint8Array])[];
}

export function decodeMessage(rest: Uint8Array): DecodedMessage {
  const cursor = new Cursor(rest);
  const chunk = () => {
    const length = Number(cursor.varint());
    const bytes = rest.subarray(cursor.at, cursor.at + length);
    cursor.at += length;
    return bytes;
  };
  let createdAtMs = 0;
  let data: Uint8Array = new Uint8Array(0);
  let uncompressedBytes = 0;
  const metadata: [string, Uint8Array][] = [];
  while (cursor.at < rest.length) {
    const field = (rest[cursor.at++] as number) >> 3;
    if (field === 2) createdAtMs = decodeStamp(chunk());
    else if (field === 3) data = chunk();
    else if (field === 4) uncompressedBytes = Number(cursor.varint());
    else metadata.push(decodeItem(chunk()));
  }
  return { createdAtMs, data, uncompressedBytes, metadata };
}

function decodeStamp(bytes: Uint8Array): number {
  const cursor = new Cursor(bytes);
  let ms = 0;
  while (cursor.at < bytes.length) {
    const isSeconds = bytes[cursor.at++] === 0x08;
    const value = cursor.varint();
    ms += isSeconds ? Number(BigInt.asIntN(64, BigInt(value))) * 1000 : Number(value) / 1_000_000;
  }
  return ms;
}

function decodeItem(bytes: Uint8Array): [string, Uint8Array] {
  const cursor = new Cursor(bytes);
  let key = "";
  let value: Uint8Array = new Uint8Array(0);
  while (cursor.at < bytes.length) {
    const isKey = bytes[cursor.at++] === 0x0a;
    const length = Number(cursor.varint());
    const chunk = bytes.subarray(cursor.at, cursor.at + length);
    cursor.at += length;
    if (isKey) key = Buffer.from(chunk).toString("utf8");
    else value = chunk;
  }
  return [key, value];
}
