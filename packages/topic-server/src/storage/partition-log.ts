import { TopicServerError } from "../topic-server-error.ts";
import type { PartitionLogOptions, RecordOwner } from "./log-options.ts";
import { LogWriter } from "./log-writer.ts";
import { openSegments } from "./open-segments.ts";
import type { NewRecord, StoredRecord } from "./record.ts";
import { SegmentList } from "./segment-list.ts";
import { TailCache } from "./tail-cache.ts";

/** A partition's messages: append-only segment files, written in groups, read from memory where they are new. */
export class PartitionLog {
  readonly #options: PartitionLogOptions;
  readonly #segments = new SegmentList();
  readonly #tail: TailCache;
  readonly #writer: LogWriter;
  #startOffset: number;
  /** When the newest message was written that retention took. */
  #lastTrimmedAtMs: number | undefined;
  #isClosed = false;

  private constructor(options: PartitionLogOptions) {
    this.#options = options;
    this.#tail = new TailCache(options.tail);
    this.#writer = new LogWriter(options, this.#segments, this.#tail);
    this.#startOffset = options.startOffset;
  }

  /** @throws {TopicServerError} `CORRUPT` for damage that no crash explains. */
  static async open(options: PartitionLogOptions): Promise<PartitionLog> {
    const log = new PartitionLog(options);
    try {
      const isLastOpen = await openSegments(log.#segments, options);
      const end = Math.max(log.#segments.last?.endOffset ?? 0, options.startOffset);
      await log.#writer.start(end, isLastOpen);
      return log;
    } catch (error) {
      await log.#segments.close();
      throw error;
    }
  }

  /** First offset there is. */
  get startOffset(): number {
    return this.#startOffset;
  }

  /** One after the last offset that readers see. */
  get endOffset(): number {
    return this.#writer.endOffset;
  }

  /** What the next message gets. */
  get nextOffset(): number {
    return this.#writer.nextOffset;
  }

  /** Bytes that wait for the disk. */
  get pendingBytes(): number {
    return this.#writer.pendingBytes;
  }

  /** Bytes on the disk. */
  get storedBytes(): number {
    return this.#segments.storedBytes;
  }

  /** When the newest message was written; undefined: there is none, and was none since the log was opened. */
  get lastWrittenAtMs(): number | undefined {
    return this.#segments.lastWrittenAtMs ?? this.#lastTrimmedAtMs;
  }

  /**
   * Takes a record and gives it its offsets. `owner` hears the rest. It is not written before `after` resolves, and lost with
   * those behind it where that rejects.
   *
   * @returns the offset of its first message.
   */
  append(record: NewRecord, payload: Uint8Array, owner: RecordOwner, after?: Promise<void>): number {
    if (this.#isClosed) throw new TopicServerError("CLOSED", "The store is closed");
    return this.#writer.append(record, payload, owner, after);
  }

  /** Resolves when everything appended before was stored or lost. */
  flush(): Promise<void> {
    return this.#writer.flush();
  }

  /**
   * Records from the one that holds `offset` on, one at least, up to about `maxBytes`; none at the end of the log. Answers
   * at once where nothing has to be read from the disk. `offset` must not be before `startOffset`.
   *
   * @throws {TopicServerError} `CORRUPT` where the disk has something else than what was written.
   */
  read(offset: number, maxBytes: number): StoredRecord[] | Promise<StoredRecord[]> {
    if (offset >= this.endOffset) return [];
    return this.#tail.read(offset, maxBytes) ?? this.#segments.read(offset, maxBytes);
  }

  /** The first offset that was written at `timeMs` or later; the end of the log when there is none. */
  async offsetOfTime(timeMs: number): Promise<number> {
    const offset = await this.#segments.offsetOfTime(timeMs);
    return offset === undefined ? this.endOffset : Math.max(this.#startOffset, offset);
  }

  /**
   * Gives up whole segments that are too old or too many, as long as all of a segment is below `floorOffset`.
   *
   * @returns whether the log starts later than before.
   */
  async retain(maxAgeMs: number, maxBytes: number, floorOffset: number): Promise<boolean> {
    const now = this.#options.clock.now();
    let bytes = this.storedBytes;
    let count = 0;
    for (const segment of this.#segments) {
      const isTooMuch = maxBytes > 0 && bytes - segment.bytes >= maxBytes;
      const isTooOld = segment.lastWrittenAtMs < now - maxAgeMs;
      if (segment.bytes === 0 || segment.endOffset > floorOffset || !(isTooMuch || isTooOld)) break;
      bytes -= segment.bytes;
      count++;
    }
    if (count === 0) return false;
    // Whoever writes now keeps the active segment.
    if (count === this.#segments.length && this.#writer.hasActive && !(await this.#writer.sealIdle())) count--;
    if (count === 0) return false;
    const start = this.#segments.endOf(count);
    await this.#options.onTrim(start);
    // Somebody else may have done so meanwhile, and more.
    this.#startOffset = Math.max(this.#startOffset, start);
    for (const segment of this.#segments.shiftBefore(start)) {
      this.#lastTrimmedAtMs = segment.lastWrittenAtMs;
      await segment.close();
      await this.#options.files.remove(segment.path);
    }
    return true;
  }

  /** Writes what waits, syncs, closes. @returns whether all that readers saw is on the disk. */
  async close(): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    const isSynced = await this.#writer.close();
    this.#tail.clear();
    await this.#segments.close();
    return isSynced;
  }
}
