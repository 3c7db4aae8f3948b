import type { Timer } from "@tidemark/clock";
import type { TopicServerError } from "../topic-server-error.ts";
import { diskError, type LogFile } from "./log-files.ts";
import type { PartitionLogOptions, RecordOwner } from "./log-options.ts";
import { headBytes, type NewRecord } from "./record.ts";
import { Segment } from "./segment.ts";
import type { SegmentList } from "./segment-list.ts";
import type { StoredGroup } from "./stored-group.ts";
import type { TailCache } from "./tail-cache.ts";
import { checksumOf, encodeGroup, type Pending } from "./write-group.ts";

const maxGroupBytes = 8 * 1024 * 1024;
/**
 * What is worth a write of its own does not wait for the end of the turn, nor for the group before: the disk works while more
 * is received, and has the next group already when one is done.
 */
const defaultStartBytes = 128 * 1024;
/** Groups on their way to the disk at a time. With two the disk does not wait for us; a third one would only wait for it. */
const maxFlights = 2;
/** Only small groups feel what it costs to grow a file. */
const preallocateBelowBytes = 128 * 1024;

/** A segment that takes records. */
interface Active {
  readonly segment: Segment;
  readonly file: LogFile;
}

/** A group on its way to the disk. */
interface Flight extends Active {
  readonly group: readonly Pending[];
  readonly stored: StoredGroup;
  /** Where it begins in the file. */
  readonly start: number;
  readonly startMs: number;
  /** Rejects when it could not be written. */
  readonly landed: Promise<void>;
}

const endOf = ({ start, stored }: Flight) => start + stored.bytes;

/**
 * The end of a log. While one group is on its way to the disk the next one collects; one sync pays for all that is in it.
 * Once it is large it follows at once. Groups may reach the disk in any order; they are acknowledged in theirs, so what a
 * crash tears is behind all that was acknowledged.
 */
export class LogWriter {
  readonly #options: PartitionLogOptions;
  readonly #segments: SegmentList;
  readonly #tail: TailCache;
  readonly #startBytes: number;
  #active: Active | undefined;
  #nextOffset = 0;
  #endOffset = 0;
  #pending: Pending[] = [];
  #pendingBytes = 0;
  /** Of those, bytes that are not on their way. */
  #waitingBytes = 0;
  /** Somebody wants to know when `startBytes` wait. */
  #enough: PromiseWithResolvers<false> | undefined;
  #flushing: Promise<void> | undefined;
  #isScheduled = false;
  /** A write failed: what is behind the last acknowledged record has to go before the next one. */
  #isDirty = false;
  #syncedTo = 0;
  #syncTimer: Timer | undefined;
  /** What was acknowledged could not be synced. */
  #syncError: TopicServerError | undefined;
  #canPreallocate = true;

  constructor(options: PartitionLogOptions, segments: SegmentList, tail: TailCache) {
    this.#options = options;
    this.#segments = segments;
    this.#tail = tail;
    this.#startBytes = options.startBytes ?? defaultStartBytes;
  }

