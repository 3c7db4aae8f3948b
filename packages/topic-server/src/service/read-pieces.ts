import { type StoredBatch, scanWriteRequest, type WriteColumns } from "@tidemark/topic/internal";
import type { StoredRecord } from "../storage/record.ts";
import { TopicServerError } from "../topic-server-error.ts";

/** What a message can cost besides its own bytes as they were received: offset, its new length, and the like. */
const messageExtraBytes = 24;
/** … and a batch. */
const batchExtraBytes = 64;

export interface Pieces {
  readonly batches: readonly StoredBatch[];
  /** Where to go on. */
  readonly nextOffset: number;
}

/** A record that was read last, taken apart: small credits come back for the rest of it. */
export interface LastScan {
  baseOffset: number;
  columns: WriteColumns | undefined;
}

/**
 * The messages from `offset` on that fit into `room` bytes, the first one in any case. What it estimates is never below
 * what `encodeReadResponse` makes of it, unless that is one message.
 */
export function cut(records: readonly StoredRecord[], offset: number, room: number, last: LastScan): Pieces {
  const batches: StoredBatch[] = [];
  let nextOffset = offset;
  let bytes = batchExtraBytes;
  for (const record of records) {
    const columns = scan(record, last);
    const first = Math.max(0, nextOffset - record.baseOffset);
    const from = record.skip + first;
    const perMessage = messageExtraBytes + record.producer.length;
    bytes += batchExtraBytes + record.producer.length + record.meta.length;
    let to = from;
    const { length } = columns;
    // All of it fits, which is nearly always so and needs no look at each message.
    const whole = record.payload.length + (length - from) * perMessage;
    if (bytes + whole <= room) {
      to = length;
      bytes += whole;
    } else {
      for (; to < length; to++) {
        const size = columns.bodyEnd(to) - columns.bodyStart(to) + perMessage;
        if (bytes + size > room && (to > from || batches.length > 0)) break;
        bytes += size;
      }
    }
    if (to === from) break;
    batches.push({
      messages: columns,
      from,
      to,
      firstOffset: record.baseOffset + first,
      producerId: record.producer,
      sessionMeta: record.meta,
      codec: record.codec,
      writtenAtMs: record.writtenAtMs,
      messageGroupId: record.producer,
    });
    nextOffset = record.baseOffset + first + (to - from);
    if (to < length || bytes >= room) break;
  }
  return { batches, nextOffset };
}

function scan(record: StoredRecord, last: LastScan): WriteColumns {
  if (last.columns !== undefined && last.baseOffset === record.baseOffset) return last.columns;
  const columns = scanWriteRequest(record.payload);
  if (columns === undefined) {
    throw new TopicServerError("CORRUPT", `The record at offset ${record.baseOffset} is not a write request`);
  }
  last.baseOffset = record.baseOffset;
  last.columns = columns;
  return columns;
}
