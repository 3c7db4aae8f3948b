import { StreamWriteMessage_FromClientSchema } from "../gen/ydb/topic_pb.ts";
import { type FrameShape, inPieces, readFrame } from "./frame-shape.ts";
import { readMetadataItem } from "./metadata.ts";
import { isPlainTimestamp, plain, plainNumber } from "./plain.ts";
import { rowAllocator } from "./rows.ts";
import { type Scanner, wire } from "./scanner.ts";
import { decodeText } from "./text.ts";
import { readTimestampMs } from "./timestamp.ts";
import { canonical, f64, partitioned, slots, type TransactionRef, u32, WriteColumns } from "./write-columns.ts";

const fromClient: FrameShape = {
  schema: StreamWriteMessage_FromClientSchema,
  wanted: 2,
  last: 3,
  isAnswer: false,
};

/**
 * Reads a `StreamWriteMessage.FromClient` without copying it. Undefined: it is not a `WriteRequest`, so let protobuf-es
 * read it. The whole frame has been checked when it returns.
 *
 * @throws {TopicError} `FRAME_INVALID`
 */
export function scanWriteRequest(frame: Uint8Array): WriteColumns | undefined {
  return readFrame(frame, fromClient, scanBody);
}

function scanBody(scanner: Scanner, end: number): WriteColumns {
  let count = 0;
  let codec = 0;
  let tx: TransactionRef | undefined;
  let wide: Map<number, bigint> | undefined;
  while (scanner.at < end) {
    count = scanPlainMessages(scanner, end, count);
    if (scanner.at === end) break;
    const tag = scanner.tag(end);
    if (tag === 0x0a) {
      const stop = scanner.span(end);
      rowAllocator.room((count + 1) * slots, count * slots);
      const row = rowAllocator.base + count * slots;
      scanMessage(scanner, stop, row);
      if (!Number.isSafeInteger(rowAllocator.f64[row])) {
        wide ??= new Map();
        wide.set(count, wideSeqNo);
      }
      count++;
    } else if (tag === 0x10) codec = scanner.int32(end);
    else if (tag === 0x1a) {
      if (tx !== undefined) throw inPieces;
      tx = scanTransaction(scanner, scanner.span(end));
    } else if (tag >>> 3 <= 3) scanner.expect(tag, tag >>> 3 === 2 ? wire.varint : wire.bytes);
    else scanner.skip(tag, end);
  }
  return new WriteColumns(scanner.bytes, rowAllocator.take(count * slots), count, codec, tx, wide);
}

/**
 * As many as there are in a row that are laid out plainly. Returns the count of all so far. Everything is in one function,
 * which is what makes it fast: no call for a message, and no number that goes through memory.
 */
function scanPlainMessages(scanner: Scanner, end: number, countBefore: number): number {
  const { bytes } = scanner;
  let { at } = scanner;
  let count = countBefore;
  let { f64: numbers, u32: places } = rowAllocator;
  let row = rowAllocator.base + count * slots;
  let lastRow = rowAllocator.base + rowAllocator.left - slots;
  while (at < end && bytes[at] === 0x0a) {
    let length = bytes[at + 1] as number;
    let body = at + 2;
    if (length >= 0x80) {
      length = plainNumber(bytes, at + 1);
      body = plain.next;
    }
    const stop = body + length;
    if (!(length >= 0) || stop > end) break;
    // What is read beyond `stop` belongs to others: then `place` does not end there, and the general way decides.
    let place = body;
    let mark = canonical;
    let seqNo = 0;
    if (bytes[place] === 0x08) {
      seqNo = plainNumber(bytes, place + 1);
      place = plain.next;
      if (seqNo < 0) break;
      if (bytes[place - 1] === 0) mark = 0;
    }
    let createdAt = 0;
    let createdAtEnd = 0;
    if (bytes[place] === 0x12) {
      createdAt = place + 2;
      createdAtEnd = createdAt + (bytes[place + 1] as number);
      if (!(createdAtEnd <= stop) || !isPlainTimestamp(bytes, createdAt, createdAtEnd)) break;
      place = createdAtEnd;
    }
    let data = 0;
    let dataEnd = 0;
    if (bytes[place] === 0x1a) {
      let size = bytes[place + 1] as number;
      data = place + 2;
      if (size >= 0x80) {
        size = plainNumber(bytes, place + 1);
        data = plain.next;
      }
      dataEnd = data + size;
      if (!(size >= 0) || dataEnd > stop) break;
      if (bytes[data - 1] === 0) mark = 0;
      place = dataEnd;
    }
    let uncompressed = 0;
    if (bytes[place] === 0x20) {
      uncompressed = bytes[place + 1] as number;
      place += 2;
      if (uncompressed >= 0x80) {
        uncompressed = plainNumber(bytes, place - 1);
        place = plain.next;
      }
      if (!(uncompressed >= 0)) break;
      if (bytes[place - 1] === 0) mark = 0;
    }
    if (place !== stop) break;
    if (row > lastRow) {
      rowAllocator.room((count + 1) * slots, count * slots);
      ({ f64: numbers, u32: places } = rowAllocator);
      row = rowAllocator.base + count * slots;
      lastRow = rowAllocator.base + rowAllocator.left - slots;
    }
    numbers[row] = seqNo;
    numbers[row + f64.uncompressed] = uncompressed;
    const cells = row * 2;
    places[cells + u32.createdAt] = createdAt;
    places[cells + u32.createdAtEnd] = createdAtEnd;
    places[cells + u32.data] = data;
    places[cells + u32.dataEnd] = dataEnd;
    places[cells + u32.body] = body;
    places[cells + u32.bodyEnd] = stop;
    places[cells + u32.metadataBytes] = 0;
    places[cells + u32.metadataItems] = mark;
    row += slots;
    count++;
    at = stop;
  }
  scanner.at = at;
  return count;
}

