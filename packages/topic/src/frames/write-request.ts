import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { StreamWriteMessage_FromClientSchema } from "../gen/ydb/topic_pb.ts";
import { type Int64, int64Length, writeInt64 } from "./int64.ts";
import { type MetadataItem, readMetadata, readMetadataItem } from "./metadata.ts";
import { rows } from "./rows.ts";
import { Scanner, wire } from "./scanner.ts";
import { decodeText } from "./text.ts";
import { readTimestampMs, TimestampWriter } from "./timestamp.ts";

/** A transaction as messages name it. */
export interface TransactionRef {
  readonly id: string;
  readonly session: string;
}

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

// Cells of a row.
const cell = {
  seqNo: 0,
  createdAtMs: 1,
  /** 0: not set. */
  createdAt: 2,
  createdAtEnd: 3,
  data: 4,
  dataEnd: 5,
  uncompressed: 6,
  body: 7,
  bodyEnd: 8,
  /** 0: none. */
  metadataBytes: 9,
  metadataItems: 10,
  /** The field number of the partitioning override; 0: none. */
  partitioning: 11,
} as const;
const stride = 12;

/** The messages of a received `WriteRequest`: numbers, and places within the frame. */
export class WriteColumns {
  readonly frame: Uint8Array;
  readonly length: number;
  readonly codec: number;
  readonly tx: TransactionRef | undefined;
  readonly #cells: Float64Array;
  /** Sequence numbers above 2^53, by index. */
  readonly #wide: ReadonlyMap<number, bigint> | undefined;

  constructor(
    frame: Uint8Array,
    cells: Float64Array,
    codec: number,
    tx: TransactionRef | undefined,
    wide: ReadonlyMap<number, bigint> | undefined,
  ) {
    this.frame = frame;
    this.#cells = cells;
    this.length = cells.length / stride;
    this.codec = codec;
    this.tx = tx;
    this.#wide = wide;
  }

  seqNo(index: number): Int64 {
    return this.#wide?.get(index) ?? (this.#cells[index * stride] as number);
  }

  /** Milliseconds since the epoch; NaN: not set. */
  createdAtMs(index: number): number {
    return this.#cells[index * stride + cell.createdAtMs] as number;
  }

  /** Where the encoded `created_at` begins in the frame; 0: not set. */
  createdAtStart(index: number): number {
    return this.#cells[index * stride + cell.createdAt] as number;
  }

  createdAtEnd(index: number): number {
    return this.#cells[index * stride + cell.createdAtEnd] as number;
  }

  dataStart(index: number): number {
    return this.#cells[index * stride + cell.data] as number;
  }

  dataEnd(index: number): number {
    return this.#cells[index * stride + cell.dataEnd] as number;
  }

  /** A view of the frame. */
  data(index: number): Uint8Array {
    return this.frame.subarray(this.dataStart(index), this.dataEnd(index));
  }

  /** As the writer claims it. */
  uncompressedBytes(index: number): number {
    return this.#cells[index * stride + cell.uncompressed] as number;
  }

  /** Keys and values together. */
  metadataBytes(index: number): number {
    return this.#cells[index * stride + cell.metadataBytes] as number;
  }

  metadataItems(index: number): number {
    return this.#cells[index * stride + cell.metadataItems] as number;
  }

  metadata(index: number): readonly MetadataItem[] {
    if (this.metadataItems(index) === 0) return [];
    return readMetadata(new Scanner(this.frame, this.bodyStart(index)), this.bodyEnd(index), 7);
  }

  /** Whether the message wants a partition of its own, which the service does not offer. */
  hasPartitioning(index: number): boolean {
    return this.#cells[index * stride + cell.partitioning] !== 0;
  }

  /** Where the encoded `MessageData` begins in the frame. */
  bodyStart(index: number): number {
    return this.#cells[index * stride + cell.body] as number;
  }

  bodyEnd(index: number): number {
    return this.#cells[index * stride + cell.bodyEnd] as number;
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
    const tag = scanner.tag(end);
    if (tag === 0x0a) {
      const stop = scanner.span(end);
      const cells = rows.room((count + 1) * stride, count * stride);
      scanMessage(scanner, stop, cells, count * stride);
      if (!Number.isSafeInteger(cells[count * stride])) {
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
  return new WriteColumns(scanner.bytes, rows.take(count * stride), codec, tx, wide);
}

/** The exact number of the message scanned last, when it is above 2^53. */
let wideSeqNo = 0n;

function scanMessage(scanner: Scanner, end: number, cells: Float64Array, row: number): void {
  let seqNo = 0;
  let createdAtMs = Number.NaN;
  let createdAt = 0;
  let createdAtEnd = 0;
  let data = 0;
  let dataEnd = 0;
  let uncompressed = 0;
  let metadataBytes = 0;
  let metadataItems = 0;
  let partitioning = 0;
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
        createdAtMs = readTimestampMs(scanner, createdAtEnd);
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
        partitioning = 5;
        break;
      }
      case 0x30:
        scanner.int64(end);
        partitioning = 6;
        break;
      case 0x3a: {
        const item = readMetadataItem(scanner, scanner.span(end));
        metadataBytes += Buffer.byteLength(item.key) + item.value.length;
        metadataItems++;
        break;
      }
      case 0x42:
        scanner.skip(tag, end);
        partitioning = 8;
        break;
      default:
        if (tag >>> 3 <= 8) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
        scanner.skip(tag, end);
    }
  }
  cells[row] = seqNo;
  cells[row + cell.createdAtMs] = createdAtMs;
  cells[row + cell.createdAt] = createdAt;
  cells[row + cell.createdAtEnd] = createdAtEnd;
  cells[row + cell.data] = data;
  cells[row + cell.dataEnd] = dataEnd;
  cells[row + cell.uncompressed] = uncompressed;
  cells[row + cell.body] = body;
  cells[row + cell.bodyEnd] = end;
  cells[row + cell.metadataBytes] = metadataBytes;
  cells[row + cell.metadataItems] = metadataItems;
  cells[row + cell.partitioning] = partitioning;
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
