import { int64Length, writeInt64 } from "./int64.ts";
import { Scanner } from "./scanner.ts";
import { TimestampWriter } from "./timestamp.ts";
import type { WriteColumns } from "./write-columns.ts";

/** Messages of one write request, or some of them, as they are given to readers. */
export interface StoredBatch {
  /** What was received; payloads are copied from its frame. */
  readonly messages: WriteColumns;
  /** The first message to give. @default 0 */
  readonly from?: number;
  /** The message before which to stop. @default all */
  readonly to?: number;
  /** The offset of message `from`; the others follow by 1. */
  readonly firstOffset: number;
  /** UTF-8. */
  readonly producerId: Uint8Array;
  /** The batch's encoded `write_session_meta`, from `encodeSessionMeta`. */
  readonly sessionMeta: Uint8Array;
  readonly codec: number;
  /** Milliseconds since the epoch. */
  readonly writtenAtMs: number;
  /** Of all messages, in UTF-8; empty: none. */
  readonly messageGroupId: Uint8Array;
}

const stamp = new TimestampWriter();
const scanner = new Scanner(new Uint8Array(0));
const utf8 = new TextEncoder();
let lengths = new Uint32Array(1024);

const bytesField = (length: number): number => (length === 0 ? 0 : 1 + int64Length(length) + length);
/** Up to here a loop is faster than the call of `set`. */
const loopBytes = 24;
/** `FromServer.status` = SUCCESS. */
const successField = [0x08, 0x80, 0xb5, 0x18] as const;

/** What an encoded write session's metadata is in a batch; made once a session. */
export function encodeSessionMeta(meta: Readonly<Record<string, string>>): Uint8Array {
  const parts = Object.entries(meta).map(([key, value]) => [utf8.encode(key), utf8.encode(value)] as const);
  // Both fields of an entry are always written.
  const entryLength = (key: Uint8Array, value: Uint8Array) =>
    2 + int64Length(key.length) + key.length + int64Length(value.length) + value.length;
  const total = parts.reduce((sum, [key, value]) => sum + bytesField(entryLength(key, value)), 0);
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const [key, value] of parts) {
    bytes[at++] = 0x1a;
    at = writeInt64(bytes, at, entryLength(key, value));
    bytes[at++] = 0x0a;
    at = writeInt64(bytes, at, key.length);
    bytes.set(key, at);
    at += key.length;
    bytes[at++] = 0x12;
    at = writeInt64(bytes, at, value.length);
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}

/**
 * One `StreamReadMessage.FromServer` with a `ReadResponse` of one partition, in one allocation of its exact size; byte for
 * byte what protobuf-es writes. `bytesSize` is what it costs in credit; undefined: the length of the frame's
 * `partition_data`, which `readResponseBytes` finds out beforehand.
 */
export function encodeReadResponse(
  partitionSessionId: number,
  batches: readonly StoredBatch[],
  bytesSize?: number,
): Uint8Array {
  const batchLengths = batches.map(measureHead);
  let place = 0;
  const idLength = partitionSessionId === 0 ? 0 : 1 + int64Length(partitionSessionId);
  let partition = idLength;
  for (const [index, batch] of batches.entries()) {
    const count = countOf(batch);
    if (lengths.length < place + count) {
      const larger = new Uint32Array((place + count) * 2);
      larger.set(lengths);
      lengths = larger;
    }
    let length = batchLengths[index] as number;
    for (let n = 0; n < count; n++) {
      const message = measureMessage(batch, n);
      lengths[place++] = message;
      length += 1 + int64Length(message) + message;
    }
    batchLengths[index] = length;
    partition += 1 + int64Length(length) + length;
  }
  const credit = bytesSize ?? partition;
  const body = 1 + int64Length(partition) + partition + (credit === 0 ? 0 : 1 + int64Length(credit));
  const frame = Buffer.allocUnsafeSlow(successField.length + 1 + int64Length(body) + body);
  frame.set(successField, 0);
  let at: number = successField.length;
  frame[at++] = 0x22;
  at = writeInt64(frame, at, body);
  frame[at++] = 0x0a;
  at = writeInt64(frame, at, partition);
  if (partitionSessionId !== 0) {
    frame[at++] = 0x08;
    at = writeInt64(frame, at, partitionSessionId);
  }
  place = 0;
  for (const [index, batch] of batches.entries()) {
    frame[at++] = 0x12;
    at = writeInt64(frame, at, batchLengths[index] as number);
    const count = countOf(batch);
    const messagesEnd = at + (batchLengths[index] as number) - measureHead(batch);
    // The bodies move from the end of their place to where they belong.
    const shift = canMove(batch, count) ? moveIn(frame, messagesEnd, batch, count) : Number.NaN;
    for (let n = 0; n < count; n++) {
      const length = lengths[place++] as number;
      at =
        shift === shift ? moveMessage(frame, at, batch, n, length, shift) : writeMessage(frame, at, batch, n, length);
    }
    at = writeHead(frame, at, batch);
  }
  if (credit !== 0) {
    frame[at++] = 0x10;
    at = writeInt64(frame, at, credit);
  }
  scanner.bytes = empty;
  return frame;
}

