import { baseOffsetAt, recordAt, recordBytesAt, type StoredRecord } from "./record.ts";

/**
 * Records that were written together, as they are in their file. They are taken apart when somebody reads them: an object
 * for each that is written, kept for as long as the cache keeps it, costs more than the writing.
 */
export class StoredGroup {
  /** Bytes in the file. */
  readonly bytes: number;
  readonly #slab: Buffer;
  /** Where each record begins in the slab; never none. */
  readonly #places: readonly number[];
  /** Payloads that are not in the slab, by the index of their record. */
  readonly #apart: ReadonlyMap<number, Uint8Array>;

  constructor(slab: Buffer, places: readonly number[], apart: ReadonlyMap<number, Uint8Array>, bytes: number) {
    this.#slab = slab;
    this.#places = places;
    this.#apart = apart;
    this.bytes = bytes;
  }

  /** Records. */
  get length(): number {
    return this.#places.length;
  }

  /** Offset of the first message. */
  get baseOffset(): number {
    return baseOffsetAt(this.#slab, this.#places[0] as number);
  }

  /** The index of the record that holds `offset`, which must not be before `baseOffset`. */
  indexOf(offset: number): number {
    const places = this.#places;
    let low = 1;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (baseOffsetAt(this.#slab, places[middle] as number) <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Bytes of a record in the file. */
  bytesOf(index: number): number {
    return recordBytesAt(this.#slab, this.#places[index] as number) as number;
  }

  record(index: number): StoredRecord {
    const slab = this.#slab;
    const place = this.#places[index] as number;
    const apart = this.#apart.get(index);
    if (apart !== undefined) return recordAt(slab, place, apart);
    const end = place + this.bytesOf(index);
    return recordAt(slab, place, slab.subarray(place + slab.readUInt32LE(place + 8), end));
  }
}
