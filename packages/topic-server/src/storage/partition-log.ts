import type { Clock, Timer } from "@tidemark/clock";
import { TopicServerError } from "../topic-server-error.ts";
import { diskError, type LogFile, type LogFiles } from "./log-files.ts";
import { decodeRecord, encodeHead, headerBytes, recordBytesAt, type RecordHead, type StoredRecord } from "./record.ts";
import { recoverSegment } from "./recovery.ts";
import { Segment, type SegmentMeta } from "./segment.ts";
import { type TailBudget, TailCache } from "./tail-cache.ts";

/**
 * When a write counts. `always`: once it is on the disk. `{ intervalMs }`: once the system has it; a power failure can
 * take back what was acknowledged in the last interval, a crash of the process cannot.
 */
export type SyncPolicy = "always" | { readonly intervalMs: number };

/** Who wrote, and hears what became of it: one call a record, in order. Must not throw. */
export interface RecordOwner {
  /** It is durable, as far as the sync policy goes, and visible to readers. */
  onStored(record: StoredRecord): void;
  /** It is not stored, and never will be. */
  onLost(head: RecordHead, error: TopicServerError): void;
}

export interface PartitionLogOptions {
  readonly files: LogFiles;
  readonly folder: string;
  readonly clock: Clock;
  readonly sync: SyncPolicy;
  readonly segmentBytes: number;
  readonly tail: TailBudget;
  /** What is known about sealed segments, oldest first. */
  readonly sealed: readonly SegmentMeta[];
  /** The log starts here: whatever is before was given up, even where its file is still there. */
  readonly startOffset: number;
  /** Records from here on are told to `onRecovered`; up to here the log is known to have been on the disk. */
  readonly checkpointOffset: number;
  readonly onRecovered: (record: StoredRecord) => void;
  /** A segment takes no more records. Persist it before returning. */
  readonly onSealed: (meta: SegmentMeta) => void;
  /** The log is about to start at `offset`. Persist it before returning: files are removed afterwards. */
  readonly onTrim: (offset: number) => void;
  /** There is more to read. */
  readonly onVisible: () => void;
}

interface Pending {
  readonly head: RecordHead;
  readonly payload: Uint8Array;
  readonly owner: RecordOwner;
}

/** Payloads up to here are copied next to their headers: fewer pieces to write, and no socket buffer is kept alive. */
const copyMaxBytes = 8 * 1024;
const maxGroupBytes = 8 * 1024 * 1024;
/** Only small groups feel what it costs to grow a file. */
const preallocateBelowBytes = 128 * 1024;
const readChunkBytes = 256 * 1024;

/**
 * A partition's messages: append-only segment files, written in groups. While one group is on its way to the disk the next
 * one collects; one sync pays for all that is in it.
 */
export class PartitionLog {
  readonly #options: PartitionLogOptions;
  readonly #tail: TailCache;
  /** Oldest first. The last one is active unless it was sealed. */
  #segments: Segment[] = [];
  #active: { readonly segment: Segment; readonly file: LogFile } | undefined;
  #startOffset: number;
  #nextOffset = 0;
  #endOffset = 0;
  #pending: Pending[] = [];
  #pendingBytes = 0;
  #flushing: Promise<void> | undefined;
  #isScheduled = false;
  /** A write failed: what is behind the last acknowledged record has to go before the next one. */
  #isDirty = false;
  #syncedTo = 0;
  #syncTimer: Timer | undefined;
  #canPreallocate = true;
  #isClosed = false;

  private constructor(options: PartitionLogOptions) {
    this.#options = options;
    this.#tail = new TailCache(options.tail);
    this.#startOffset = options.startOffset;
  }

  /** @throws {TopicServerError} `CORRUPT` for damage that no crash explains. */
  static async open(options: PartitionLogOptions): Promise<PartitionLog> {
    const log = new PartitionLog(options);
    await log.#recover();
    return log;
  }

  /** First offset there is. */
  get startOffset(): number {
    return this.#startOffset;
  }

