import { type Int64, int64Length, writeInt64 } from "./int64.ts";
import { releaseFrame, type Slab, takeSlab } from "./slab.ts";
import { TimestampWriter } from "./timestamp.ts";

/** `FromClient.write_request` (field 2) and its length, below 2^35. */
const headerRoom = 6;
/** A field number below 16 and its wire type. */
const tag = {
  message: 0x0a,
  codec: 0x10,
  seqNo: 0x08,
  createdAt: 0x12,
  data: 0x1a,
  uncompressed: 0x20,
  writeRequest: 0x12,
};
const stamps = new TimestampWriter();
const noSlab: Slab = { bytes: Buffer.alloc(0), frames: 0, isLent: true };
const smallestSlabBytes = 16 * 1024;
/** Below this a loop is faster than the call of `set`. */
const loopBytes = 24;

/**
 * Encodes messages straight into the frame that will be sent, so that a message is copied exactly once, while it is
 * written, and no object of it is kept. A frame is one `StreamWriteMessage.FromClient` with a `WriteRequest`, byte for
 * byte what protobuf-es makes of the same messages. Frames are cut out of larger slabs, which grow with what is written.
 */
export class FrameBuilder {
  readonly #maxFrameBytes: number;
  /** What follows the messages: the codec and the transaction. */
  #trailer: Uint8Array = new Uint8Array(0);
  #slab = noSlab;
  #slabBytes: number;
  /** Where the messages of the frame begin; its header is written before that when its length is known. */
  #start = 0;
  #at = 0;
  /** Where the messages have to end. */
  #limit = 0;
  #count = 0;
  #createdAtMs = Number.NaN;
  /** The field `created_at` with that time, which neighbours share; empty where it is not set. */
  readonly #created = new Uint8Array(24);
  #createdLength = 0;

