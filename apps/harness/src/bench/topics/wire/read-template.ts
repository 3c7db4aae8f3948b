import { grpcFrame, message, writeVarint } from "./proto-writer.ts";
import { success } from "./write-response.ts";

/** Offsets from here to 2^28 take four bytes as a varint, so a frame can be written again for others by patching it. */
export const firstOffset = 2 ** 21;
const lastOffset = 2 ** 28;

/**
 * `ReadResponse` frames of one shape. The server that all readers are measured against makes one once and then copies and
 * patches it: it must not be what limits them.
 */
export class ReadTemplate {
  readonly messages: number;
  /** What the response says it costs of the reader's credit. */
  readonly bytesSize: number;
  readonly #frame: Buffer;
  readonly #firstAt: number;
  readonly #stride: number;

  constructor(options: {
    readonly payload: Uint8Array;
    readonly messages: number;
    readonly partitionSessionId: number;
  }) {
    const { payload, messages, partitionSessionId } = options;
    this.messages = messages;
    const time = message([1, 1_790_000_000], [2, 5_000_000]);
    const data = message([1, firstOffset], [2, firstOffset], [3, time], [5, payload], [6, payload.length]);
    const record = message([1, data]);
    const records = Buffer.concat(Array.from({ length: messages }, () => record));
    const batch = Buffer.concat([records, message([2, "bench-producer"], [4, 1], [5, time])]);
    const partition = message([1, partitionSessionId], [2, batch]);
    // As servers count it: the size of the response.
    this.bytesSize = partition.length + 10;
    this.#frame = grpcFrame(message([1, success], [4, message([1, partition], [2, this.bytesSize])]));
    this.#firstAt = this.#frame.indexOf(record) + (record.length - data.length) + 1;
    this.#stride = record.length;
  }

  /** The frame whose first message has this offset, and the sequence number that comes after it. */
  at(offset: number): Buffer {
    if (offset + this.messages > lastOffset) throw new Error("the source has no more offsets of four bytes");
    const frame = Buffer.allocUnsafe(this.#frame.length);
    frame.set(this.#frame);
    let at = this.#firstAt;
    for (let value = offset; value < offset + this.messages; value++) {
      writeVarint(frame, at, value);
      writeVarint(frame, at + 5, value + 1 < lastOffset ? value + 1 : value);
      at += this.#stride;
    }
    return frame;
  }
}