const empty = new Uint8Array(0);

/** What `encodeReadResponse` takes for `bytesSize` of these batches, without encoding them. */
export function readResponseBytes(partitionSessionId: number, batches: readonly StoredBatch[]): number {
  let partition = partitionSessionId === 0 ? 0 : 1 + int64Length(partitionSessionId);
  for (const batch of batches) {
    let length = measureHead(batch);
    const count = countOf(batch);
    for (let n = 0; n < count; n++) {
      const message = measureMessage(batch, n);
      length += 1 + int64Length(message) + message;
    }
    partition += 1 + int64Length(length) + length;
  }
  return partition;
}

const countOf = (batch: StoredBatch): number => (batch.to ?? batch.messages.length) - (batch.from ?? 0);

function measureHead(batch: StoredBatch): number {
  stamp.set(batch.writtenAtMs);
  const codec = batch.codec === 0 ? 0 : 1 + int64Length(batch.codec);
  return bytesField(batch.producerId.length) + batch.sessionMeta.length + codec + 2 + stamp.length;
}

function writeHead(frame: Buffer, start: number, batch: StoredBatch): number {
  let at = writeBytes(frame, start, 0x12, batch.producerId);
  frame.set(batch.sessionMeta, at);
  at += batch.sessionMeta.length;
  if (batch.codec !== 0) {
    frame[at++] = 0x20;
    at = writeInt64(frame, at, batch.codec);
  }
  stamp.set(batch.writtenAtMs);
  frame[at++] = 0x2a;
  frame[at++] = stamp.length;
  return stamp.writeTo(frame, at);
}

function writeBytes(frame: Buffer, start: number, tag: number, bytes: Uint8Array): number {
  if (bytes.length === 0) return start;
  frame[start] = tag;
  const at = writeInt64(frame, start + 1, bytes.length);
  if (bytes.length > loopBytes) frame.set(bytes, at);
  else for (let n = 0; n < bytes.length; n++) frame[at + n] = bytes[n] as number;
  return at + bytes.length;
}

function measureMessage(batch: StoredBatch, n: number): number {
  const { messages } = batch;
  const index = (batch.from ?? 0) + n;
  const offset = batch.firstOffset + n;
  if (messages.isCanonical(index)) {
    const body = messages.bodyEnd(index) - messages.bodyStart(index);
    return body + (offset === 0 ? 0 : 1 + int64Length(offset)) + bytesField(batch.messageGroupId.length);
  }
  const seqNo = messages.seqNo(index);
  const uncompressed = messages.uncompressedBytes(index);
  const created = messages.createdAtStart(index);
  const createdLength = messages.createdAtEnd(index) - created;
  let length =
    bytesField(messages.dataEnd(index) - messages.dataStart(index)) + bytesField(batch.messageGroupId.length);
  if (offset !== 0) length += 1 + int64Length(offset);
  if (seqNo !== 0) length += 1 + int64Length(seqNo);
  if (created !== 0) length += 1 + int64Length(createdLength) + createdLength;
  if (uncompressed !== 0) length += 1 + int64Length(uncompressed);
  if (messages.metadataItems(index) > 0) length += metadata(messages, index, undefined, 0);
  return length;
}

/**
 * Whether the bodies can be copied all at once and then moved: between them is nothing but their lengths, so none is
 * ever overwritten before its turn, as every message is longer in an answer.
 */
function canMove({ messages, from = 0 }: StoredBatch, count: number): boolean {
  if (count === 0) return false;
  let end = messages.bodyStart(from);
  for (let index = from; index < from + count; index++) {
    const start = messages.bodyStart(index);
    const next = messages.bodyEnd(index);
    if (!messages.isCanonical(index)) return false;
    if (index > from && start - end !== 1 + int64Length(next - start)) return false;
    end = next;
  }
  return true;
}

