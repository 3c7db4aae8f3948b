import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { StreamWriteMessage_FromClientSchema } from "../gen/ydb/topic_pb.ts";
import type { Int64 } from "./int64.ts";
import { type MetadataItem, readMetadata, readMetadataItem } from "./metadata.ts";
import { isPlainTimestamp, plain, plainNumber } from "./plain.ts";
import { rowAllocator, type Rows } from "./rows.ts";
import { Scanner, wire } from "./scanner.ts";
import { decodeText } from "./text.ts";
import { readTimestampMs } from "./timestamp.ts";

/** A transaction as messages name it. */
export interface TransactionRef {
  readonly id: string;
  readonly session: string;
}

/** Slots of a row: two float64 and eight uint32, see `Rows`. */
const slots = 6;
const f64 = { seqNo: 0, uncompressed: 1 } as const;
const u32 = {
  /** 0: not set. */
  createdAt: 4,
  createdAtEnd: 5,
  data: 6,
  dataEnd: 7,
  body: 8,
  bodyEnd: 9,
  metadataBytes: 10,
  /** How many, and `partitioned`. */
  metadataItems: 11,
} as const;
const partitioned = 2 ** 31;

/** The messages of a received `WriteRequest`: numbers, and places within the frame. Indexes are not checked. */
export class WriteColumns {
  readonly frame: Uint8Array;
  readonly length: number;
  readonly codec: number;
  readonly tx: TransactionRef | undefined;
  readonly #f64: Float64Array;
  readonly #u32: Uint32Array;
  readonly #base: number;
  /** Sequence numbers above 2^53, by index. */
  readonly #wide: ReadonlyMap<number, bigint> | undefined;

  constructor(
    frame: Uint8Array,
    rows: Rows,
    length: number,
    codec: number,
    tx: TransactionRef | undefined,
    wide: ReadonlyMap<number, bigint> | undefined,
  ) {
    this.frame = frame;
    this.#f64 = rows.f64;
    this.#u32 = rows.u32;
    this.#base = rows.base;
    this.length = length;
    this.codec = codec;
    this.tx = tx;
    this.#wide = wide;
  }

  seqNo(index: number): Int64 {
    return this.#wide?.get(index) ?? (this.#f64[this.#base + index * slots] as number);
  }

  /** Milliseconds since the epoch; NaN: not set. */
  createdAtMs(index: number): number {
    const start = this.createdAtStart(index);
    if (start === 0) return Number.NaN;
    return readTimestampMs(new Scanner(this.frame, start), this.createdAtEnd(index));
  }

  /** Where the encoded `created_at` begins in the frame; 0: not set. */
  createdAtStart(index: number): number {
    return this.#at(index, u32.createdAt);
  }

  createdAtEnd(index: number): number {
    return this.#at(index, u32.createdAtEnd);
  }

  dataStart(index: number): number {
    return this.#at(index, u32.data);
  }

  dataEnd(index: number): number {
    return this.#at(index, u32.dataEnd);
  }

  /** A view of the frame. */
  data(index: number): Uint8Array {
    return this.frame.subarray(this.dataStart(index), this.dataEnd(index));
  }

  /** As the writer claims it. */
  uncompressedBytes(index: number): number {
    return this.#f64[this.#base + index * slots + f64.uncompressed] as number;
  }

  /** Keys and values together. */
  metadataBytes(index: number): number {
    return this.#at(index, u32.metadataBytes);
  }

  metadataItems(index: number): number {
    return this.#at(index, u32.metadataItems) % partitioned;
  }

  metadata(index: number): readonly MetadataItem[] {
    if (this.metadataItems(index) === 0) return [];
    return readMetadata(new Scanner(this.frame, this.bodyStart(index)), this.bodyEnd(index), 7);
  }

  /** Whether the message wants a partition of its own, which the service does not offer. */
  hasPartitioning(index: number): boolean {
    return this.#at(index, u32.metadataItems) >= partitioned;
  }

  /** Where the encoded `MessageData` begins in the frame. */
  bodyStart(index: number): number {
    return this.#at(index, u32.body);
  }

  bodyEnd(index: number): number {
    return this.#at(index, u32.bodyEnd);
  }