  /** @param firstSlabBytes how much memory it begins with. */
  constructor(maxFrameBytes: number, firstSlabBytes: number = smallestSlabBytes) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#slabBytes = firstSlabBytes;
  }

  /** Messages in the open frame. */
  get count(): number {
    return this.#count;
  }

  /** The codec of all frames from now on, and the encoded `TransactionIdentity`, if any. No frame may be open. */
  setTrailer(codec: number, transaction: Uint8Array | undefined): void {
    const bytes = new Uint8Array(16 + (transaction?.length ?? 0));
    let at = 0;
    if (codec !== 0) {
      bytes[at++] = tag.codec;
      at = writeInt64(bytes, at, codec);
    }
    if (transaction !== undefined) {
      bytes[at++] = 0x1a;
      at = writeInt64(bytes, at, transaction.length);
      bytes.set(transaction, at);
      at += transaction.length;
    }
    this.#trailer = bytes.subarray(0, at);
    this.#leave();
    this.#slab = noSlab;
    this.#begin(0);
  }

  /**
   * Adds a message. False: it does not fit into the open frame, so take that first. A message that is larger than a
   * frame gets one of its own. `createdAtMs` is NaN where it is not set, `dataBytes` the length of `data` in UTF-8,
   * `metadata` the items from `encodeMetadataItems`.
   */
  append(
    seqNo: Int64,
    createdAtMs: number,
    data: Uint8Array | string,
    dataBytes: number,
    uncompressedBytes: number,
    metadata: Uint8Array | undefined,
  ): boolean {
    if (createdAtMs !== this.#createdAtMs) this.#setCreated(createdAtMs);
    const createdLength = this.#createdLength;
    let length = createdLength;
    if (seqNo !== 0) length += 1 + int64Length(seqNo);
    if (dataBytes > 0) length += 1 + int64Length(dataBytes) + dataBytes;
    if (uncompressedBytes > 0) length += 1 + int64Length(uncompressedBytes);
    if (metadata !== undefined) length += metadata.length;
    const need = 1 + int64Length(length) + length;
    if (this.#at + need > this.#limit && !this.#makeRoom(need)) return false;
    const slab = this.#slab.bytes;
    let at = this.#at;
    slab[at++] = tag.message;
    at = writeInt64(slab, at, length);
    if (seqNo !== 0) {
      slab[at++] = tag.seqNo;
      at = writeInt64(slab, at, seqNo);
    }
    const created = this.#created;
    for (let n = 0; n < createdLength; n++) slab[at++] = created[n] as number;
    if (dataBytes > 0) {
      slab[at++] = tag.data;
      at = writeInt64(slab, at, dataBytes);
      if (typeof data === "string") slab.write(data, at, dataBytes, "utf8");
      else if (dataBytes > loopBytes) slab.set(data, at);
      else for (let n = 0; n < dataBytes; n++) slab[at + n] = data[n] as number;
      at += dataBytes;
    }
    if (uncompressedBytes > 0) {
      slab[at++] = tag.uncompressed;
      at = writeInt64(slab, at, uncompressedBytes);
    }
    if (metadata !== undefined) {
      slab.set(metadata, at);
      at += metadata.length;
    }
    this.#at = at;
    this.#count++;
    return true;
  }

  /** Adds a message of another frame under a new number. `rest` is what follows its sequence number there. */
  appendEncoded(seqNo: Int64, rest: Uint8Array): boolean {
    const length = 1 + int64Length(seqNo) + rest.length;
    const need = 1 + int64Length(length) + length;
    if (this.#at + need > this.#limit && !this.#makeRoom(need)) return false;
    const slab = this.#slab.bytes;
    slab[this.#at++] = tag.message;
    this.#at = writeInt64(slab, this.#at, length);
    slab[this.#at++] = tag.seqNo;
    this.#at = writeInt64(slab, this.#at, seqNo);
    slab.set(rest, this.#at);
    this.#at += rest.length;
    this.#count++;
    return true;
  }

  /** Closes the open frame. It is in `slab` until `releaseFrame` of that. */
  take(): { readonly bytes: Uint8Array; readonly slab: Slab } {
    if (this.#slab === noSlab) this.#makeRoom(0);
    const slab = this.#slab.bytes;
    slab.set(this.#trailer, this.#at);
    const end = this.#at + this.#trailer.length;
    const length = end - this.#start;
    const first = this.#start - 1 - int64Length(length);
    slab[first] = tag.writeRequest;
    writeInt64(slab, first + 1, length);
    this.#count = 0;
    this.#begin(end);
    this.#slab.frames++;
    return { bytes: slab.subarray(first, end), slab: this.#slab };
  }

  #begin(end: number): void {
    this.#start = end + headerRoom;
    this.#at = this.#start;
    this.#limit = Math.min(this.#slab.bytes.length, end + this.#maxFrameBytes) - this.#trailer.length;
  }

  #makeRoom(need: number): boolean {
    if (this.#count > 0) return false;
    const wanted = headerRoom + need + this.#trailer.length;
    // Rather a new slab than a last small frame in this one.
    const left = this.#slab.bytes.length - this.#start + headerRoom;
    if (wanted > left || left < this.#slab.bytes.length / 4) {
      this.#leave();
      this.#slab = takeSlab(Math.max(wanted, this.#slabBytes));
      // As long as it is written to it is nobody else's.
      this.#slab.frames++;
      this.#slabBytes = Math.min(this.#slabBytes * 2, Math.max(this.#maxFrameBytes, smallestSlabBytes));
      this.#begin(0);
    }
    this.#limit = Math.max(this.#limit, this.#start + need);
    return true;
  }

  #leave(): void {
    if (this.#slab !== noSlab) releaseFrame(this.#slab);
  }

  #setCreated(createdAtMs: number): void {
    this.#createdAtMs = createdAtMs;
    this.#createdLength = 0;
    if (Number.isNaN(createdAtMs)) return;
    stamps.set(createdAtMs);
    this.#created[0] = tag.createdAt;
    this.#created[1] = stamps.length;
    this.#createdLength = stamps.writeTo(this.#created, 2);
  }
}
