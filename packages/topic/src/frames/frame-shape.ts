import { type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Scanner, wire } from "./scanner.ts";

/** Where a hot message is in what a stream carries: one of a oneof, which in answers comes with a status. */
export interface FrameShape {
  /** What the frame is, for protobuf-es. */
  readonly schema: DescMessage;
  /** The field of the hot message. */
  readonly wanted: number;
  /** The last field of the oneof. */
  readonly last: number;
  /** Whether the fields 1 and 2 are a status and its issues. Only a success is read here. */
  readonly isAnswer: boolean;
}

const success = 400_000;
/** One frame is read at a time: reading is synchronous. */
const shared = new Scanner(new Uint8Array(0));
const nothing = new Uint8Array(0);

/** Thrown to start over with a frame in which nothing that is one comes in pieces. */
export const inPieces = Symbol("in pieces");

/**
 * Finds the hot message of a frame and has it read, from where the scanner is up to `end`. Undefined: the frame has none.
 *
 * @throws {TopicError} `FRAME_INVALID`
 */
export function readFrame<T>(
  frame: Uint8Array,
  shape: FrameShape,
  read: (scanner: Scanner, end: number) => T,
): T | undefined {
  try {
    return walk(frame, shape, read);
  } catch (error) {
    if (error !== inPieces) throw error;
    return walk(whole(frame, shape), shape, read);
  } finally {
    shared.bytes = nothing;
  }
}

/** A singular message may legally come in several pieces, which nobody does; protobuf-es puts them together. */
function whole(frame: Uint8Array, { schema }: FrameShape): Uint8Array {
  try {
    return toBinary(schema, fromBinary(schema, frame));
  } catch (cause) {
    throw shared.invalid(cause instanceof Error ? cause.message : String(cause));
  }
}

function walk<T>(frame: Uint8Array, shape: FrameShape, read: (scanner: Scanner, end: number) => T): T | undefined {
  const { wanted, last, isAnswer } = shape;
  const scanner = shared;
  scanner.bytes = frame;
  scanner.at = 0;
  const end = frame.length;
  let status = isAnswer ? 0 : success;
  let start = -1;
  let stop = -1;
  let others = false;
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    const field = tag >>> 3;
    if (field > last) scanner.skip(tag, end);
    else if (isAnswer && field === 1) {
      scanner.expect(tag, wire.varint);
      status = scanner.int32(end);
    } else {
      scanner.expect(tag, wire.bytes);
      const next = scanner.span(end);
      if (field === wanted) {
        if (start >= 0) throw inPieces;
        start = scanner.at;
        stop = next;
      } else if (!isAnswer || field !== 2) others = true;
      scanner.at = next;
    }
  }
  if (start < 0 || status !== success) return undefined;
  if (others) throw inPieces;
  scanner.at = start;
  return read(scanner, stop);
}
