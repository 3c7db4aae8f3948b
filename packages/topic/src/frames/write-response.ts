import { StreamWriteMessage_FromServerSchema } from "../gen/ydb/topic_pb.ts";
import { type FrameShape, inPieces, readFrame } from "./frame-shape.ts";
import { type Int64, toInt64 } from "./int64.ts";
import { plain, plainNumber } from "./plain.ts";
import { rowAllocator, type Rows } from "./rows.ts";
import { type Scanner, wire } from "./scanner.ts";

/** What became of messages; the numbers are those of `WriteAck`'s fields, and 0 is an ack that does not say. */
export const ackKind = { unknown: 0, written: 2, skipped: 3, writtenInTx: 4 } as const;
export type AckKind = (typeof ackKind)[keyof typeof ackKind];

// Cells of a run.
const stride = 4;

/**
 * The acknowledgements of one `WriteResponse` as runs: neighbours whose sequence numbers follow each other by 1, with the
 * same kind, and, where they are written, offsets that follow each other by 1. Nothing is merged that is not exactly so:
 * gaps, repetitions and changes begin a new run.
 */
export class WriteAcks {
  /** Runs. */
  readonly length: number;
  readonly partitionId: number;
  /** Acknowledgements. */
  readonly total: number;
  readonly #cells: Float64Array;
  readonly #base: number;
  /** Numbers above 2^53 by cell. */
  readonly #wide: ReadonlyMap<number, bigint> | undefined;

  constructor(
    rows: Rows,
    length: number,
    partitionId: number,
    total: number,
    wide: ReadonlyMap<number, bigint> | undefined,
  ) {
    this.#cells = rows.f64;
    this.#base = rows.base;
    this.length = length;
    this.partitionId = partitionId;
    this.total = total;
    this.#wide = wide;
  }

  firstSeqNo(run: number): Int64 {
    return this.#wide?.get(run * stride) ?? (this.#cells[this.#base + run * stride] as number);
  }

  lastSeqNo(run: number): Int64 {
    const first = this.firstSeqNo(run);
    const more = this.count(run) - 1;
    if (typeof first === "number" && Number.isSafeInteger(first + more)) return first + more;
    return toInt64(BigInt(first) + BigInt(more));
  }

  /** Messages in the run. */
  count(run: number): number {
    return this.#cells[this.#base + run * stride + 1] as number;
  }

  /** Where the first of them is in the partition; only for `written`, else 0. */
  firstOffset(run: number): Int64 {
    return this.#wide?.get(run * stride + 2) ?? (this.#cells[this.#base + run * stride + 2] as number);
  }

  kind(run: number): AckKind {
    return this.#cells[this.#base + run * stride + 3] as AckKind;
  }
}

const fromServer: FrameShape = {
  schema: StreamWriteMessage_FromServerSchema,
  wanted: 4,
  last: 5,
  isAnswer: true,
};

/**
 * Reads the acknowledgements of a `StreamWriteMessage.FromServer`. Undefined: it is not a successful `WriteResponse`, so
 * let protobuf-es read it.
 *
 * @throws {TopicError} `FRAME_INVALID`
 */
export function decodeWriteAcks(frame: Uint8Array): WriteAcks | undefined {
  return readFrame(frame, fromServer, decodeBody);
}

// The ack read last; its parts may be above 2^53.
let seqNo = 0;
let offset = 0;
let kind: AckKind = ackKind.unknown;
let exactSeqNo: bigint | undefined;
let exactOffset: bigint | undefined;