  #at(index: number, cell: number): number {
    return this.#u32[(this.#base + index * slots) * 2 + cell] as number;
  }
}

const shared = new Scanner(new Uint8Array(0));
const nothing = new Uint8Array(0);
/** Thrown to start over with a frame in which nothing that is one comes in pieces. */
const inPieces = Symbol("in pieces");

/**
 * Reads a `StreamWriteMessage.FromClient` without copying it. Undefined: it is not a `WriteRequest`, so let protobuf-es
 * read it. The whole frame has been checked when it returns.
 *
 * @throws {TopicError} `FRAME_INVALID`
 */
export function scanWriteRequest(frame: Uint8Array): WriteColumns | undefined {
  try {
    return scanFrame(frame);
  } catch (error) {
    if (error !== inPieces) throw error;
    return scanFrame(whole(frame));
  } finally {
    shared.bytes = nothing;
  }
}

/** A singular message may legally come in several pieces, which nobody does; protobuf-es puts them together. */
function whole(frame: Uint8Array): Uint8Array {
  try {
    return toBinary(StreamWriteMessage_FromClientSchema, fromBinary(StreamWriteMessage_FromClientSchema, frame));
  } catch (cause) {
    throw shared.invalid(cause instanceof Error ? cause.message : String(cause));
  }
}

function scanFrame(frame: Uint8Array): WriteColumns | undefined {
  const scanner = shared;
  scanner.bytes = frame;
  scanner.at = 0;
  const end = frame.length;
  let start = -1;
  let stop = -1;
  let others = false;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    const field = tag >>> 3;
    if (field > 3) {
      scanner.skip(tag, end);
      continue;
    }
    scanner.expect(tag, wire.bytes);
    const next = scanner.span(end);
    if (field === 2) {
      if (start >= 0) throw inPieces;
      start = scanner.at;
      stop = next;
    } else others = true;
    scanner.at = next;
  }
  if (start >= 0 && others) throw inPieces;
  if (start < 0) return undefined;
  scanner.at = start;
  return scanBody(scanner, stop);
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

/** As many as there are in a row that are laid out plainly. Returns the count of all so far. */
function scanPlainMessages(scanner: Scanner, end: number, countBefore: number): number {
  const { bytes } = scanner;
  let { at } = scanner;
  let count = countBefore;
  while (at < end && bytes[at] === 0x0a) {
    let length = bytes[at + 1] as number;
    let body = at + 2;
    if (length >= 0x80) {
      length = plainNumber(bytes, at + 1);
      body = plain.next;
    }
    if (!(length >= 0) || body + length > end) break;
    if ((count + 1) * slots > rowAllocator.left) rowAllocator.room((count + 1) * slots, count * slots);
    if (!scanPlainMessage(bytes, body, body + length, rowAllocator.base + count * slots)) break;
    count++;
    at = body + length;
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

/** False: the message is laid out in another way. */
function scanPlainMessage(bytes: Uint8Array, body: number, end: number, row: number): boolean {
  let at = body;
  let seqNo = 0;
  let createdAt = 0;
  let createdAtEnd = 0;
  let data = 0;
  let dataEnd = 0;
  let uncompressed = 0;
  if (at < end && bytes[at] === 0x08) {
    seqNo = plainNumber(bytes, at + 1);
    at = plain.next;
    if (seqNo < 0 || at > end) return false;
  }
  if (at < end && bytes[at] === 0x12) {
    createdAt = at + 2;
    createdAtEnd = createdAt + (bytes[at + 1] as number);
    if (createdAtEnd > end || !isPlainTimestamp(bytes, createdAt, createdAtEnd)) return false;
    at = createdAtEnd;
  }
  if (at < end && bytes[at] === 0x1a) {
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
  if (at < end && bytes[at] === 0x20) {
    uncompressed = bytes[at + 1] as number;
    at += 2;
    if (uncompressed >= 0x80) {
      uncompressed = plainNumber(bytes, at - 1);
      at = plain.next;
    }
    if (!(uncompressed >= 0)) return false;
  }
  if (at !== end) return false;
  store(row, seqNo, uncompressed, createdAt, createdAtEnd, data, dataEnd, body, end, 0, 0);
  return true;
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
