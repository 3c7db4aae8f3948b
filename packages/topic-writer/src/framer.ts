import type { Clock } from "@tidemark/clock";
import { FrameBuilder } from "@tidemark/topic/internal";
import type { MessageBody } from "./message.ts";
import type { Frame } from "./outbox.ts";
import { type SeqNo, seqNoAfter } from "./seq-no.ts";
import type { StagedMessage } from "./stage.ts";

/** Numbers messages and puts them into frames. */
export class Framer {
  readonly #clock: Clock;
  readonly #builder: FrameBuilder;
  readonly #onFull: (frame: Frame) => void;
  /** The numbers of the open frame, where they may have gaps. */
  #seqNos: SeqNo[] | undefined;
  #nextSeqNo: SeqNo = 1;
  /** Of the open frame. */
  #first = 0;
  #firstSeqNo: SeqNo = 0;
  #size = 0;
  #nowMs = 0;

  constructor(clock: Clock, maxFrameBytes: number, isManual: boolean, onFull: (frame: Frame) => void) {
    this.#clock = clock;
    this.#builder = new FrameBuilder(maxFrameBytes);
    this.#seqNos = isManual ? [] : undefined;
    this.#onFull = onFull;
  }

  /** Messages in the open frame. */
  get count(): number {
    return this.#builder.count;
  }

  /** The first stream is there: these are known from now on. */
  open(lastSeqNo: SeqNo, codecId: number, transaction: Uint8Array | undefined): void {
    this.#nextSeqNo = seqNoAfter(lastSeqNo, 1);
    this.#builder.setTrailer(codecId, transaction);
  }

  /** The clock is read once for all messages of a tick. */
  stamp(): number {
    this.#nowMs = this.#clock.now();
    return this.#nowMs;
  }

  /** The time of the last `stamp`. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** `uncompressedBytes`: of the body before compression. */
  add(
    seqNo: SeqNo,
    createdAtMs: number,
    data: MessageBody,
    dataBytes: number,
    uncompressedBytes: number,
    metadata: Uint8Array | undefined,
    size: number,
  ): void {
    const number = this.#seqNos === undefined ? this.#nextSeqNo : seqNo;
    if (!this.#builder.append(number, createdAtMs, data, dataBytes, uncompressedBytes, metadata)) {
      this.#full();
      this.#builder.append(number, createdAtMs, data, dataBytes, uncompressedBytes, metadata);
    }
    this.#count(number, size);
  }

  /** A message that another writer encoded with the same codec. */
  addEncoded(message: StagedMessage): void {
    const number = this.#seqNos === undefined ? this.#nextSeqNo : message.seqNo;
    const rest = message.data as Uint8Array;
    if (!this.#builder.appendEncoded(number, rest)) {
      this.#full();
      this.#builder.appendEncoded(number, rest);
    }
    this.#count(number, message.size);
  }

  /** Closes the open frame, if there is one. */
  cut(): Frame | undefined {
    const { count } = this.#builder;
    if (count === 0) return undefined;
    const frame: Frame = {
      ...this.#builder.take(),
      first: this.#first,
      count,
      firstSeqNo: this.#firstSeqNo,
      seqNos: this.#seqNos,
      size: this.#size,
      sentMs: 0,
    };
    this.#first += count;
    this.#size = 0;
    if (this.#seqNos !== undefined) this.#seqNos = [];
    return frame;
  }

  #full(): void {
    const frame = this.cut();
    if (frame !== undefined) this.#onFull(frame);
    this.stamp();
  }

  #count(seqNo: SeqNo, size: number): void {
    if (this.#builder.count === 1) this.#firstSeqNo = seqNo;
    if (this.#seqNos === undefined) {
      this.#nextSeqNo = typeof seqNo === "number" && seqNo < Number.MAX_SAFE_INTEGER ? seqNo + 1 : seqNoAfter(seqNo, 1);
    } else this.#seqNos.push(seqNo);
    this.#size += size;
  }
}
