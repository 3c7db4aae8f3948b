import { TopicServerError } from "../topic-server-error.ts";
import { decodeRecord, headerBytes, recordBytesAt, type StoredRecord } from "./record.ts";
import type { Segment } from "./segment.ts";

const readChunkBytes = 256 * 1024;

/** The segments of a log, oldest first, and reading from them. */
export class SegmentList {
  #segments: Segment[] = [];

  get length(): number {
    return this.#segments.length;
  }

  get last(): Segment | undefined {
    return this.#segments.at(-1);
  }

  /** Bytes of all records. */
  get storedBytes(): number {
    let bytes = 0;
    for (const segment of this.#segments) bytes += segment.bytes;
    return bytes;
  }

  /** Of the newest record; undefined: there is none. */
  get lastWrittenAtMs(): number | undefined {
    const last = this.#segments.reduce((max, each) => Math.max(max, each.lastWrittenAtMs), Number.NEGATIVE_INFINITY);
    return Number.isFinite(last) ? last : undefined;
  }

  [Symbol.iterator](): Iterator<Segment> {
    return this.#segments[Symbol.iterator]();
  }

  push(segment: Segment): void {
    this.#segments.push(segment);
  }

  /** Where the oldest `count` ones, at least one, end. */
  endOf(count: number): number {
    return (this.#segments[count - 1] as Segment).endOffset;
  }

  /** Takes out those that begin before `offset`. */
  shiftBefore(offset: number): Segment[] {
    const kept = this.#segments.findIndex(({ baseOffset }) => baseOffset >= offset);
    return this.#segments.splice(0, kept === -1 ? this.#segments.length : kept);
  }

  /** Records from the one that holds `offset` on, one at least. */
  async read(offset: number, maxBytes: number): Promise<StoredRecord[]> {
    const segment = this.#segmentOf(offset);
    if (segment === undefined) return [];
    let position = segment.index.positionOfOffset(offset);
    for (;;) {
      const records = await this.#readAt(segment, position, Math.max(maxBytes, readChunkBytes));
      const last = records.at(-1);
      if (last === undefined) return [];
      const wanted = records.filter((record) => record.baseOffset + record.count > offset);
      if (wanted.length > 0) return wanted;
      for (const record of records) position += record.storedBytes;
    }
  }

  /** The first offset that was written at `timeMs` or later; undefined when there is none. */
  async offsetOfTime(timeMs: number): Promise<number | undefined> {
    const segment = this.#segments.find((each) => each.lastWrittenAtMs >= timeMs);
    if (segment === undefined) return undefined;
    let position = segment.index.positionOfTime(timeMs);
    while (position < segment.bytes) {
      const records = await this.#readAt(segment, position, readChunkBytes);
      for (const record of records) {
        if (record.writtenAtMs >= timeMs) return record.baseOffset;
        position += record.storedBytes;
      }
    }
    return segment.endOffset;
  }

  /** Every record of a segment from the one that starts at `fromOffset` or later on. */
  async replay(segment: Segment, fromOffset: number, onRecord: (record: StoredRecord) => void): Promise<void> {
    let position = segment.index.positionOfOffset(fromOffset);
    while (position < segment.bytes) {
      for (const record of await this.#readAt(segment, position, 1024 * 1024)) {
        position += record.storedBytes;
        if (record.baseOffset >= fromOffset) onRecord(record);
      }
    }
  }

  async close(): Promise<void> {
    for (const segment of this.#segments) await segment.close();
  }

  /** Whole records from `position` on, one at least. */
  async #readAt(segment: Segment, position: number, maxBytes: number): Promise<StoredRecord[]> {
    return segment.using(async (file) => {
      let want = Math.min(maxBytes, segment.bytes - position);
      for (;;) {
        const chunk = Buffer.allocUnsafeSlow(want);
        const got = chunk.subarray(0, await file.read(chunk, position));
        // All of it was acknowledged, so whoever made the file shorter was none of us.
        if (got.length < want) {
          const text = `${segment.path} ends at byte ${position + got.length}, expected ${segment.bytes}`;
          throw new TopicServerError("CORRUPT", text);
        }
        const records: StoredRecord[] = [];
        let at = 0;
        while (at < got.length) {
          const bytes = recordBytesAt(got, at);
          if (bytes !== undefined && bytes > got.length - at && position + at + bytes <= segment.bytes) break;
          const record = decodeRecord(got, at, position);
          if (record === undefined) {
            if (got.length - at < headerBytes && position + got.length < segment.bytes) break;
            throw new TopicServerError("CORRUPT", `${segment.path} is damaged at byte ${position + at}`);
          }
          records.push(record);
          at += record.storedBytes;
        }
        if (records.length > 0 || at === got.length) return records;
        want = recordBytesAt(got, 0) ?? want + headerBytes;
      }
    });
  }

  #segmentOf(offset: number): Segment | undefined {
    const segments = this.#segments;
    let low = 0;
    let high = segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((segments[middle] as Segment).baseOffset <= offset) low = middle + 1;
      else high = middle;
    }
    return segments[low - 1];
  }
}
