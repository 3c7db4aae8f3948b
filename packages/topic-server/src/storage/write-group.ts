import type { RecordOwner } from "./log-options.ts";
import { encodeHead, headerBytes, type RecordHead, type StoredRecord } from "./record.ts";

/** A record that waits for the disk. */
export interface Pending {
  readonly head: RecordHead;
  readonly payload: Uint8Array;
  readonly owner: RecordOwner;
  /** Since when, by the monotonic clock. */
  readonly sinceMs: number;
}

export interface EncodedGroup {
  /** What to write, one after the other. */
  readonly pieces: readonly Uint8Array[];
  /** The records as they will be. */
  readonly stored: readonly StoredRecord[];
  /** Where they end. */
  readonly end: number;
}

/** Payloads up to here are copied next to their headers: fewer pieces to write, and no socket buffer is kept alive. */
const copyMaxBytes = 8 * 1024;

/** Records as they go to a file at `start`. */
export function encodeGroup(group: readonly Pending[], start: number, syncedTo: number): EncodedGroup {
  const pieces: Uint8Array[] = [];
  const stored: StoredRecord[] = [];
  let slabBytes = 0;
  for (const { head, payload } of group) {
    slabBytes += headerBytes + head.producer.length + head.meta.length;
    if (payload.length <= copyMaxBytes) slabBytes += payload.length;
  }
  const slab = Buffer.allocUnsafeSlow(slabBytes);
  let end = start;
  let at = 0;
  let from = 0;
  for (const { head, payload } of group) {
    const headLength = encodeHead(slab, at, head, payload, end, syncedTo);
    at += headLength;
    let kept = payload;
    if (payload.length <= copyMaxBytes) {
      slab.set(payload, at);
      kept = slab.subarray(at, at + payload.length);
      at += payload.length;
    } else {
      pieces.push(slab.subarray(from, at), payload);
      from = at;
    }
    const storedBytes = headLength + payload.length;
    end += storedBytes;
    stored.push({ ...head, payload: kept, storedBytes });
  }
  if (at > from) pieces.push(slab.subarray(from, at));
  return { pieces, stored, end };
}
