import type { Int64 } from "./int64.ts";
import { type MetadataItem, readMetadata } from "./metadata.ts";
import type { Rows } from "./rows.ts";
import { Scanner } from "./scanner.ts";
import { readTimestampMs } from "./timestamp.ts";

/** A transaction as messages name it. */
export interface TransactionRef {
  readonly id: string;
  readonly session: string;
}

/** Slots of a row: two float64 and eight uint32, see `Rows`. */
export const slots = 6;
export const f64 = { seqNo: 0, uncompressed: 1 } as const;
export const u32 = {
  /** 0: not set. */
  createdAt: 4,
  createdAtEnd: 5,
  data: 6,
  dataEnd: 7,
  body: 8,
  bodyEnd: 9,
  metadataBytes: 10,
  /** How many, and the marks. */
  metadataItems: 11,
} as const;
/** Marks a message with a partition of its own. */
export const partitioned = 2 ** 31;
/** Marks a message that is encoded as protobuf-es would: fields in order, none with its default, numbers at their shortest. */
export const canonical = 2 ** 30;

/** The messages of a received `WriteRequest`: numbers, and places within the frame. Indexes are not checked. */
export class WriteColumns {
  readonly frame: Uint8Array;
  readonly length: number;
  readonly codec: number;
  readonly tx: TransactionRef | undefined;
  readonly #f64: Float64Array;
  readonly #u32: Uint32Array;
  readonly #base: number;
  /** Sequence numbers above 2^53, by index. */
  readonly #wide: ReadonlyMap<number, bigint> | undefined;

  constructor(
    frame: Uint8Array,
    rows: Rows,
    length: number,
    codec: number,
    tx: TransactionRef | undefined,
    wide: ReadonlyMap<number, bigint> | undefined,
  ) {
    this.frame = frame;
    this.#f64 = rows.f64;
    this.#u32 = rows.u32;
    this.#base = rows.base;
    this.length = length;
    this.codec = codec;
    this.tx = tx;
    this.#wide = wide;
  }

  seqNo(index: number): Int64 {
    return this.#wide?.get(index) ?? (this.#f64[this.#base + index * slots] as number);
  }

  /** Milliseconds since the epoch; NaN: not set. */
  createdAtMs(index: number): number {
    const start = this.createdAtStart(index);
    if (start === 0) return Number.NaN;
    return readTimestampMs(new Scanner(this.frame, start), this.createdAtEnd(index));
  }

  /** Where the encoded `created_at` begins in the frame; 0: not set. */
  createdAtStart(index: number): number {
    return this.#at(index, u32.createdAt);
  }

  createdAtEnd(index: number): number {
    return this.#at(index, u32.createdAtEnd);
  }

  dataStart(index: number): number {
    return this.#at(index, u32.data);
  }

  dataEnd(index: number): number {
    return this.#at(index, u32.dataEnd);
  }

  /** A view of the frame. */
  data(index: number): Uint8Array {
    return this.frame.subarray(this.dataStart(index), this.dataEnd(index));
  }

  /** As the writer claims it. */
  uncompressedBytes(index: number): number {
    return this.#f64[this.#base + index * slots + f64.uncompressed] as number;
  }

  /** Keys and values together. */
  metadataBytes(index: number): number {
    return this.#at(index, u32.metadataBytes);
  }

  metadataItems(index: number): number {
    return this.#at(index, u32.metadataItems) % canonical;
  }

  metadata(index: number): readonly MetadataItem[] {
    if (this.metadataItems(index) === 0) return [];
    return readMetadata(new Scanner(this.frame, this.bodyStart(index)), this.bodyEnd(index), 7);
  }

  /** Whether the message wants a partition of its own, which the service does not offer. */
  hasPartitioning(index: number): boolean {
    return this.#at(index, u32.metadataItems) >= partitioned;
  }

  /** Whether it has no metadata and is encoded the only way in which protobuf-es would do it. */
  isCanonical(index: number): boolean {
    return this.#at(index, u32.metadataItems) === canonical;
  }

  /** Where the encoded `MessageData` begins in the frame. */
  bodyStart(index: number): number {
    return this.#at(index, u32.body);
  }

  bodyEnd(index: number): number {
    return this.#at(index, u32.bodyEnd);
  }

  #at(index: number, cell: number): number {
    return this.#u32[(this.#base + index * slots) * 2 + cell] as number;
  }
}
