import { StreamReadMessage_FromServerSchema } from "../gen/ydb/topic_pb.ts";
import { type FrameShape, inPieces, readFrame } from "./frame-shape.ts";
import { readMetadataItem } from "./metadata.ts";
import { isPlainTimestamp, plain, plainNumber } from "./plain.ts";
import { type BatchHead, f64, ReadColumns, slots, u32 } from "./read-columns.ts";
import { rowAllocator } from "./rows.ts";
import { type Scanner, wire } from "./scanner.ts";
import { readTimestampMs } from "./timestamp.ts";

/** A `ReadResponse`. */
export interface ReadResponseColumns {
  /** What it costs in credit. */
  readonly bytesSize: number;
  readonly partitions: readonly ReadColumns[];
}

const fromServer: FrameShape = {
  schema: StreamReadMessage_FromServerSchema,
  wanted: 4,
  last: 11,
  isAnswer: true,
};

/**
 * Reads a `StreamReadMessage.FromServer` without copying it. Undefined: it is not a successful `ReadResponse`, so let
 * protobuf-es read it. The whole frame has been checked when it returns, except that text is UTF-8.
 *
 * @throws {TopicError} `FRAME_INVALID`
 */
export function decodeReadResponse(frame: Uint8Array): ReadResponseColumns | undefined {
  return readFrame(frame, fromServer, decodeBody);
}

function decodeBody(scanner: Scanner, end: number): ReadResponseColumns {
  const partitions: ReadColumns[] = [];
  let bytesSize = 0;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag === 0x0a) partitions.push(decodePartition(scanner, scanner.span(end)));
    else if (tag === 0x10) bytesSize = scanner.safeInt64(end, "bytes_size");
    else if (tag >>> 3 <= 2) scanner.expect(tag, tag >>> 3 === 1 ? wire.bytes : wire.varint);
    else scanner.skip(tag, end);
  }
  return { bytesSize, partitions };
}

let wide: Map<number, bigint> | undefined;
let count = 0;

function decodePartition(scanner: Scanner, end: number): ReadColumns {
  let partitionSessionId = 0;
  const batches: BatchHead[] = [];
  wide = undefined;
  count = 0;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag === 0x12) batches.push(decodeBatch(scanner, scanner.span(end)));
    else if (tag === 0x08) partitionSessionId = scanner.safeInt64(end, "partition_session_id");
    else if (tag >>> 3 <= 2) scanner.expect(tag, tag >>> 3 === 2 ? wire.bytes : wire.varint);
    else scanner.skip(tag, end);
  }
  return new ReadColumns(scanner.bytes, partitionSessionId, rowAllocator.take(count * slots), count, batches, wide);
}

function decodeBatch(scanner: Scanner, end: number): BatchHead {
  const body = scanner.at;
  const first = count;
  let codec = 0;
  let writtenAtMs = Number.NaN;
  let producer = 0;
  let producerEnd = 0;
  let metaEntries = 0;
  while (scanner.at < end) {
    decodePlainMessages(scanner, end);
    if (scanner.at === end) break;
    const tag = scanner.tag(end);
    switch (tag) {
      case 0x0a: {
        const stop = scanner.span(end);
        rowAllocator.room((count + 1) * slots, count * slots);
        decodeMessage(scanner, stop, rowAllocator.base + count * slots);
        count++;
        break;
      }
      case 0x12:
        producerEnd = scanner.span(end);
        producer = scanner.at;
        scanner.at = producerEnd;
        break;
      case 0x1a:
        checkEntry(scanner, scanner.span(end));
        metaEntries++;
        break;
      case 0x20:
        codec = scanner.int32(end);
        break;
      case 0x2a:
        if (!Number.isNaN(writtenAtMs)) throw inPieces;
        writtenAtMs = readTimestampMs(scanner, scanner.span(end));
        break;
      default:
        if (tag >>> 3 <= 5) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
        scanner.skip(tag, end);
    }
  }
  return { first, codec, writtenAtMs, producer, producerEnd, body, bodyEnd: end, metaEntries };
}

/** As many as there are in a row that are laid out plainly. */
function decodePlainMessages(scanner: Scanner, end: number): void {
  const { bytes } = scanner;
  let { at } = scanner;
  let index = count;
  while (at < end && bytes[at] === 0x0a) {
    let length = bytes[at + 1] as number;
    let body = at + 2;
    if (length >= 0x80) {
      length = plainNumber(bytes, at + 1);
      body = plain.next;
    }
    if (!(length >= 0) || body + length > end) break;
    if ((index + 1) * slots > rowAllocator.left) rowAllocator.room((index + 1) * slots, index * slots);
    if (!decodePlainMessage(bytes, body, body + length, rowAllocator.base + index * slots)) break;
    index++;
    at = body + length;
  }
  scanner.at = at;
  count = index;
}

