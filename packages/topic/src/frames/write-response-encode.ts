import { TopicError } from "../topic-error.ts";
import { type Int64, int64Length, writeInt64 } from "./int64.ts";
import { wire } from "./scanner.ts";

/** Neighbouring messages of a request that fared the same. */
export interface AckRun {
  readonly kind: "written" | "skipped" | "writtenInTx";
  readonly count: number;
  /** Of the first; the others follow. Only for `written`. */
  readonly firstOffset?: number;
}

/** Times of a write, in milliseconds. */
export interface WriteTimes {
  readonly persistingMs: number;
  readonly minQueueWaitMs: number;
  readonly maxQueueWaitMs: number;
  readonly partitionQuotaWaitMs: number;
  readonly topicQuotaWaitMs: number;
}

/** What acknowledgements are for: `WriteColumns`, or anything else that knows its sequence numbers. */
export interface SeqNos {
  readonly length: number;
  seqNo(index: number): Int64;
}

/** What comes before the acknowledgements: the status, a tag, and a length of up to five bytes. */
const maxHeadBytes = 10;
/** Tag and length, a sequence number, and an offset in a message of its own, each with ten digits at most. */
const maxAckBytes = 2 + 11 + 2 + 11;
/** Of a partition's number and of five durations. */
const maxTailBytes = 11 + 2 + 5 * 24;
/** So many are written before the room is looked at again. */
const acksAtATime = 1024;
/** What is kept for the next response. */
const keptBytes = 256 * 1024;

/** Where a response is put together: it is copied from here at its exact size, and nothing runs in between. */
let scratch: Buffer = Buffer.alloc(4096);
let at = maxHeadBytes;

function reserve(bytes: number): void {
  if (at + bytes <= scratch.length) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(at + bytes, scratch.length * 2));
  scratch.copy(larger, 0, 0, at);
  scratch = larger;
}

/**
 * Puts one `StreamWriteMessage.FromServer` together that acknowledges messages of one request after the other: `begin`, `add`
 * for neighbours that fared the same, `end`. One response at a time, within one turn.
 */
export const writeAckEncoder = {
  begin(): void {
    at = maxHeadBytes;
  },

  /** Bytes of the acknowledgements so far. */
  get bytes(): number {
    return at - maxHeadBytes;
  },

  /** Those of `messages` from one index up to, not including, another. Offsets only for `written`. */
  add(messages: SeqNos, from: number, to: number, kind: AckRun["kind"], firstOffset = 0): void {
    for (let next = from; next < to; next += acksAtATime) {
      const until = Math.min(to, next + acksAtATime);
      reserve((until - next) * maxAckBytes);
      if (kind === "written") at = writeWritten(scratch, at, messages, next, until, firstOffset + next - from);
      else at = writeOthers(scratch, at, messages, next, until, kind);
    }
  },

  /** The frame, in an allocation of its exact size, byte for byte what protobuf-es writes. */
  end(partitionId: number, times?: WriteTimes): Uint8Array {
    reserve(maxTailBytes);
    if (partitionId !== 0) {
      scratch[at++] = 0x10;
      at = writeInt64(scratch, at, partitionId);
    }
    if (times !== undefined) at = writeStatistics(scratch, at, times);
    const start = writeHead(scratch, at - maxHeadBytes);
    // A small one is copied once more when it is sent, so it may come from Node's pool.
    const frame = Buffer.allocUnsafe(at - start);
    scratch.copy(frame, 0, start, at);
    if (scratch.length > keptBytes) scratch = Buffer.alloc(4096);
    return frame;
  },
};

/** One response to all messages, which the runs cover in order. */
export function encodeWriteAcks(
  messages: SeqNos,
  runs: readonly AckRun[],
  partitionId: number,
  times?: WriteTimes,
): Uint8Array {
  const total = runs.reduce((sum, { count }) => sum + count, 0);
  if (total !== messages.length) {
    throw new TopicError("OPTIONS_INVALID", `the runs cover ${total} of ${messages.length} messages`);
  }
  writeAckEncoder.begin();
  let from = 0;
  for (const { kind, count, firstOffset } of runs) {
    writeAckEncoder.add(messages, from, from + count, kind, firstOffset);
    from += count;
  }
  return writeAckEncoder.end(partitionId, times);
}

