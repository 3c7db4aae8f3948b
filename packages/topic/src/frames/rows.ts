const largestKeptCells = 1 << 20;
let scratch = new Float64Array(4096);

/**
 * Collects numbers while a message is read, and hands them over in one array of the exact size. One at a time: reading is
 * synchronous.
 */
export const rows = {
  /** At least so many cells, of which the first `used` are kept. */
  room(cells: number, used: number): Float64Array {
    if (cells > scratch.length) {
      const larger = new Float64Array(Math.max(cells, scratch.length * 2));
      larger.set(scratch.subarray(0, used));
      scratch = larger;
    }
    return scratch;
  },
  take(used: number): Float64Array {
    const taken = scratch.slice(0, used);
    if (scratch.length > largestKeptCells) scratch = new Float64Array(4096);
    return taken;
  },
};
