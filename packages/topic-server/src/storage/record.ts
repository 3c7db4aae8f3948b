import { crc32 } from "node:zlib";
import type { Int64 } from "@tidemark/topic/internal";
import { joinChecksums } from "./checksum.ts";

/**
 * One record of a segment: the messages of one write, as they were received.
 *
 *      0  u32  magic
 *      4  u32  CRC-32 of everything after it
 *      8  u32  bytes of header and producer and meta, from the start of the record
 *     12  u32  bytes of the payload, which follow
 *     16  u32  messages in it: offsets are dense
 *     20  u32  where in the file the record is, so that a copy of a record inside a message is not taken for one
 *     24  u32  up to where the file was known to be on the disk when this was written
 *     28  i32  codec
 *     32  f64  offset of the first message
 *     40  i64  sequence number of the first message
 *     48  i64  … of the last one
 *     56  f64  when it was written, in milliseconds since 1970
 *     64  f64  transaction, or 0
 *     72  u32  bytes of the producer's name, which follow
 *     76  u32  bytes of the session's metadata, which follow
 *     80  u32  messages at the front of the payload that do not count: they had been written before
 */
export const headerBytes = 84;
const magic = 0x31525354;
export const magicBytes: Uint8Array = Buffer.from([0x54, 0x53, 0x52, 0x31]);

/** What is known about a batch of messages besides its payload and its place. */
export interface NewRecord {
  readonly count: number;
  /** Messages at the front of the payload that are not part of it. */
  readonly skip: number;
  readonly codec: number;
  readonly firstSeqNo: Int64;
  readonly lastSeqNo: Int64;
  readonly writtenAtMs: number;
  /** The transaction's write that it came from; 0: none. */
  readonly txId: number;
  /** UTF-8. Empty: written without deduplication. */
  readonly producer: Uint8Array;
  readonly meta: Uint8Array;
}

/** A batch as it is stored. `payload` is a view that stays valid for as long as somebody holds it. */
export interface StoredRecord extends NewRecord {
  readonly baseOffset: number;
  readonly firstSeqNo: bigint;
  readonly lastSeqNo: bigint;
  readonly payload: Uint8Array;
  /** Bytes in its file, header and all. */
  readonly storedBytes: number;
}

/** Where a record goes, and what is known of it. */
export interface Placement {
  readonly baseOffset: number;
  /** In its file. */
  readonly position: number;
  /** Up to where that is on the disk. */
  readonly syncedTo: number;
}

/** Bytes of the header, the producer and the metadata. */
export function headBytes({ producer, meta }: NewRecord): number {
  return headerBytes + producer.length + meta.length;
}

/** Memory that records are written to. */
export class RecordTarget {
  readonly bytes: Buffer;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Writes a whole record at `at`. @returns where the next one goes. */
  put(at: number, record: NewRecord, payload: Uint8Array, placement: Placement): number {
    const { bytes } = this;
    const head = this.#putHead(at, record, payload, placement);
    bytes.set(payload, head);
    const end = head + payload.length;
    this.#view.setUint32(at + 4, crc32(bytes.subarray(at + 8, end)), true);
    return end;
  }

  /** The same without the payload, which has this CRC. */
  putHead(at: number, record: NewRecord, payload: Uint8Array, placement: Placement, checksum: number): number {
    const end = this.#putHead(at, record, payload, placement);
    const crc = crc32(this.bytes.subarray(at + 8, end));
    this.#view.setUint32(at + 4, joinChecksums(crc, checksum, payload.length), true);
    return end;
  }

  #putHead(at: number, record: NewRecord, payload: Uint8Array, placement: Placement): number {
    const view = this.#view;
    const { producer, meta } = record;
    const headLength = headBytes(record);
    view.setUint32(at, magic, true);
    view.setUint32(at + 8, headLength, true);
    view.setUint32(at + 12, payload.length, true);
    view.setUint32(at + 16, record.count, true);
    view.setUint32(at + 20, placement.position, true);
    view.setUint32(at + 24, placement.syncedTo, true);
    view.setInt32(at + 28, record.codec, true);
    view.setFloat64(at + 32, placement.baseOffset, true);
    setInt64(view, at + 40, record.firstSeqNo);
    setInt64(view, at + 48, record.lastSeqNo);
    view.setFloat64(at + 56, record.writtenAtMs, true);
    view.setFloat64(at + 64, record.txId, true);
    view.setUint32(at + 72, producer.length, true);
    view.setUint32(at + 76, meta.length, true);
    view.setUint32(at + 80, record.skip, true);
    this.bytes.set(producer, at + headerBytes);
    if (meta.length > 0) this.bytes.set(meta, at + headerBytes + producer.length);
    return at + headLength;
  }
}

function setInt64(view: DataView, at: number, value: Int64): void {
  if (typeof value === "bigint" || value < 0) {
    view.setBigInt64(at, BigInt(value), true);
    return;
  }
  view.setUint32(at, value % 0x1_0000_0000, true);
  view.setUint32(at + 4, value / 0x1_0000_0000, true);
}

/** Bytes of the whole record at `at`, or undefined where there is none or its header is cut off. */
export function recordBytesAt(source: Buffer, at: number): number | undefined {
  if (source.length - at < headerBytes || source.readUInt32LE(at) !== magic) return undefined;
  const headLength = source.readUInt32LE(at + 8);
  if (headLength < headerBytes) return undefined;
  return headLength + source.readUInt32LE(at + 12);
}

/** Up to where the file was on the disk when the record at `at` was written. */
export function syncedToAt(source: Buffer, at: number): number {
  return source.readUInt32LE(at + 24);
}

/**
 * The record at `at` of a buffer that starts at `origin` in its file, or undefined where it is not whole or its checksum
 * says that it is not what was written.
 */
export function decodeRecord(source: Buffer, at: number, origin: number): StoredRecord | undefined {
  const bytes = recordBytesAt(source, at);
  if (bytes === undefined || bytes > source.length - at) return undefined;
  if (source.readUInt32LE(at + 20) !== origin + at) return undefined;
  if (source.readUInt32LE(at + 4) !== crc32(source.subarray(at + 8, at + bytes))) return undefined;
  return recordAt(source, at, source.subarray(at + source.readUInt32LE(at + 8), at + bytes));
}

/** The record at `at`, which is known to be whole, with this payload. */
export function recordAt(source: Buffer, at: number, payload: Uint8Array): StoredRecord {
  const headLength = source.readUInt32LE(at + 8);
  const producerEnd = at + headerBytes + source.readUInt32LE(at + 72);
  return {
    baseOffset: baseOffsetAt(source, at),
    count: source.readUInt32LE(at + 16),
    skip: source.readUInt32LE(at + 80),
    codec: source.readInt32LE(at + 28),
    firstSeqNo: source.readBigInt64LE(at + 40),
    lastSeqNo: source.readBigInt64LE(at + 48),
    writtenAtMs: source.readDoubleLE(at + 56),
    txId: source.readDoubleLE(at + 64),
    producer: source.subarray(at + headerBytes, producerEnd),
    meta: source.subarray(producerEnd, at + headLength),
    payload,
    storedBytes: headLength + payload.length,
  };
}

/** The offset of the first message of the record at `at`. */
export function baseOffsetAt(source: Buffer, at: number): number {
  return source.readDoubleLE(at + 32);
}
