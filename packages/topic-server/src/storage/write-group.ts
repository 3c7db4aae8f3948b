import { crc32 } from "node:zlib";
import type { RecordOwner } from "./log-options.ts";
import { headBytes, type NewRecord, RecordTarget } from "./record.ts";
import { StoredGroup } from "./stored-group.ts";

/** A record that waits for the disk. */
export interface Pending {
  readonly record: NewRecord;
  readonly baseOffset: number;
  readonly payload: Uint8Array;
  /** Of a payload that is not copied: taken while the group before is on its way, and not between the two. */
  readonly checksum: number | undefined;
  readonly owner: RecordOwner;
  /** Since when, by the monotonic clock. */
  readonly sinceMs: number;
  /** It must not be written before. */
  readonly after: Promise<void> | undefined;
}

export interface EncodedGroup {
  /** What to write, one after the other. */
  readonly pieces: readonly Uint8Array[];
  /** The records as they will be. */
  readonly stored: StoredGroup;
}

/** Payloads up to here are copied next to their headers: fewer pieces to write, and no socket buffer is kept alive. */
const copyMaxBytes = 8 * 1024;

/** The checksum of a payload that is large enough to be worth it; without one it is copied. */
export function checksumOf(payload: Uint8Array): number | undefined {
  return payload.length > copyMaxBytes ? crc32(payload) : undefined;
}

/** Records as they go to a file at `start`. */
export function encodeGroup(group: readonly Pending[], start: number, syncedTo: number): EncodedGroup {
  let slabBytes = 0;
  for (const { record, payload, checksum } of group) {
    slabBytes += headBytes(record) + (checksum === undefined ? payload.length : 0);
  }
  const target = new RecordTarget(slabBytes);
  const pieces: Uint8Array[] = [];
  const places: number[] = [];
  const apart = new Map<number, Uint8Array>();
  let apartBytes = 0;
  let from = 0;
  let at = 0;
  for (const { record, baseOffset, payload, checksum } of group) {
    const placement = { baseOffset, position: start + at + apartBytes, syncedTo };
    places.push(at);
    if (checksum === undefined) {
      at = target.put(at, record, payload, placement);
      continue;
    }
    apart.set(places.length - 1, payload);
    at = target.putHead(at, record, payload, placement, checksum);
    pieces.push(target.bytes.subarray(from, at), payload);
    apartBytes += payload.length;
    from = at;
  }
  if (at > from) pieces.push(from === 0 ? target.bytes : target.bytes.subarray(from, at));
  return { pieces, stored: new StoredGroup(target.bytes, places, apart, at + apartBytes) };
}