  /** Goes on behind the last segment; in it, where it is open. */
  async start(endOffset: number, isLastOpen: boolean): Promise<void> {
    this.#nextOffset = this.#endOffset = endOffset;
    const segment = this.#segments.last;
    if (!isLastOpen || segment === undefined) return;
    const file = await segment.open();
    // What a process that was killed had written may still be in the memory of the system alone.
    await file.sync();
    this.#active = { segment, file };
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

  append(record: NewRecord, payload: Uint8Array, owner: RecordOwner, after: Promise<void> | undefined): number {
    const baseOffset = this.#nextOffset;
    this.#nextOffset += record.count;
    const sinceMs = this.#options.clock.monotonic();
    const checksum = checksumOf(payload);
    this.#pending.push({ record, baseOffset, payload, checksum, owner, sinceMs, after });
    this.#pendingBytes += payload.length;
    this.#waitingBytes += payload.length;
    if (this.#waitingBytes >= this.#startBytes) this.#enough?.resolve(false);
    this.#schedule();
    return baseOffset;
  }

  /** Resolves when everything appended before was stored or lost. */
  async flush(): Promise<void> {
    while (this.#pending.length > 0 || this.#flushing !== undefined) {
      this.#start();
      await this.#idle();
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
    await this.flush();
    // What was flushed just now has armed it, too.
    this.#syncTimer?.cancel();
    const isClean = !this.#isDirty;
    try {
      if (this.#active !== undefined) await this.#sync(this.#active.file);
      return isClean;
    } catch {
      return false;
    }
  }

  /**
   * @throws {TopicServerError} also after it threw once where what was acknowledged needs it: the system may have let go of
   * what it could not write, and calls the next sync good.
   */
  async #sync(file: LogFile): Promise<void> {
    if (this.#syncError !== undefined) throw this.#syncError;
    try {
      await file.sync();
    } catch (error) {
      const failure = diskError(error, "sync the log");
      if (this.#options.sync !== "always") this.#syncError ??= failure;
      throw failure;
    }
    if (this.#syncError !== undefined) throw this.#syncError;
  }

  /**
   * At the end of the turn: Node tells of each frame of HTTP/2 alone, and runs what is due after each. All that was received
   * together, from whomever, makes one group.
   */
  #schedule(): void {
    if (this.#flushing !== undefined || this.#pending.length === 0) return;
    if (this.#pendingBytes >= this.#startBytes) {
      this.#start();
      return;
    }
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.setImmediate(() => {
      this.#isScheduled = false;
      this.#start();
    });
  }

  #start(): void {
    if (this.#flushing === undefined && this.#pending.length > 0) void this.#exclusively(() => this.#flushAll());
  }

  /** One at a time touches the end of the log. */
  async #exclusively(work: () => Promise<void>): Promise<void> {
    while (this.#flushing !== undefined) await this.#idle();
    const done = work().finally(() => {
      this.#flushing = undefined;
      this.#schedule();
    });
    this.#flushing = done;
    await done;
  }

  /** Resolves when nobody touches the end of the log any more. Whether they could do what they wanted is told to them. */
  async #idle(): Promise<void> {
    try {
      await this.#flushing;
    } catch {}
  }

  async #flushAll(): Promise<void> {
    /** In order. */
    const flights: Flight[] = [];
    let group: readonly Pending[] = [];
    try {
      while (this.#pending.length > 0 || flights.length > 0) {
        const first = flights[0];
        if (first === undefined) {
          group = this.#takeGroup();
          for (const { after } of group) if (after !== undefined) await after;
          const active = await this.#writable();
          flights.push(this.#launch(group, active, active.segment.bytes));
          group = [];
        } else if (this.#mayFollow(flights)) {
          flights.push(this.#launch(this.#takeGroup(), first, endOf(flights.at(-1) as Flight)));
        } else if (await this.#isLanded(first, flights.length)) {
          this.#publish(first);
          flights.shift();
          if (flights.length === 0) await this.#preallocate(first);
        }
      }
    } catch (error) {
      // Nothing is cut off while somebody still writes there.
      await Promise.allSettled(flights.map(({ landed }) => landed));
      this.#isDirty = true;
      // Where it works, not even a crash brings back what was refused.
      await this.#repair().catch(() => {});
      this.#lose([...flights.flatMap((flight) => flight.group), ...group], diskError(error, "append to the log"));
    }
  }

  get #canFollow(): boolean {
    return this.#options.sync === "always" && this.#options.files.isDurable;
  }

  /** Whether what waits need not wait for those on their way: it is large, goes to the same file, and waits for nobody else. */
  #mayFollow(flights: readonly Flight[]): boolean {
    return (
      this.#canFollow &&
      flights.length < maxFlights &&
      this.#waitingBytes >= this.#startBytes &&
      endOf(flights.at(-1) as Flight) < this.#options.segmentBytes &&
      this.#pending.every(({ after }) => after === undefined)
    );
  }

  /** Waits until the group is on the disk, or until another one may follow. @returns which of both it is. */
  async #isLanded({ landed }: Flight, flights: number): Promise<boolean> {
    if (!this.#canFollow || flights === maxFlights || this.#waitingBytes >= this.#startBytes) {
      await landed;
      return true;
    }
    this.#enough = Promise.withResolvers();
    try {
      return await Promise.race([landed.then(() => true), this.#enough.promise]);
    } finally {
      this.#enough = undefined;
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
    this.#waitingBytes -= bytes;
    if (count === this.#pending.length) {
      const all = this.#pending;
      this.#pending = [];
      return all;
    }
    return this.#pending.splice(0, count);
  }

  #launch(group: readonly Pending[], { segment, file }: Active, start: number): Flight {
    const startMs = this.#options.clock.monotonic();
    const { pieces, stored } = encodeGroup(group, start, this.#syncedTo);
    const landed = this.#options.sync === "always" ? file.writeThrough(pieces, start) : file.write(pieces, start);
    // Whoever waits for the one before hears of it later.
    landed.catch(() => {});
    return { segment, file, group, stored, start, startMs, landed };
  }

  #publish(flight: Flight): void {
    const { segment, group, stored, startMs } = flight;
    const { sync, clock } = this.#options;
    if (sync === "always") this.#syncedTo = endOf(flight);
    else this.#syncLater(sync.intervalMs);
    const persistingMs = clock.monotonic() - startMs;
    for (const { record, baseOffset, payload } of group) {
      segment.note(baseOffset, record.count, headBytes(record) + payload.length, record.writtenAtMs);
      this.#pendingBytes -= payload.length;
    }
    this.#tail.push(stored);
    this.#endOffset = segment.endOffset;
    for (const { owner, baseOffset, sinceMs } of group) owner.onStored(baseOffset, startMs - sinceMs, persistingMs);
    this.#options.onVisible();
  }

  /** Nothing of what waits can be stored in order any more, so all of it is lost, and the next writer tries again. */
  #lose(group: readonly Pending[], error: TopicServerError): void {
    const lost = [...group, ...this.#pending];
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#waitingBytes = 0;
    this.#nextOffset = this.#endOffset;
    for (const { owner, record } of lost) owner.onLost(record, error);
  }

  /** Cuts off what a failed write left behind. */
  async #repair(): Promise<void> {
    if (this.#isDirty && this.#active !== undefined) {
      const { segment, file } = this.#active;
      await file.truncate(segment.bytes);
      await this.#sync(file);
      this.#syncedTo = segment.bytes;
    }
    this.#isDirty = false;
  }

  async #writable(): Promise<Active> {
    if (this.#syncError !== undefined) throw this.#syncError;
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
    await this.#sync(file);
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
        this.#sync(active.file).then(
          () => {
            if (this.#active === active) this.#syncedTo = Math.max(this.#syncedTo, bytes);
          },
          // The next write says it to somebody who can do something about it.
          () => {},
        );
      })
      .unref();
  }

  /** Zeros ahead of the end, so that a small group does not pay for the file system's own journal. */
  async #preallocate({ segment, file, stored: { bytes: groupBytes } }: Flight): Promise<void> {
    if (!this.#options.files.isDurable || !this.#canPreallocate || groupBytes > preallocateBelowBytes) return;
    if (this.#options.sync !== "always" || file.size() - segment.bytes > groupBytes * 2) return;
    const from = Math.max(file.size(), segment.bytes);
    const step = Math.min(Math.max(segment.bytes, 64 * 1024), 4 * 1024 * 1024);
    const room = this.#options.segmentBytes - from;
    if (room <= 0) return;
    try {
      await file.write([new Uint8Array(Math.min(step, room))], from);
      // All at once; else each group would sync the part that it covers.
      await file.sync();
    } catch {
      // A luxury: without it writes are slower, not wrong.
      this.#canPreallocate = false;
    }
  }
}