  /** One after the last offset that readers see. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** What the next message gets. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Bytes that wait for the disk. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Bytes on the disk. */
  get storedBytes(): number {
    let bytes = 0;
    for (const segment of this.#segments) bytes += segment.bytes;
    return bytes;
  }

  get lastWrittenAtMs(): number {
    return this.#segments.reduce((last, segment) => Math.max(last, segment.lastWrittenAtMs), 0);
  }

  /** Takes a record and gives it its offsets. `owner` hears the rest. @returns the offset of its first message. */
  append(head: Omit<RecordHead, "baseOffset">, payload: Uint8Array, owner: RecordOwner): number {
    if (this.#isClosed) throw new TopicServerError("CLOSED", "The store is closed");
    const baseOffset = this.#nextOffset;
    this.#nextOffset += head.count;
    this.#pending.push({ head: { ...head, baseOffset }, payload, owner });
    this.#pendingBytes += payload.length;
    this.#schedule();
    return baseOffset;
  }

  /** Resolves when everything appended before was stored or lost. */
  async flush(): Promise<void> {
    while (this.#pending.length > 0 || this.#flushing !== undefined) {
      this.#schedule();
      await (this.#flushing ?? Promise.resolve());
    }
  }

  /**
   * Records from the one that holds `offset` on, one at least, up to about `maxBytes`; none at the end of the log. Answers
   * at once where nothing has to be read from the disk. `offset` must not be before `startOffset`.
   *
   * @throws {TopicServerError} `CORRUPT` where the disk has something else than what was written.
   */
  read(offset: number, maxBytes: number): StoredRecord[] | Promise<StoredRecord[]> {
    if (offset >= this.#endOffset) return [];
    return this.#tail.read(offset, maxBytes) ?? this.#readDisk(offset, maxBytes);
  }

  /** The first offset that was written at `timeMs` or later; the end of the log when there is none. */
  async offsetOfTime(timeMs: number): Promise<number> {
    const segment = this.#segments.find((each) => each.lastWrittenAtMs >= timeMs);
    if (segment === undefined) return this.#endOffset;
    let position = segment.index.positionOfTime(timeMs);
    while (position < segment.bytes) {
      const records = await this.#readAt(segment, position, readChunkBytes);
      for (const record of records) {
        if (record.writtenAtMs >= timeMs) return Math.max(this.#startOffset, record.baseOffset);
        position += record.storedBytes;
      }
    }
    return segment.endOffset;
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
    if (count === this.#segments.length && this.#active !== undefined) {
      if (this.#flushing !== undefined) count--;
      else await this.#exclusively(() => this.#seal());
    }
    const gone = this.#segments.slice(0, count);
    const start = gone.at(-1)?.endOffset;
    if (start === undefined) return false;
    this.#options.onTrim(start);
    this.#startOffset = start;
    this.#segments.splice(0, count);
    for (const segment of gone) {
      await segment.close();
      await this.#options.files.remove(segment.path);
    }
    return true;
  }

  /** Writes what waits, syncs, closes. @returns whether all that readers saw is on the disk. */
  async close(): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    this.#syncTimer?.cancel();
    await this.flush();
    let isSynced = !this.#isDirty;
    try {
      await this.#active?.file.sync();
    } catch {
      isSynced = false;
    }
    this.#tail.clear();
    for (const segment of this.#segments) await segment.close();
    return isSynced;
  }

  async #recover(): Promise<void> {
    const { files, folder, sealed, checkpointOffset, startOffset } = this.#options;
    const bases = (await files.list(folder)).map(Segment.baseOffsetOf).filter((base) => base !== undefined);
    bases.sort((a, b) => a - b);
    const metas = new Map(sealed.map((meta) => [meta.baseOffset, meta]));
    let end = startOffset;
    for (const [index, base] of bases.entries()) {
      const segment = new Segment(files, `${folder}/${Segment.fileName(base)}`, base);
      const isLast = index === bases.length - 1;
      // Given up before a crash, and only its file is left.
      if (!isLast && (bases[index + 1] as number) <= startOffset) {
        await files.remove(segment.path);
        continue;
      }
      if (base !== end && !(this.#segments.length === 0 && base <= startOffset)) {
        throw new TopicServerError("CORRUPT", `${folder} has no segment for offset ${end}: the next one is at ${base}`);
      }
      const meta = metas.get(base);
      if (meta !== undefined) {
        segment.restore(meta);
        const size = await segment.using(async (file) => file.size());
        if (size < meta.bytes) {
          throw new TopicServerError("CORRUPT", `${segment.path} has ${size} bytes, expected ${meta.bytes}`);
        }
      } else {
        const onRecord = (record: StoredRecord) => {
          if (record.baseOffset >= checkpointOffset) this.#options.onRecovered(record);
        };
        await recoverSegment(segment, { onRecord, isLast, minEndOffset: isLast ? checkpointOffset : 0 });
        if (isLast) this.#active = { segment, file: await segment.open() };
        else this.#options.onSealed(segment.meta());
      }
      this.#segments.push(segment);
      end = segment.endOffset;
      if (meta !== undefined && end > checkpointOffset) await this.#replay(segment, checkpointOffset);
    }
    if (end < checkpointOffset) {
      throw new TopicServerError(
        "CORRUPT",
        `${folder} ends at offset ${end}, but was on the disk to ${checkpointOffset}`,
      );
    }
    this.#nextOffset = this.#endOffset = Math.max(end, startOffset);
    this.#syncedTo = this.#active?.segment.bytes ?? 0;
  }

  async #replay(segment: Segment, fromOffset: number): Promise<void> {
    let position = segment.index.positionOfOffset(fromOffset);
    while (position < segment.bytes) {
      for (const record of await this.#readAt(segment, position, 1024 * 1024)) {
        position += record.storedBytes;
        if (record.baseOffset >= fromOffset) this.#options.onRecovered(record);
      }
    }
  }

  #schedule(): void {
    if (this.#isScheduled || this.#flushing !== undefined || this.#pending.length === 0) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (this.#flushing === undefined && this.#pending.length > 0) void this.#exclusively(() => this.#flushAll());
    });
  }

  /** One at a time touches the end of the log. */
  async #exclusively(work: () => Promise<void>): Promise<void> {
    while (this.#flushing !== undefined) await this.#flushing;
    const done = work().finally(() => {
      this.#flushing = undefined;
      this.#schedule();
    });
    this.#flushing = done;
    await done;
  }

  async #flushAll(): Promise<void> {
    while (this.#pending.length > 0) {
      const group = this.#takeGroup();
      try {
        await this.#write(group);
      } catch (error) {
        this.#isDirty = true;
        // Where it works, not even a crash brings back what was refused.
        await this.#repair().catch(() => {});
        this.#lose(group, diskError(error, "append to the log"));
        return;
      }
    }
  }

  #takeGroup(): Pending[] {
    let bytes = 0;
    let count = 0;
    for (const { payload } of this.#pending) {
      if (count > 0 && bytes + payload.length > maxGroupBytes) break;
      bytes += payload.length;
      count++;
    }
    if (count === this.#pending.length) {
      const all = this.#pending;
      this.#pending = [];
      return all;
    }
    return this.#pending.splice(0, count);
  }

  async #write(group: readonly Pending[]): Promise<void> {
    const { segment, file } = await this.#writable();
    const pieces: Uint8Array[] = [];
    const stored: StoredRecord[] = [];
    let slabBytes = 0;
    for (const { head, payload } of group) {
      slabBytes += headerBytes + head.producer.length + head.meta.length;
      if (payload.length <= copyMaxBytes) slabBytes += payload.length;
    }
    const slab = Buffer.allocUnsafeSlow(slabBytes);
    const start = segment.bytes;
    let position = start;
    let at = 0;
    let from = 0;
    for (const { head, payload } of group) {
      const headLength = encodeHead(slab, at, head, payload, position, this.#syncedTo);
      at += headLength;
      let kept = payload;
      if (payload.length <= copyMaxBytes) {
        slab.set(payload, at);
        kept = slab.subarray(at, at + payload.length);
        at += payload.length;
      } else {
        pieces.push(slab.subarray(from, at), payload);
        from = at;
      }
      const storedBytes = headLength + payload.length;
      position += storedBytes;
      stored.push({ ...head, payload: kept, storedBytes });
    }
    if (at > from) pieces.push(slab.subarray(from, at));
    await file.write(pieces, start);
    if (this.#options.sync === "always") {
      await file.sync();
      this.#syncedTo = position;
    } else this.#syncLater(this.#options.sync.intervalMs);
    this.#publish(segment, group, stored);
    await this.#preallocate(segment, file, position - start);
  }

  #publish(segment: Segment, group: readonly Pending[], stored: readonly StoredRecord[]): void {
    for (const record of stored) {
      segment.note(record.baseOffset, record.count, record.storedBytes, record.writtenAtMs);
      this.#tail.push(record);
      this.#pendingBytes -= record.payload.length;
    }
    this.#endOffset = segment.endOffset;
    for (let index = 0; index < group.length; index++) {
      (group[index] as Pending).owner.onStored(stored[index] as StoredRecord);
    }
    this.#options.onVisible();
  }

