import { EtcdError } from "./etcd-error.ts";

const envelopeBytes = 5;
const compressedFlag = 1;
/** Tag and wire type, as one byte each: `WatchResponse` has no field above 15. */
const eventsTag = (11 << 3) | 2;
const fragmentTag = (7 << 3) | 0;
const saidFragment = [fragmentTag, 1];
/** Tag and length of a field, so that the end of the one after a full piece is known. */
const fieldHeadBytes = 16;
const none = Buffer.alloc(0);

/**
 * Cuts large messages of a watch into small ones while they come in: each becomes several with the same header and some
 * of the events, all but the last marked as fragments. So a response of any size is read while it is on its way, in bounded
 * memory. etcd itself puts 1000 revisions into one response; asked for fragments, it takes time by the square of the
 * events in each.
 *
 * Bytes of a gRPC stream go in by {@link push} and come out of {@link next}; small and compressed messages as they are.
 */
class ResponseSplitter {
  readonly #pieceBytes: number;
  #chunk: Uint8Array = none;
  #at = 0;
  /** What is left of a message that passes as it is, its envelope included. */
  #passing = 0;
  /** An envelope that two chunks share. */
  readonly #envelope = Buffer.alloc(envelopeBytes);
  #envelopeLength = 0;
  #isSplitting = false;
  /** What is left of the message that is split and was not put into `#piece` yet. */
  #left = 0;
  /** The fields before the events. */
  #common: Buffer[] = [];
  #isFragment = false;
  /** Events: whole ones up to `#parsed`, then the beginning of one. */
  #piece: Buffer = none;
  #parsed = 0;
  #filled = 0;
  /** Events whose envelope and common fields were given out already. */
  #events: Buffer | undefined;

  /** A piece has at most so many bytes of events, unless it is a single one. */
  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  /** Call it when `next` has nothing more. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * The next bytes; undefined: there is nothing more in what was pushed.
   *
   * @throws {EtcdError} `PROTOCOL`
   */
  next(): Uint8Array | undefined {
    const events = this.#events;
    if (events !== undefined) {
      this.#events = undefined;
      return events;
    }
    const from = this.#at;
    for (;;) {
      if (this.#passing > 0) this.#at += this.#pass();
      const rest = this.#chunk.length - this.#at;
      const isDone = rest === 0 && !this.#isSplitting;
      if (isDone || this.#isSplitting || this.#envelopeLength > 0 || rest < envelopeBytes) {
        // What passes comes before what is put together.
        if (this.#at > from) return this.#chunk.subarray(from, this.#at);
        if (isDone) return undefined;
        if (this.#isSplitting) return this.#split();
        return this.#joinEnvelope();
      }
      this.#begin(this.#chunk, this.#at);
      if (this.#isSplitting) {
        const until = this.#at;
        this.#at += envelopeBytes;
        return until > from ? this.#chunk.subarray(from, until) : this.#split();
      }
    }
  }

  #pass(): number {
    const length = Math.min(this.#passing, this.#chunk.length - this.#at);
    this.#passing -= length;
    return length;
  }

  /** Decides what becomes of the message whose envelope is there. */
  #begin(bytes: Uint8Array, at: number): void {
    const [flags = 0, a = 0, b = 0, c = 0, d = 0] = bytes.subarray(at, at + envelopeBytes);
    const length = a * 0x1_00_00_00 + ((b << 16) | (c << 8) | d);
    if (length <= this.#pieceBytes * 2 || (flags & compressedFlag) !== 0) {
      this.#passing = envelopeBytes + length;
      return;
    }
    this.#isSplitting = true;
    this.#left = length;
    this.#common = [];
    this.#isFragment = false;
    this.#renew(none);
  }

  #joinEnvelope(): Uint8Array | undefined {
    const length = Math.min(envelopeBytes - this.#envelopeLength, this.#chunk.length - this.#at);
    this.#envelope.set(this.#chunk.subarray(this.#at, this.#at + length), this.#envelopeLength);
    this.#at += length;
    this.#envelopeLength += length;
    if (this.#envelopeLength < envelopeBytes) return undefined;
    this.#envelopeLength = 0;
    this.#begin(this.#envelope, 0);
    if (this.#isSplitting) return this.#split();
    this.#passing -= envelopeBytes;
    return Buffer.from(this.#envelope);
  }

  #split(): Uint8Array | undefined {
    for (;;) {
      const end = this.#endOfField();
      const isEvent = this.#filled > this.#parsed && this.#piece[this.#parsed] === eventsTag;
      // Only where another event follows: a piece without any would be taken for a notice of progress.
      if (isEvent && this.#parsed > 0 && end !== undefined && end > this.#pieceBytes) return this.#emit(true);
      if (end !== undefined && end <= this.#filled) {
        if (isEvent) this.#parsed = end;
        else this.#takeCommon(end);
      } else if (this.#left === 0) {
        if (this.#parsed < this.#filled) throw broken("ends within a field");
        this.#isSplitting = false;
        return this.#emit(this.#isFragment);
      } else if (this.#at === this.#chunk.length) {
        return undefined;
      } else {
        this.#fill(end ?? 0);
      }
    }
  }

  /** Brings in what there is of the message, up to what `#piece` holds. It is made to hold `needed`. */
  #fill(needed: number): void {
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
        if (value > this.#left + this.#filled) throw broken("has a field longer than itself");
        return at + 1 + value;
      }
      throw broken(`has a field of wire type ${wire}`);
    }
    return undefined;
  }

  /** Moves a field that is no event from the beginning of the piece to what all pieces have. */
  #takeCommon(end: number): void {
    if (this.#parsed > 0) throw broken("has its events before its other fields");
    if (this.#piece[0] === fragmentTag) this.#isFragment = this.#piece[1] !== 0;
    else this.#common.push(Buffer.from(this.#piece.subarray(0, end)));
    this.#renew(this.#piece.subarray(end, this.#filled));
  }

  #emit(isFragment: boolean): Uint8Array {
    const events = this.#piece.subarray(0, this.#parsed);
    const envelope = Buffer.alloc(envelopeBytes);
    const parts = [envelope, ...this.#common, ...(isFragment ? [Buffer.from(saidFragment)] : [])];
    const bytes = parts.reduce((sum, { length }) => sum + length, events.length - envelopeBytes);
    envelope.writeUInt32BE(bytes, 1);
    this.#renew(this.#piece.subarray(this.#parsed, this.#filled));
    this.#events = events.length === 0 ? undefined : events;
    return Buffer.concat(parts);
  }

  /** Goes on in memory of its own: nobody knows for how long what was given out is read. */
  #renew(beginning: Uint8Array): void {
    const isLast = this.#left === 0 && beginning.length === 0;
    this.#piece = isLast ? none : Buffer.allocUnsafeSlow(Math.max(beginning.length, this.#pieceBytes + fieldHeadBytes));
    this.#piece.set(beginning);
    this.#filled = beginning.length;
    this.#parsed = 0;
  }
}

/** What comes out of a splitter for what goes in. */
export function inPieces(chunks: AsyncIterator<Uint8Array>, pieceBytes: number): AsyncIterableIterator<Uint8Array> {
  const splitter = new ResponseSplitter(pieceBytes);
  return {
    async next() {
      for (;;) {
        const value = splitter.next();
        if (value !== undefined) return { done: false, value };
        const result = await chunks.next();
        if (result.done === true) return result;
        splitter.push(result.value);
      }
    },
    async return(value) {
      await chunks.return?.();
      return { done: true, value };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function broken(how: string): EtcdError {
  return new EtcdError("PROTOCOL", `etcd sent a response that ${how}`);
}
