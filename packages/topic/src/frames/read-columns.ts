import type { Int64 } from "./int64.ts";
import { type MetadataItem, readMetadata } from "./metadata.ts";
import type { Rows } from "./rows.ts";
import { Scanner } from "./scanner.ts";
import { decodeText } from "./text.ts";
import { readTimestampMs } from "./timestamp.ts";

/** Slots of a row: three float64 and ten uint32, see `Rows`. */
export const slots = 8;
/** Cells in float64 of a row. */
export const f64 = { offset: 0, seqNo: 1, uncompressed: 2 } as const;
/** Cells in uint32 of a row. */
export const u32 = {
  /** 0: not set. */
  createdAt: 6,
  createdAtEnd: 7,
  data: 8,
  dataEnd: 9,
  body: 10,
  bodyEnd: 11,
  group: 12,
  groupEnd: 13,
  metadataItems: 14,
} as const;

/** Messages of one write session, and what they have in common. */
export interface BatchHead {
  /** Index of its first message. */
  readonly first: number;
  readonly codec: number;
  readonly writtenAtMs: number;
  readonly producer: number;
  readonly producerEnd: number;
  readonly body: number;
  readonly bodyEnd: number;
  readonly metaEntries: number;
}

/**
 * The messages of one partition in a `ReadResponse`, as numbers and places within the frame. What is not a number is read
 * when it is asked for. Indexes are not checked.
 */
export class ReadColumns {
  readonly frame: Uint8Array;
  readonly partitionSessionId: number;
  /** Messages. */
  readonly length: number;
  readonly #f64: Float64Array;
  readonly #u32: Uint32Array;
  readonly #base: number;
  readonly #batches: readonly BatchHead[];
  readonly #wide: ReadonlyMap<number, bigint> | undefined;
  /** The batch found last: access is mostly in order. */
  #near = 0;

  constructor(
    frame: Uint8Array,
    partitionSessionId: number,
    rows: Rows,
    length: number,
    batches: readonly BatchHead[],
    wide: ReadonlyMap<number, bigint> | undefined,
  ) {
    this.frame = frame;
    this.partitionSessionId = partitionSessionId;
    this.#f64 = rows.f64;
    this.#u32 = rows.u32;
    this.#base = rows.base;
    this.length = length;
    this.#batches = batches;
    this.#wide = wide;
  }

  offset(index: number): number {
    return this.#f64[this.#base + index * slots] as number;
  }

  seqNo(index: number): Int64 {
    return this.#wide?.get(index) ?? (this.#f64[this.#base + index * slots + f64.seqNo] as number);
  }

  /** Milliseconds since the epoch; NaN: not set. */
  createdAtMs(index: number): number {
    const start = this.#at(index, u32.createdAt);
    if (start === 0) return Number.NaN;
    return readTimestampMs(new Scanner(this.frame, start), this.#at(index, u32.createdAtEnd));
  }

  dataStart(index: number): number {
    return this.#at(index, u32.data);
  }

  dataEnd(index: number): number {
    return this.#at(index, u32.dataEnd);
  }

  /** The payload as it was sent: a view of the frame. */
  data(index: number): Uint8Array {
    return this.frame.subarray(this.dataStart(index), this.dataEnd(index));
  }

  /** As the writer claims it; not to be trusted. */
  uncompressedBytes(index: number): number {
    return this.#f64[this.#base + index * slots + f64.uncompressed] as number;
  }

  messageGroupId(index: number): string {
    return decodeText(this.frame, this.#at(index, u32.group), this.#at(index, u32.groupEnd));
  }

  metadataItems(index: number): number {
    return this.#at(index, u32.metadataItems);
  }

  metadata(index: number): readonly MetadataItem[] {
    if (this.metadataItems(index) === 0) return [];
    return readMetadata(new Scanner(this.frame, this.#at(index, u32.body)), this.#at(index, u32.bodyEnd), 8);
  }

  codec(index: number): number {
    return this.#batch(index).codec;
  }

  /** Milliseconds since the epoch; NaN: not set. */
  writtenAtMs(index: number): number {
    return this.#batch(index).writtenAtMs;
  }

  producerId(index: number): string {
    const batch = this.#batch(index);
    return decodeText(this.frame, batch.producer, batch.producerEnd);
  }

  writeSessionMeta(index: number): Readonly<Record<string, string>> {
    const batch = this.#batch(index);
    if (batch.metaEntries === 0) return {};
    return readSessionMeta(new Scanner(this.frame, batch.body), batch.bodyEnd);
  }

  /** Batches of write sessions, some of which may be empty. */
  get batchCount(): number {
    return this.#batches.length;
  }

  /** The index of the first message of a batch. */
  batchStart(batch: number): number {
    return this.#batches[batch]?.first ?? this.length;
  }

  #at(index: number, cell: number): number {
    return this.#u32[(this.#base + index * slots) * 2 + cell] as number;
  }

  #batch(index: number): BatchHead {
    const batches = this.#batches;
    let near = this.#near;
    if ((batches[near] as BatchHead).first > index) near = 0;
    while (near + 1 < batches.length && (batches[near + 1] as BatchHead).first <= index) near++;
    this.#near = near;
    return batches[near] as BatchHead;
  }
}

/** Reads the map in field 3 of the batch up to `end`, which is known to be well-formed. */
function readSessionMeta(scanner: Scanner, end: number): Record<string, string> {
  const entries: [string, string][] = [];
  while (scanner.at < end) {
    const tag = scanner.tag(end);
    if (tag !== 0x1a) {
      scanner.skip(tag, end);
      continue;
    }
    const stop = scanner.span(end);
    const entry: [string, string] = ["", ""];
    while (scanner.at < stop) {
      const inner = scanner.tag(stop);
      const valueEnd = inner >>> 3 <= 2 ? scanner.span(stop) : -1;
      if (valueEnd < 0) scanner.skip(inner, stop);
      else {
        entry[(inner >>> 3) - 1] = decodeText(scanner.bytes, scanner.at, valueEnd);
        scanner.at = valueEnd;
      }
    }
    entries.push(entry);
  }
  // Unlike assignments, this takes "__proto__" for a key like any other.
  return Object.fromEntries(entries);
}
