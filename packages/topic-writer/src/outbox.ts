import { releaseFrame, type Slab } from "@tidemark/topic/internal";
import { Fifo } from "./fifo.ts";
import { type EncodedMessage, messagesOf, withoutFirst } from "./frame-reader.ts";
import { type SeqNo, seqNoAfter } from "./seq-no.ts";

/** One encoded request with all messages of it that are not acknowledged. */
export interface Frame {
  readonly bytes: Uint8Array;
  /** What `bytes` is a part of; undefined: it is nobody else's. */
  readonly slab: Slab | undefined;
  /** Place of its first message among all messages of the writer, from 0. */
  readonly first: number;
  readonly count: number;
  readonly firstSeqNo: SeqNo;
  /** The numbers of its messages, where they may have gaps. */
  readonly seqNos: readonly SeqNo[] | undefined;
  /** What its messages count against the limits of the buffer. */
  readonly size: number;
  /** When it was sent last, by the monotonic clock, where somebody measures. */
  sentMs: number;
}

/** How the server answered a message. */
export type AckKind = "written" | "skipped" | "written-in-tx";

/** Told for each stretch of messages, in order and each message once. */
export type Settle = (first: number, count: number, seqNo: SeqNo, kind: AckKind, offset: SeqNo | undefined) => void;

/** How an answer did not fit. */
export interface AckMismatch {
  readonly expected: SeqNo | undefined;
  readonly got: SeqNo;
}

/**
 * The frames that are not acknowledged, in order, encoded once. It outlives every stream (P16): each new one gets them
 * all again, from the first message that is not acknowledged (P17).
 */
export class Outbox {
  readonly #frames = new Fifo<Frame>();
  readonly #settle: Settle;
  /** Frames that the current stream has. */
  #sent = 0;
  /** Messages of the first frame that are acknowledged. */
  #done = 0;
  #size = 0;
  #settled = 0;
  #highestSent: SeqNo = 0;

  constructor(settle: Settle) {
    this.#settle = settle;
  }

  /** Frames with messages that are not acknowledged. */
  get length(): number {
    return this.#frames.length;
  }

  /** Frames that the current stream has and has not acknowledged. */
  get inFlight(): number {
    return this.#sent;
  }

  get size(): number {
    return this.#size;
  }

  /** How many messages of the writer are settled: always its first ones. */
  get settled(): number {
    return this.#settled;
  }

  /** The highest number that any stream ever got; 0: none. */
  get highestSent(): SeqNo {
    return this.#highestSent;
  }

  push(frame: Frame): void {
    this.#frames.push(frame);
    this.#size += frame.size;
  }