/** Copies all bodies to the end of the messages' place. Returns what is to be added to a place in the source. */
function moveIn(frame: Buffer, messagesEnd: number, { messages, from = 0 }: StoredBatch, count: number): number {
  const start = messages.bodyStart(from);
  const end = messages.bodyEnd(from + count - 1);
  frame.set(messages.frame.subarray(start, end), messagesEnd - (end - start));
  return messagesEnd - end;
}

/**
 * A canonical body has the same fields in the same order as in an answer, with other numbers, all of which take one byte.
 * A move within one buffer costs half of a copy from another.
 */
function moveMessage(frame: Buffer, start: number, batch: StoredBatch, n: number, length: number, shift: number) {
  const { messages } = batch;
  const index = (batch.from ?? 0) + n;
  let at = start;
  frame[at++] = 0x0a;
  at = writeInt64(frame, at, length);
  const offset = batch.firstOffset + n;
  if (offset !== 0) {
    frame[at++] = 0x08;
    at = writeInt64(frame, at, offset);
  }
  const body = messages.bodyStart(index);
  const end = messages.bodyEnd(index);
  frame.copyWithin(at, body + shift, end + shift);
  const moved = at - body;
  if (end > body && frame[at] === 0x08) frame[at] = 0x10;
  const created = messages.createdAtStart(index);
  if (created !== 0) frame[created + moved - 2] = 0x1a;
  const dataEnd = messages.dataEnd(index);
  if (dataEnd !== 0) {
    const data = messages.dataStart(index);
    frame[data + moved - 1 - int64Length(dataEnd - data)] = 0x2a;
  }
  const uncompressed = messages.uncompressedBytes(index);
  if (uncompressed !== 0) frame[end + moved - 1 - int64Length(uncompressed)] = 0x30;
  return writeBytes(frame, at + end - body, 0x3a, batch.messageGroupId);
}

function writeMessage(frame: Buffer, start: number, batch: StoredBatch, n: number, length: number): number {
  const { messages } = batch;
  const source = messages.frame;
  const index = (batch.from ?? 0) + n;
  let at = start;
  frame[at++] = 0x0a;
  at = writeInt64(frame, at, length);
  const offset = batch.firstOffset + n;
  if (offset !== 0) {
    frame[at++] = 0x08;
    at = writeInt64(frame, at, offset);
  }
  const seqNo = messages.seqNo(index);
  if (seqNo !== 0) {
    frame[at++] = 0x10;
    at = writeInt64(frame, at, seqNo);
  }
  const created = messages.createdAtStart(index);
  if (created !== 0) {
    const end = messages.createdAtEnd(index);
    frame[at++] = 0x1a;
    at = writeInt64(frame, at, end - created);
    for (let from = created; from < end; from++) frame[at++] = source[from] as number;
  }
  const from = messages.dataStart(index);
  const bytes = messages.dataEnd(index) - from;
  if (bytes > 0) {
    frame[at++] = 0x2a;
    at = writeInt64(frame, at, bytes);
    frame.set(source.subarray(from, from + bytes), at);
    at += bytes;
  }
  const uncompressed = messages.uncompressedBytes(index);
  if (uncompressed !== 0) {
    frame[at++] = 0x30;
    at = writeInt64(frame, at, uncompressed);
  }
  at = writeBytes(frame, at, 0x3a, batch.messageGroupId);
  if (messages.metadataItems(index) > 0) at += metadata(messages, index, frame, at);
  return at;
}

/** Measures, or copies, the items in field 7 of a received message, which readers get in field 8. */
function metadata(messages: WriteColumns, index: number, frame: Buffer | undefined, start: number): number {
  const end = messages.bodyEnd(index);
  scanner.bytes = messages.frame;
  scanner.at = messages.bodyStart(index);
  let at = start;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag !== 0x3a) {
      scanner.skip(tag, end);
      continue;
    }
    const stop = scanner.span(end);
    const length = stop - scanner.at;
    if (frame === undefined) at += 1 + int64Length(length) + length;
    else {
      frame[at++] = 0x42;
      at = writeInt64(frame, at, length);
      frame.set(messages.frame.subarray(scanner.at, stop), at);
      at += length;
    }
    scanner.at = stop;
  }
  return at - start;
}
