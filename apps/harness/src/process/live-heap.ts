/** What this process holds on its heap and beside it, after a full collection. Needs `--expose-gc`. */
export function liveHeapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("start this role with --expose-gc to look at its heap");
  // What the first one found dead beside the heap is freed by another thread; the second one waits for that.
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