  /** The next frame for the current stream, which has it from now on. */
  next(): Frame | undefined {
    const frame = this.#frames.at(this.#sent);
    if (frame === undefined) return undefined;
    this.#sent++;
    const last = seqNoIn(frame, frame.count - 1);
    if (last > this.#highestSent) this.#highestSent = last;
    return frame;
  }

  /** There is no stream any more: what it has is to be sent again, without what it acknowledged. */
  rewind(): void {
    for (let n = 0; n < this.#sent; n++) {
      const slab = this.#frames.at(n)?.slab;
      // The stream that is gone may not have let go of it.
      if (slab !== undefined) slab.isLent = true;
    }
    this.#sent = 0;
    this.#trim();
  }

  /**
   * The server knows every message up to this number. What of that was sent before is settled: its acknowledgement was
   * lost (P18). Only between `rewind` and the first `next`.
   */
  confirm(lastSeqNo: SeqNo): void {
    for (let frame = this.#frames.at(0); frame !== undefined; frame = this.#frames.at(0)) {
      let count = 0;
      while (this.#done + count < frame.count) {
        const seqNo = seqNoIn(frame, this.#done + count);
        if (seqNo > lastSeqNo || seqNo > this.#highestSent) break;
        count++;
      }
      if (count > 0) this.#advance(frame, count, "skipped", undefined);
      if (this.#done > 0) break;
      if (count === 0) break;
    }
    this.#trim();
  }

  /**
   * Settles `total` messages whose numbers, and offsets, rise by one from the first. They have to be the next ones of
   * this stream (X8).
   */
  acknowledge(
    kind: AckKind,
    firstSeqNo: SeqNo,
    total: number,
    firstOffset: SeqNo | undefined,
  ): AckMismatch | undefined {
    let seqNo = firstSeqNo;
    let offset = firstOffset;
    let count = total;
    while (count > 0) {
      const frame = this.#sent > 0 ? this.#frames.at(0) : undefined;
      if (frame === undefined) return { expected: undefined, got: seqNo };
      const expected = seqNoIn(frame, this.#done);
      if (expected !== seqNo) return { expected, got: seqNo };
      const fits = Math.min(count, consecutive(frame, this.#done));
      this.#advance(frame, fits, kind, offset);
      count -= fits;
      seqNo = seqNoAfter(seqNo, fits);
      if (offset !== undefined) offset = seqNoAfter(offset, fits);
    }
    return undefined;
  }

  /** When the frame that will be acknowledged next was sent; undefined: none, or nobody measured. */
  get oldestSentMs(): number | undefined {
    const frame = this.#sent > 0 ? this.#frames.at(0) : undefined;
    return frame === undefined || frame.sentMs === 0 ? undefined : frame.sentMs;
  }

  /** The number that the next answer has to begin with; undefined when nothing is under way. */
  get expected(): SeqNo | undefined {
    const frame = this.#sent > 0 ? this.#frames.at(0) : undefined;
    return frame === undefined ? undefined : seqNoIn(frame, this.#done);
  }

  /** Number of the first and the last message that is not acknowledged. */
  get range(): readonly [SeqNo, SeqNo] | undefined {
    const first = this.#frames.at(0);
    const last = this.#frames.at(this.#frames.length - 1);
    if (first === undefined || last === undefined) return undefined;
    return [seqNoIn(first, this.#done), seqNoIn(last, last.count - 1)];
  }

  /** Every message that is not acknowledged, in order. */
  *messages(): IterableIterator<EncodedMessage> {
    for (let n = 0; n < this.#frames.length; n++) {
      yield* messagesOf((this.#frames.at(n) as Frame).bytes, n === 0 ? this.#done : 0);
    }
  }

  /** The same, each with its share of what its frame counts against the limits of the buffer. */
  *sized(): IterableIterator<{ readonly message: EncodedMessage; readonly size: number }> {
    for (let n = 0; n < this.#frames.length; n++) {
      const frame = this.#frames.at(n) as Frame;
      const messages = messagesOf(frame.bytes, n === 0 ? this.#done : 0);
      let left = frame.size;
      const share = Math.floor(left / messages.length);
      for (const [place, message] of messages.entries()) {
        const size = place === messages.length - 1 ? left : share;
        left -= size;
        yield { message, size };
      }
    }
  }

  /** Lets go of everything: the messages have another owner. */
  clear(): void {
    this.#frames.takeAll();
    this.#sent = 0;
    this.#done = 0;
    this.#size = 0;
  }

  #advance(frame: Frame, count: number, kind: AckKind, offset: SeqNo | undefined): void {
    const first = frame.first + this.#done;
    const seqNo = seqNoIn(frame, this.#done);
    this.#done += count;
    this.#settled = first + count;
    if (this.#done === frame.count) {
      this.#frames.shift();
      if (frame.slab !== undefined) releaseFrame(frame.slab);
      this.#done = 0;
      this.#size -= frame.size;
      if (this.#sent > 0) this.#sent--;
    }
    this.#settle(first, count, seqNo, kind, offset);
  }

  /** Cuts off what is acknowledged, so that it is not sent again. */
  #trim(): void {
    const done = this.#done;
    const frame = this.#frames.at(0);
    if (done === 0 || frame === undefined) return;
    this.#done = 0;
    this.#frames.set(0, {
      bytes: withoutFirst(frame.bytes, done),
      slab: undefined,
      first: frame.first + done,
      count: frame.count - done,
      firstSeqNo: seqNoIn(frame, done),
      seqNos: frame.seqNos?.slice(done),
      size: frame.size,
      sentMs: 0,
    });
  }
}

function seqNoIn(frame: Frame, index: number): SeqNo {
  return frame.seqNos === undefined ? seqNoAfter(frame.firstSeqNo, index) : (frame.seqNos[index] as SeqNo);
}

/** How many messages from this one on have numbers without a gap. */
function consecutive(frame: Frame, index: number): number {
  const { seqNos } = frame;
  if (seqNos === undefined) return frame.count - index;
  let end = index + 1;
  while (end < frame.count && seqNos[end] === seqNoAfter(seqNos[end - 1] as SeqNo, 1)) end++;
  return end - index;
}