  /** Nothing of what waits can be stored in order any more, so all of it is lost, and the next writer tries again. */
  #lose(group: readonly Pending[], error: TopicServerError): void {
    const lost = [...group, ...this.#pending];
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#nextOffset = this.#endOffset;
    for (const { owner, head } of lost) owner.onLost(head, error);
  }

  /** Cuts off what a failed write left behind. */
  async #repair(): Promise<void> {
    if (this.#isDirty && this.#active !== undefined) {
      const { segment, file } = this.#active;
      await file.truncate(segment.bytes);
      await file.sync();
      this.#syncedTo = segment.bytes;
    }
    this.#isDirty = false;
  }

  async #writable(): Promise<{ readonly segment: Segment; readonly file: LogFile }> {
    await this.#repair();
    if (this.#active !== undefined && this.#active.segment.bytes >= this.#options.segmentBytes) await this.#seal();
    this.#active ??= await this.#create();
    return this.#active;
  }

  async #create(): Promise<{ readonly segment: Segment; readonly file: LogFile }> {
    const { files, folder } = this.#options;
    const base = this.#endOffset;
    const segment = new Segment(files, `${folder}/${Segment.fileName(base)}`, base);
    await files.syncFolder(folder);
    try {
      const file = await segment.open(true);
      await files.syncFolder(folder);
      this.#segments.push(segment);
      this.#syncedTo = 0;
      this.#canPreallocate = true;
      return { segment, file };
    } catch (error) {
      // Else the next try would find it in its way.
      await segment.close();
      await files.remove(segment.path).catch(() => {});
      throw error;
    }
  }

  async #seal(): Promise<void> {
    const active = this.#active;
    if (active === undefined) return;
    const { segment, file } = active;
    await file.truncate(segment.bytes);
    await file.sync();
    this.#options.onSealed(segment.meta());
    this.#active = undefined;
  }

  #syncLater(intervalMs: number): void {
    if (this.#syncTimer !== undefined) return;
    this.#syncTimer = this.#options.clock
      .setTimer(intervalMs, () => {
        this.#syncTimer = undefined;
        const active = this.#active;
        if (active === undefined) return;
        const { bytes } = active.segment;
        active.file.sync().then(
          () => {
            if (this.#active === active) this.#syncedTo = Math.max(this.#syncedTo, bytes);
          },
          // The next write or the next sync says it to somebody who can do something about it.
          () => {},
        );
      })
      .unref();
  }

  /** Zeros ahead of the end, so that a small group does not pay for the file system's own journal. */
  async #preallocate(segment: Segment, file: LogFile, groupBytes: number): Promise<void> {
    if (!this.#options.files.isDurable || !this.#canPreallocate || groupBytes > preallocateBelowBytes) return;
    if (this.#options.sync !== "always" || file.size() - segment.bytes > groupBytes * 2) return;
    const from = Math.max(file.size(), segment.bytes);
    const step = Math.min(Math.max(segment.bytes, 64 * 1024), 4 * 1024 * 1024);
    const room = this.#options.segmentBytes - from;
    if (room <= 0) return;
    try {
      await file.write([new Uint8Array(Math.min(step, room))], from);
    } catch {
      // A luxury: without it writes are slower, not wrong.
      this.#canPreallocate = false;
    }
  }

  #readDisk(offset: number, maxBytes: number): Promise<StoredRecord[]> {
    const segment = this.#segmentOf(offset);
    if (segment === undefined) return Promise.resolve([]);
    return this.#readFrom(segment, offset, maxBytes);
  }

  async #readFrom(segment: Segment, offset: number, maxBytes: number): Promise<StoredRecord[]> {
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

  /** Whole records from `position` on, one at least. */
  async #readAt(segment: Segment, position: number, maxBytes: number): Promise<StoredRecord[]> {
    return segment.using(async (file) => {
      let want = Math.min(maxBytes, segment.bytes - position);
      for (;;) {
        const chunk = Buffer.allocUnsafeSlow(want);
        const got = chunk.subarray(0, await file.read(chunk, position));
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
