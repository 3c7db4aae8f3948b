import { Code, ConnectError } from "@connectrpc/connect";
import type { MessageSplitter } from "@tidemark/connect-transport";
import { EtcdError } from "./etcd-error.ts";

/** Tag and wire type, as one byte each: `WatchResponse` has no field above 15. */
const eventsTag = (11 << 3) | 2;
const fragmentTag = (7 << 3) | 0;
const saidFragment = Uint8Array.of(fragmentTag, 1);
/** Tag and length of a field, so that the end of the one after a full piece is known. */
const fieldHeadBytes = 16;
const none = Buffer.alloc(0);

/**
 * Cuts large messages of a watch into small ones while they come in: each becomes several with the same header and some
 * of the events, all but the last marked as fragments. So a response of any size is read while it is on its way, in bounded
 * memory. etcd itself puts 1000 revisions into one response; asked for fragments, it takes time by the square of the
 * events in each.
 */
export class ResponseSplitter implements MessageSplitter {
  readonly fromBytes: number;
  readonly #pieceBytes: number;
  readonly #maxEventBytes: number;
  #chunk: Buffer = none;
  #at = 0;
  /** What is left of the message and was not put into `#piece` yet. */
  #left = 0;
  /** The fields before the events. */
  #common: Buffer = none;
  #isFragment = false;
  /** The mark of a fragment, the fields before the events, whole events up to `#parsed`, then the beginning of one. */
  #piece: Buffer = none;
  #begin = 0;
  #parsed = 0;
  #filled = 0;

  /**
   * @param pieceBytes a piece has at most so many bytes of events, unless it is a single one.
   * @param maxEventBytes the largest of them that is taken.
   */
  constructor(pieceBytes: number, maxEventBytes: number) {
    this.fromBytes = pieceBytes * 2 + 1;
    this.#pieceBytes = pieceBytes;
    this.#maxEventBytes = maxEventBytes;
  }

  begin(size: number): void {
    this.#left = size;
    this.#common = none;
    this.#isFragment = false;
    this.#renew(none);
  }

  /**
   * @throws {EtcdError} `PROTOCOL`
   * @throws {ConnectError} `ResourceExhausted`
   */
  push(bytes: Buffer): readonly Uint8Array[] {
    this.#chunk = bytes;
    this.#at = 0;
    const pieces: Uint8Array[] = [];
    for (;;) {
      const end = this.#endOfField();
      const isEvent = this.#filled > this.#parsed && this.#piece[this.#parsed] === eventsTag;
      const hasEvents = this.#parsed > this.#begin;
      // Only where another event follows: a piece without any would be taken for a notice of progress.
      if (isEvent && hasEvents && end !== undefined && end - this.#begin > this.#pieceBytes) {
        pieces.push(this.#emit(true));
      } else if (end !== undefined && end <= this.#filled) {
        if (isEvent) this.#parsed = end;
        else this.#takeCommon(end);
      } else if (this.#left === 0) {
        if (this.#parsed < this.#filled) throw broken("ends within a field");
        pieces.push(this.#emit(this.#isFragment));
        this.#chunk = none;
        return pieces;
      } else if (this.#at === this.#chunk.length) {
        this.#chunk = none;
        return pieces;
      } else {
        this.#fill(end ?? 0);
      }
    }
  }

  /** Brings in what there is of the message, up to what `#piece` holds. It is made to hold `needed`. */
  #fill(needed: number): void {
    if (needed - this.#begin > this.#maxEventBytes) {
      const detail = `an event of ${needed - this.#begin} bytes is larger than the ${this.#maxEventBytes} that are taken`;
      throw new ConnectError(detail, Code.ResourceExhausted);
    }
    if (this.#filled === this.#piece.length || needed > this.#piece.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#piece.length + this.#pieceBytes));
      grown.set(this.#piece.subarray(0, this.#filled));
      this.#piece = grown;
    }
    const length = Math.min(this.#left, this.#chunk.length - this.#at, this.#piece.length - this.#filled);
    this.#piece.set(this.#chunk.subarray(this.#at, this.#at + length), this.#filled);
    this.#at += length;
    this.#filled += length;
    this.#left -= length;
  }

  /** Where the field at `#parsed` ends; undefined where too little of it is there to tell. */
  #endOfField(): number | undefined {
    const piece = this.#piece;
    const wire = (piece[this.#parsed] as number) & 7;
    let value = 0;
    for (let at = this.#parsed + 1, scale = 1; at < this.#filled; at++, scale *= 128) {
      const byte = piece[at] as number;
      value += (byte & 127) * scale;
      if (byte > 127) continue;
      if (wire === 0) return at + 1;
      if (wire === 2) {
        if (at + 1 + value > this.#left + this.#filled) throw broken("has a field longer than itself");
        return at + 1 + value;
      }
      throw broken(`has a field of wire type ${wire}`);
    }
    return undefined;
  }

  /** Moves a field that is no event from the beginning of the piece to what all pieces have. */
  #takeCommon(end: number): void {
    if (this.#parsed > this.#begin) throw broken("has its events before its other fields");
    const field = this.#piece.subarray(this.#begin, end);
    if (field[0] === fragmentTag) this.#isFragment = field[1] !== 0;
    else this.#common = Buffer.concat([this.#common, field]);
    this.#renew(this.#piece.subarray(end, this.#filled));
  }

  #emit(isFragment: boolean): Uint8Array {
    const piece = this.#piece.subarray(isFragment ? 0 : saidFragment.length, this.#parsed);
    this.#renew(this.#piece.subarray(this.#parsed, this.#filled));
    return piece;
  }

  /** Goes on in memory of its own: nobody knows for how long what was given out is read. */
  #renew(beginning: Uint8Array): void {
    const begin = saidFragment.length + this.#common.length;
    const isLast = this.#left === 0 && beginning.length === 0;
    const room = isLast ? 0 : Math.max(beginning.length, this.#pieceBytes + fieldHeadBytes);
    const piece = Buffer.allocUnsafeSlow(begin + room);
    piece.set(saidFragment);
    piece.set(this.#common, saidFragment.length);
    piece.set(beginning, begin);
    this.#piece = piece;
    this.#begin = this.#parsed = begin;
    this.#filled = begin + beginning.length;
  }
}

function broken(how: string): EtcdError {
  return new EtcdError("PROTOCOL", `etcd sent a response that ${how}`);
}
