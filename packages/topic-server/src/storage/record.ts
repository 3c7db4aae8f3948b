import { crc32 } from "node:zlib";

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

/** What is known about a batch of messages besides its payload. */
export interface RecordHead {
  readonly baseOffset: number;
  readonly count: number;
  /** Messages at the front of the payload that are not part of it. */
  readonly skip: number;
  readonly codec: number;
  readonly firstSeqNo: bigint;
  readonly lastSeqNo: bigint;
  readonly writtenAtMs: number;
  /** The transaction's write that it came from; 0: none. */
  readonly txId: number;
  /** UTF-8. Empty: written without deduplication. */
  readonly producer: Uint8Array;
  readonly meta: Uint8Array;
}

/** A batch as it is stored. `payload` is a view that stays valid for as long as somebody holds it. */
export interface StoredRecord extends RecordHead {
  readonly payload: Uint8Array;
  /** Bytes in its file, header and all. */
  readonly storedBytes: number;
}

/** Writes the header, the producer and the metadata to `target` at `at`. The CRC goes over them and the payload. */
export function encodeHead(
  target: Buffer,
  at: number,
  head: RecordHead,
  payload: Uint8Array,
  position: number,
  syncedTo: number,
): number {
  const headLength = headerBytes + head.producer.length + head.meta.length;
  target.writeUInt32LE(magic, at);
  target.writeUInt32LE(headLength, at + 8);
  target.writeUInt32LE(payload.length, at + 12);
  target.writeUInt32LE(head.count, at + 16);
  target.writeUInt32LE(position, at + 20);
  target.writeUInt32LE(syncedTo, at + 24);
  target.writeInt32LE(head.codec, at + 28);
  target.writeDoubleLE(head.baseOffset, at + 32);
  target.writeBigInt64LE(head.firstSeqNo, at + 40);
  target.writeBigInt64LE(head.lastSeqNo, at + 48);
  target.writeDoubleLE(head.writtenAtMs, at + 56);
  target.writeDoubleLE(head.txId, at + 64);
  target.writeUInt32LE(head.producer.length, at + 72);
  target.writeUInt32LE(head.meta.length, at + 76);
  target.writeUInt32LE(head.skip, at + 80);
  target.set(head.producer, at + headerBytes);
  target.set(head.meta, at + headerBytes + head.producer.length);
  const crc = crc32(payload, crc32(target.subarray(at + 8, at + headLength)));
  target.writeUInt32LE(crc, at + 4);
  return headLength;
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
  const headLength = source.readUInt32LE(at + 8);
  const producerLength = source.readUInt32LE(at + 72);
  const producerAt = at + headerBytes;
  return {
    baseOffset: source.readDoubleLE(at + 32),
    count: source.readUInt32LE(at + 16),
    skip: source.readUInt32LE(at + 80),
    codec: source.readInt32LE(at + 28),
    firstSeqNo: source.readBigInt64LE(at + 40),
    lastSeqNo: source.readBigInt64LE(at + 48),
    writtenAtMs: source.readDoubleLE(at + 56),
    txId: source.readDoubleLE(at + 64),
    producer: source.subarray(producerAt, producerAt + producerLength),
    meta: source.subarray(producerAt + producerLength, at + headLength),
    payload: source.subarray(at + headLength, at + bytes),
    storedBytes: bytes,
  };
}