/** The exact number of the message scanned last, when it is above 2^53. */
let wideSeqNo = 0n;

function store(
  row: number,
  seqNo: number,
  uncompressed: number,
  createdAt: number,
  createdAtEnd: number,
  data: number,
  dataEnd: number,
  body: number,
  bodyEnd: number,
  metadataBytes: number,
  metadataItems: number,
): void {
  const { f64: numbers, u32: places } = rowAllocator;
  numbers[row] = seqNo;
  numbers[row + f64.uncompressed] = uncompressed;
  const at = row * 2;
  places[at + u32.createdAt] = createdAt;
  places[at + u32.createdAtEnd] = createdAtEnd;
  places[at + u32.data] = data;
  places[at + u32.dataEnd] = dataEnd;
  places[at + u32.body] = body;
  places[at + u32.bodyEnd] = bodyEnd;
  places[at + u32.metadataBytes] = metadataBytes;
  places[at + u32.metadataItems] = metadataItems;
}

function scanMessage(scanner: Scanner, end: number, row: number): void {
  let seqNo = 0;
  let createdAt = 0;
  let createdAtEnd = 0;
  let data = 0;
  let dataEnd = 0;
  let uncompressed = 0;
  let metadataBytes = 0;
  let metadataItems = 0;
  let isPartitioned = false;
  const body = scanner.at;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    switch (tag) {
      case 0x08:
        seqNo = scanner.int64(end);
        if (!Number.isSafeInteger(seqNo)) wideSeqNo = scanner.exact();
        break;
      case 0x12:
        if (createdAt !== 0) throw inPieces;
        createdAtEnd = scanner.span(end);
        createdAt = scanner.at;
        readTimestampMs(scanner, createdAtEnd);
        break;
      case 0x1a:
        dataEnd = scanner.span(end);
        data = scanner.at;
        scanner.at = dataEnd;
        break;
      case 0x20:
        uncompressed = scanner.int64(end);
        break;
      case 0x2a: {
        const stop = scanner.span(end);
        decodeText(scanner.bytes, scanner.at, stop);
        scanner.at = stop;
        isPartitioned = true;
        break;
      }
      case 0x30:
        scanner.int64(end);
        isPartitioned = true;
        break;
      case 0x3a: {
        const item = readMetadataItem(scanner, scanner.span(end));
        metadataBytes += Buffer.byteLength(item.key) + item.value.length;
        metadataItems++;
        break;
      }
      case 0x42:
        scanner.skip(tag, end);
        isPartitioned = true;
        break;
      default:
        if (tag >>> 3 <= 8) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
        scanner.skip(tag, end);
    }
  }
  const items = metadataItems + (isPartitioned ? partitioned : 0);
  store(row, seqNo, uncompressed, createdAt, createdAtEnd, data, dataEnd, body, end, metadataBytes, items);
}

function scanTransaction(scanner: Scanner, end: number): TransactionRef {
  let id = "";
  let session = "";
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag >>> 3 > 2) {
      scanner.skip(tag, end);
      continue;
    }
    scanner.expect(tag, wire.bytes);
    const stop = scanner.span(end);
    const text = decodeText(scanner.bytes, scanner.at, stop);
    if (tag >>> 3 === 1) id = text;
    else session = text;
    scanner.at = stop;
  }
  return { id, session };
}
