/** What this process holds on its heap and beside it, after a full collection. Needs `--expose-gc`. */
export function liveHeapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("start this role with --expose-gc to look at its heap");
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
