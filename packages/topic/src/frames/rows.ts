const slabSlots = 8192;

/** A place for rows of numbers: each slot is one float64 or two uint32. */
export interface Rows {
  readonly f64: Float64Array;
  readonly u32: Uint32Array;
  /** The first slot. */
  readonly base: number;
}

/**
 * Rows of numbers are cut out of slabs of 64 KiB, because an allocation for each frame costs as much as reading it. One
 * set of rows is written at a time: reading is synchronous.
 */
class RowAllocator {
  f64 = new Float64Array(slabSlots);
  u32 = new Uint32Array(this.f64.buffer);
  base = 0;
  /** Slots from `base` on. */
  left = slabSlots;

  /** Makes room for `slots` from `base` on, of which the first `used` have been written. */
  room(slots: number, used: number): void {
    if (slots <= this.left) return;
    const f64 = new Float64Array(Math.max(slabSlots, slots * 2));
    f64.set(this.f64.subarray(this.base, this.base + used));
    this.f64 = f64;
    this.u32 = new Uint32Array(f64.buffer);
    this.base = 0;
    this.left = f64.length;
  }

  /** Hands over the first `slots`. */
  take(slots: number): Rows {
    const rows = { f64: this.f64, u32: this.u32, base: this.base };
    this.base += slots;
    this.left -= slots;
    return rows;
  }
}

export const rowAllocator = new RowAllocator();