function store(
  row: number,
  offset: number,
  seqNo: number,
  uncompressed: number,
  createdAt: number,
  createdAtEnd: number,
  data: number,
  dataEnd: number,
  body: number,
  bodyEnd: number,
  group: number,
  groupEnd: number,
  metadataItems: number,
): void {
  const { f64: numbers, u32: places } = rowAllocator;
  numbers[row] = offset;
  numbers[row + f64.seqNo] = seqNo;
  numbers[row + f64.uncompressed] = uncompressed;
  const at = row * 2;
  places[at + u32.createdAt] = createdAt;
  places[at + u32.createdAtEnd] = createdAtEnd;
  places[at + u32.data] = data;
  places[at + u32.dataEnd] = dataEnd;
  places[at + u32.body] = body;
  places[at + u32.bodyEnd] = bodyEnd;
  places[at + u32.group] = group;
  places[at + u32.groupEnd] = groupEnd;
  places[at + u32.metadataItems] = metadataItems;
}

/** False: the message is laid out in another way. */
function decodePlainMessage(bytes: Uint8Array, body: number, end: number, row: number): boolean {
  let at = body;
  let offset = 0;
  let seqNo = 0;
  let createdAt = 0;
  let createdAtEnd = 0;
  let data = 0;
  let dataEnd = 0;
  let uncompressed = 0;
  let group = 0;
  let groupEnd = 0;
  if (at < end && bytes[at] === 0x08) {
    offset = plainNumber(bytes, at + 1);
    at = plain.next;
    if (offset < 0 || at > end) return false;
  }
  if (at < end && bytes[at] === 0x10) {
    seqNo = plainNumber(bytes, at + 1);
    at = plain.next;
    if (seqNo < 0 || at > end) return false;
  }
  if (at < end && bytes[at] === 0x1a) {
    createdAt = at + 2;
    createdAtEnd = createdAt + (bytes[at + 1] as number);
    if (createdAtEnd > end || !isPlainTimestamp(bytes, createdAt, createdAtEnd)) return false;
    at = createdAtEnd;
  }
  if (at < end && bytes[at] === 0x2a) {
    let length = bytes[at + 1] as number;
    data = at + 2;
    if (length >= 0x80) {
      length = plainNumber(bytes, at + 1);
      data = plain.next;
    }
    dataEnd = data + length;
    if (!(length >= 0) || dataEnd > end) return false;
    at = dataEnd;
  }
  if (at < end && bytes[at] === 0x30) {
    uncompressed = bytes[at + 1] as number;
    at += 2;
    if (uncompressed >= 0x80) {
      uncompressed = plainNumber(bytes, at - 1);
      at = plain.next;
    }
    if (!(uncompressed >= 0) || at > end) return false;
  }
  if (at < end && bytes[at] === 0x3a) {
    const length = plainNumber(bytes, at + 1);
    group = plain.next;
    groupEnd = group + length;
    if (length < 0) return false;
    at = groupEnd;
  }
  if (at !== end) return false;
  store(row, offset, seqNo, uncompressed, createdAt, createdAtEnd, data, dataEnd, body, end, group, groupEnd, 0);
  return true;
}

function decodeMessage(scanner: Scanner, end: number, row: number): void {
  let offset = 0;
  let seqNo = 0;
  let createdAt = 0;
  let createdAtEnd = 0;
  let data = 0;
  let dataEnd = 0;
  let uncompressed = 0;
  let group = 0;
  let groupEnd = 0;
  let metadataItems = 0;
  let exact: bigint | undefined;
  const body = scanner.at;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    switch (tag) {
      case 0x08:
        offset = scanner.safeInt64(end, "offset");
        break;
      case 0x10:
        seqNo = scanner.int64(end);
        exact = Number.isSafeInteger(seqNo) ? undefined : scanner.exact();
        break;
      case 0x1a:
        if (createdAt !== 0) throw inPieces;
        createdAtEnd = scanner.span(end);
        createdAt = scanner.at;
        readTimestampMs(scanner, createdAtEnd);
        break;
      case 0x2a:
        dataEnd = scanner.span(end);
        data = scanner.at;
        scanner.at = dataEnd;
        break;
      case 0x30:
        uncompressed = scanner.int64(end);
        break;
      case 0x3a:
        groupEnd = scanner.span(end);
        group = scanner.at;
        scanner.at = groupEnd;
        break;
      case 0x42:
        readMetadataItem(scanner, scanner.span(end));
        metadataItems++;
        break;
      default:
        if (tag >>> 3 <= 8 && tag >>> 3 !== 4) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
        scanner.skip(tag, end);
    }
  }
  if (exact !== undefined) {
    wide ??= new Map();
    wide.set(count, exact);
  }
  store(
    row,
    offset,
    seqNo,
    uncompressed,
    createdAt,
    createdAtEnd,
    data,
    dataEnd,
    body,
    end,
    group,
    groupEnd,
    metadataItems,
  );
}

function checkEntry(scanner: Scanner, end: number): void {
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag >>> 3 <= 2) scanner.expect(tag, wire.bytes);
    scanner.skip(tag, end);
  }
}