/** Right in front of the acknowledgements. Returns where it begins. */
function writeHead(bytes: Uint8Array, bodyBytes: number): number {
  const start = maxHeadBytes - 5 - int64Length(bodyBytes);
  // `FromServer.status` = SUCCESS, which comes before every response.
  bytes[start] = 0x08;
  bytes[start + 1] = 0x80;
  bytes[start + 2] = 0xb5;
  bytes[start + 3] = 0x18;
  bytes[start + 4] = 0x22;
  writeInt64(bytes, start + 5, bodyBytes);
  return start;
}

/** An ack has at most 26 bytes, so that its own length takes one, which is known once the rest is there. */
function writeWritten(
  bytes: Uint8Array,
  start: number,
  messages: SeqNos,
  from: number,
  to: number,
  firstOffset: number,
): number {
  let place = start;
  let offset = firstOffset;
  for (let index = from; index < to; index++, offset++) {
    const ack = place;
    bytes[ack] = 0x0a;
    place = writeSeqNo(bytes, ack + 2, messages.seqNo(index));
    const written = place;
    bytes[written] = 0x12;
    place = written + 2;
    if (offset !== 0) {
      bytes[place] = 0x08;
      place = writeInt64(bytes, place + 1, offset);
    }
    bytes[written + 1] = place - written - 2;
    bytes[ack + 1] = place - ack - 2;
  }
  return place;
}

function writeOthers(
  bytes: Uint8Array,
  start: number,
  messages: SeqNos,
  from: number,
  to: number,
  kind: "skipped" | "writtenInTx",
): number {
  let place = start;
  for (let index = from; index < to; index++) {
    const ack = place;
    bytes[ack] = 0x0a;
    place = writeSeqNo(bytes, ack + 2, messages.seqNo(index));
    if (kind === "skipped") {
      bytes[place++] = 0x1a;
      bytes[place++] = 2;
      bytes[place++] = 0x08;
      // REASON_ALREADY_WRITTEN
      bytes[place++] = 1;
    } else {
      bytes[place++] = 0x22;
      bytes[place++] = 0;
    }
    bytes[ack + 1] = place - ack - 2;
  }
  return place;
}

function writeSeqNo(bytes: Uint8Array, start: number, seqNo: Int64): number {
  if (seqNo === 0) return start;
  bytes[start] = 0x08;
  return writeInt64(bytes, start + 1, seqNo);
}

/** Five durations have at most 120 bytes, so that their length takes one, too. */
function writeStatistics(bytes: Uint8Array, start: number, times: WriteTimes): number {
  bytes[start] = 0x1a;
  let place = writeDuration(bytes, start + 2, 1, times.persistingMs);
  place = writeDuration(bytes, place, 2, times.minQueueWaitMs);
  place = writeDuration(bytes, place, 3, times.maxQueueWaitMs);
  place = writeDuration(bytes, place, 4, times.partitionQuotaWaitMs);
  place = writeDuration(bytes, place, 5, times.topicQuotaWaitMs);
  bytes[start + 1] = place - start - 2;
  return place;
}

function writeDuration(bytes: Uint8Array, start: number, field: number, ms: number): number {
  const micros = Math.max(0, Math.round(ms * 1000));
  const seconds = Math.floor(micros / 1_000_000);
  const nanos = (micros % 1_000_000) * 1000;
  let place = start + 2;
  bytes[start] = (field << 3) | wire.bytes;
  if (seconds !== 0) {
    bytes[place] = 0x08;
    place = writeInt64(bytes, place + 1, seconds);
  }
  if (nanos !== 0) {
    bytes[place] = 0x10;
    place = writeInt64(bytes, place + 1, nanos);
  }
  bytes[start + 1] = place - start - 2;
  return place;
}
