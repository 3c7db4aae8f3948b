/**
 * Byte strings and numbers, one after the other, in two arrays that change threads without being copied. Who reads knows
 * the order in which they were written.
 */
export interface PackedRows {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly numbers: Float64Array<ArrayBuffer>;
}

const absent = -1;

export class RowWriter {
  #bytes = new Uint8Array(1024);
  #byteLength = 0;
  #numbers = new Float64Array(64);
  #numberLength = 0;

  get byteLength(): number {
    return this.#byteLength;
  }

  number(value: number): void {
    if (this.#numberLength === this.#numbers.length) {
      this.#numbers = new Float64Array(this.#numbers.buffer.transfer(this.#numbers.byteLength * 2));
    }
    this.#numbers[this.#numberLength++] = value;
  }

  /** Copies: the caller keeps its bytes. */
  bytes(value: Uint8Array | null | undefined): void {
    if (value == null) {
      this.number(absent);
      return;
    }
    this.number(value.length);
    const end = this.#byteLength + value.length;
    if (end > this.#bytes.length) {
      this.#bytes = new Uint8Array(this.#bytes.buffer.transfer(Math.max(end, this.#bytes.length * 2)));
    }
    this.#bytes.set(value, this.#byteLength);
    this.#byteLength = end;
  }

  /** Hands everything over, without spare room. The writer is not used afterwards. */
  finish(): PackedRows {
    return {
      bytes: new Uint8Array(this.#bytes.buffer.transfer(this.#byteLength)),
      numbers: new Float64Array(this.#numbers.buffer.transfer(this.#numberLength * 8)),
    };
  }
}

export class RowReader {
  readonly #rows: PackedRows;
  #byteAt = 0;
  #numberAt = 0;

  constructor(rows: PackedRows) {
    this.#rows = rows;
  }

  get hasMore(): boolean {
    return this.#numberAt < this.#rows.numbers.length;
  }

  number(): number {
    const value = this.#rows.numbers[this.#numberAt++];
    if (value === undefined) throw new RangeError("Read past the end of packed rows");
    return value;
  }

  /** A view, not a copy. Undefined: none was written. */
  bytes(): Uint8Array | undefined {
    const length = this.number();
    if (length === absent) return undefined;
    const start = this.#byteAt;
    this.#byteAt += length;
    return this.#rows.bytes.subarray(start, this.#byteAt);
  }

  /** For what is never absent. */
  someBytes(): Uint8Array {
    const value = this.bytes();
    if (value === undefined) throw new RangeError("Expected bytes in packed rows");
    return value;
  }
}

export function transferablesOf(rows: PackedRows): ArrayBuffer[] {
  return [rows.bytes.buffer, rows.numbers.buffer];
}