function decodeBody(scanner: Scanner, end: number): WriteAcks {
  let partitionId = 0;
  let total = 0;
  let used = 0;
  let wide: Map<number, bigint> | undefined;
  // What the next ack has to be to belong to the run.
  let nextSeqNo = Number.NaN;
  let nextOffset = 0;
  let runKind = -1;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag === 0x0a) {
      const stop = scanner.span(end);
      if (decodePlainAck(scanner.bytes, scanner.at, stop)) scanner.at = stop;
      else decodeAck(scanner, stop);
      total++;
      if (seqNo === nextSeqNo && kind === runKind && offset === nextOffset) {
        (rowAllocator.f64[rowAllocator.base + used - stride + 1] as number)++;
      } else {
        rowAllocator.room(used + stride, used);
        if (exactSeqNo !== undefined) (wide ??= new Map()).set(used, exactSeqNo);
        if (exactOffset !== undefined) (wide ??= new Map()).set(used + 2, exactOffset);
        const { f64: cells, base } = rowAllocator;
        cells[base + used] = seqNo;
        cells[base + used + 1] = 1;
        cells[base + used + 2] = offset;
        cells[base + used + 3] = kind;
        used += stride;
        runKind = kind;
      }
      // Above 2^53 every ack is a run of its own.
      nextSeqNo = canFollow(seqNo) && canFollow(offset) ? seqNo + 1 : Number.NaN;
      nextOffset = kind === ackKind.written ? offset + 1 : 0;
      if (kind === ackKind.written && scanner.at < end) {
        const more = passFollowing(scanner, end, nextSeqNo, nextOffset);
        (rowAllocator.f64[rowAllocator.base + used - stride + 1] as number) += more;
        total += more;
        nextSeqNo += more;
        nextOffset += more;
      }
    } else if (tag === 0x10) partitionId = scanner.safeInt64(end, "partition");
    else if (tag >>> 3 <= 3 && tag !== 0x1a) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
    else scanner.skip(tag, end);
  }
  return new WriteAcks(rowAllocator.take(used), used / stride, partitionId, total, wide);
}

/** Passes over what is laid out plainly and goes on with the run, as nearly all of a response does. Returns how many. */
function passFollowing(scanner: Scanner, end: number, firstSeqNo: number, firstOffset: number): number {
  const { bytes } = scanner;
  let { at } = scanner;
  let count = 0;
  while (at + 2 < end && bytes[at] === 0x0a && bytes[at + 2] === 0x08) {
    const stop = at + 2 + (bytes[at + 1] as number);
    if (stop > end || (bytes[at + 1] as number) >= 0x80) break;
    if (plainNumber(bytes, at + 3) !== firstSeqNo + count) break;
    const written = plain.next;
    if (bytes[written] !== 0x12 || bytes[written + 1] !== stop - written - 2 || bytes[written + 2] !== 0x08) break;
    if (plainNumber(bytes, written + 3) !== firstOffset + count || plain.next !== stop) break;
    count++;
    at = stop;
  }
  scanner.at = at;
  return count;
}

const canFollow = (value: number): boolean => Number.isSafeInteger(value + 1) && Number.isSafeInteger(value);

/** `seq_no` and `written.offset`, below 2^35. False: the ack is another, or laid out in another way. */
function decodePlainAck(bytes: Uint8Array, start: number, end: number): boolean {
  if (start >= end || bytes[start] !== 0x08) return false;
  const number = plainNumber(bytes, start + 1);
  const at = plain.next;
  if (number < 0 || at + 2 > end || bytes[at] !== 0x12 || at + 2 + (bytes[at + 1] as number) !== end) return false;
  let place = 0;
  if (at + 2 < end) {
    if (bytes[at + 2] !== 0x08) return false;
    place = plainNumber(bytes, at + 3);
    if (place < 0 || plain.next !== end) return false;
  }
  seqNo = number;
  offset = place;
  kind = ackKind.written;
  exactSeqNo = undefined;
  exactOffset = undefined;
  return true;
}

function decodeAck(scanner: Scanner, end: number): void {
  seqNo = 0;
  offset = 0;
  kind = ackKind.unknown;
  exactSeqNo = undefined;
  exactOffset = undefined;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag === 0x08) {
      seqNo = scanner.int64(end);
      exactSeqNo = Number.isSafeInteger(seqNo) ? undefined : scanner.exact();
      continue;
    }
    if (tag !== 0x12 && tag !== 0x1a && tag !== 0x22) {
      if (tag >>> 3 <= 4) throw scanner.invalid(`field ${tag >>> 3} with wire type ${tag & 7}`);
      scanner.skip(tag, end);
      continue;
    }
    if (kind !== ackKind.unknown) throw inPieces;
    kind = (tag >>> 3) as AckKind;
    const stop = scanner.span(end);
    if (kind === ackKind.written) decodeWritten(scanner, stop);
    scanner.at = stop;
  }
}

function decodeWritten(scanner: Scanner, end: number): void {
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag !== 0x08) {
      if (tag >>> 3 === 1) scanner.expect(tag, wire.varint);
      scanner.skip(tag, end);
      continue;
    }
    offset = scanner.int64(end);
    exactOffset = Number.isSafeInteger(offset) ? undefined : scanner.exact();
  }
}
