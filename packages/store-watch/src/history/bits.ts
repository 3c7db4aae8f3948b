/** A set of small integers. */
export class Bits {
  readonly size: number;
  readonly #words: Uint32Array;

  /** Holds [0, size). */
  constructor(size: number) {
    this.size = size;
    this.#words = new Uint32Array((size >>> 5) + 1);
  }

  has(bit: number): boolean {
    return ((this.#words[bit >>> 5] as number) & (1 << (bit & 31))) !== 0;
  }

  add(bit: number): void {
    this.#words[bit >>> 5] = (this.#words[bit >>> 5] as number) | (1 << (bit & 31));
  }
}
