import type { Timer } from "@tidemark/clock";
import type { TopicServerError } from "../topic-server-error.ts";
import { diskError, type LogFile } from "./log-files.ts";
import type { PartitionLogOptions, RecordOwner } from "./log-options.ts";
import type { RecordHead, StoredRecord } from "./record.ts";
import { Segment } from "./segment.ts";
import type { SegmentList } from "./segment-list.ts";
import type { TailCache } from "./tail-cache.ts";
import { encodeGroup, type Pending } from "./write-group.ts";

const maxGroupBytes = 8 * 1024 * 1024;
/** Only small groups feel what it costs to grow a file. */
const preallocateBelowBytes = 128 * 1024;

/** A segment that takes records. */
interface Active {
  readonly segment: Segment;
  readonly file: LogFile;
}

/**
 * The end of a log. While one group is on its way to the disk the next one collects; one sync pays for all that is in it.
 */
export class LogWriter {
  readonly #options: PartitionLogOptions;
  readonly #segments: SegmentList;
  readonly #tail: TailCache;
  #active: Active | undefined;
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

  constructor(options: PartitionLogOptions, segments: SegmentList, tail: TailCache) {
    this.#options = options;
    this.#segments = segments;
    this.#tail = tail;
  }

  /** Goes on behind the last segment; in it, where it is open. */
  async start(endOffset: number, isLastOpen: boolean): Promise<void> {
    this.#nextOffset = this.#endOffset = endOffset;
    const segment = this.#segments.last;
    if (!isLastOpen || segment === undefined) return;
    this.#active = { segment, file: await segment.open() };
    this.#syncedTo = segment.bytes;
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

  /** Whether the last segment takes more records. */
  get hasActive(): boolean {
    return this.#active !== undefined;
  }

  append(head: Omit<RecordHead, "baseOffset">, payload: Uint8Array, owner: RecordOwner): number {
    const baseOffset = this.#nextOffset;
    this.#nextOffset += head.count;
    const sinceMs = this.#options.clock.monotonic();
    this.#pending.push({ head: { ...head, baseOffset }, payload, owner, sinceMs });
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

  /** Lets the active segment take no more records, unless somebody writes right now. @returns whether it did. */
  async sealIdle(): Promise<boolean> {
    if (this.#flushing !== undefined) return false;
    await this.#exclusively(() => this.#seal());
    return true;
  }

  /** Writes what waits, and syncs. @returns whether all that readers saw is on the disk. */
  async close(): Promise<boolean> {
    this.#syncTimer?.cancel();
    await this.flush();
    const isClean = !this.#isDirty;
    try {
      await this.#active?.file.sync();
      return isClean;
    } catch {
      return false;
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
    const startMs = this.#options.clock.monotonic();
    const { segment, file } = await this.#writable();
    const start = segment.bytes;
    const { pieces, stored, end } = encodeGroup(group, start, this.#syncedTo);
    await file.write(pieces, start);
    if (this.#options.sync === "always") {
      await file.sync();
      this.#syncedTo = end;
    } else this.#syncLater(this.#options.sync.intervalMs);
    this.#publish(segment, group, stored, startMs);
    await this.#preallocate(segment, file, end - start);
  }

  #publish(segment: Segment, group: readonly Pending[], stored: readonly StoredRecord[], startMs: number): void {
    const persistingMs = this.#options.clock.monotonic() - startMs;
    for (const record of stored) {
      segment.note(record.baseOffset, record.count, record.storedBytes, record.writtenAtMs);
      this.#tail.push(record);
      this.#pendingBytes -= record.payload.length;
    }
    this.#endOffset = segment.endOffset;
    for (let index = 0; index < group.length; index++) {
      const { owner, sinceMs } = group[index] as Pending;
      owner.onStored(stored[index] as StoredRecord, startMs - sinceMs, persistingMs);
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

  async #writable(): Promise<Active> {
    await this.#repair();
    if (this.#active !== undefined && this.#active.segment.bytes >= this.#options.segmentBytes) await this.#seal();
    this.#active ??= await this.#create();
    return this.#active;
  }

  async #create(): Promise<Active> {
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
}
