import type { FrameCall } from "@tidemark/connect-transport";
import { encodeReadResponse, readResponseBytes, type StoredBatch } from "@tidemark/topic/internal";
import type { Partition } from "../storage/partition.ts";
import type { StoredRecord } from "../storage/record.ts";
import type { InFlight } from "./in-flight.ts";
import { cut, type LastScan } from "./read-pieces.ts";

/** Bytes of messages in one response. */
const maxResponseBytes = 1024 * 1024;

/** A partition that is read. */
export interface Pumped {
  readonly id: number;
  readonly partition: Partition;
  readonly isReading: boolean;
  /** The next message to send. */
  readOffset: number;
  /** The disk is being read for it. */
  isBusy: boolean;
  readonly last: LastScan;
  /** Undefined: no limit. */
  readonly inFlight: InFlight | undefined;
  /** At most so many bytes in one response; 0: no limit of its own. */
  readonly maxBytes: number;
}

/** Must not throw. */
export interface PumpOwner<P extends Pumped> {
  /** Bytes that the client has room for. */
  readonly credit: number;
  onSent(part: P, bytes: number, batches: readonly StoredBatch[]): void;
  /** There is nothing more to send of it for now. */
  onReadToEnd(part: P): void;
  onReadFailed(error: unknown): void;
}

/** Sends what partitions have for one client, in turn, as far as its credit and its connection go. */
export class ReadPump<P extends Pumped> {
  readonly #call: FrameCall;
  readonly #owner: PumpOwner<P>;
  /** Partitions that may have something to send. */
  #queue: P[] = [];
  readonly #queued = new Set<P>();
  #isPumping = false;
  #isScheduled = false;
  /** The client does not read what it is sent. */
  #isFull = false;

  constructor(call: FrameCall, owner: PumpOwner<P>) {
    this.#call = call;
    this.#owner = owner;
  }

  /** There may be something to send of it. */
  enqueue(part: P): void {
    if (!this.#queued.has(part)) {
      this.#queued.add(part);
      this.#queue.push(part);
    }
    this.schedule();
  }

  /** Once a turn: what became readable together is sent together. */
  schedule(): void {
    if (this.#isScheduled || this.#isPumping || this.#isFull) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  clear(): void {
    this.#queue = [];
    this.#queued.clear();
  }

  #pump(): void {
    this.#isPumping = true;
    while (this.#owner.credit > 0 && !this.#isFull) {
      const part = this.#queue.shift();
      if (part === undefined) break;
      this.#queued.delete(part);
      if (part.isBusy || !part.isReading) continue;
      this.#read(part);
    }
    this.#isPumping = false;
  }

  #read(part: P): void {
    const { log } = part.partition;
    // Retention may have overtaken the reader: what is gone is a gap in the offsets.
    if (part.readOffset < log.startOffset) part.readOffset = log.startOffset;
    if (part.readOffset >= log.endOffset) {
      this.#owner.onReadToEnd(part);
      return;
    }
    const room = this.#room(part);
    // A commit makes room, and puts it in the queue again.
    if (room <= 0) return;
    const offset = part.readOffset;
    const found = log.read(offset, room);
    if (!(found instanceof Promise)) {
      this.#send(part, offset, found);
      return;
    }
    part.isBusy = true;
    found.then(
      (records) => {
        part.isBusy = false;
        if (part.isReading && part.readOffset === offset) this.#send(part, offset, records);
      },
      (error: unknown) => {
        part.isBusy = false;
        // A segment that retention removed while it was being read.
        if (part.readOffset < log.startOffset) this.enqueue(part);
        else this.#owner.onReadFailed(error);
      },
    );
  }

  #room(part: P): number {
    const limit = part.maxBytes > 0 ? Math.min(part.maxBytes, maxResponseBytes) : maxResponseBytes;
    const room = Math.min(this.#owner.credit, limit);
    return part.inFlight === undefined ? room : Math.min(room, part.inFlight.room);
  }

  #send(part: P, offset: number, records: readonly StoredRecord[]): void {
    const room = this.#room(part);
    if (room <= 0) {
      this.enqueue(part);
      return;
    }
    try {
      const { batches, nextOffset } = cut(records, offset, room, part.last);
      if (batches.length > 0) {
        const bytes = readResponseBytes(part.id, batches);
        part.readOffset = nextOffset;
        part.inFlight?.add(offset, nextOffset, bytes);
        this.#owner.onSent(part, bytes, batches);
        if (!this.#call.send(encodeReadResponse(part.id, batches, bytes))) this.#waitForRoom();
      }
    } catch (error) {
      this.#owner.onReadFailed(error);
      return;
    }
    this.enqueue(part);
  }

  #waitForRoom(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#call.drained().then(
      () => {
        this.#isFull = false;
        this.schedule();
      },
      () => {},
    );
  }
}
