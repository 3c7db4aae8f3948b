import { GCProfiler } from "node:v8";
import { expect, test } from "vitest";
import { FrameDecoder } from "../src/frame-decoder.ts";

const chunkBytes = 64 * 1024;
const chunks = 8192;

test("received bytes that nobody holds are let go of by collections of the young generation", () => {
  const decoder = new FrameDecoder(chunkBytes);
  const profiler = new GCProfiler();
  profiler.start();
  let frames = 0;
  for (let n = 0; n < chunks; n++) {
    const chunk = Buffer.allocUnsafeSlow(chunkBytes);
    chunk.writeUInt8(0, 0);
    chunk.writeUInt32BE(chunkBytes - 5, 1);
    frames += decoder.decode(chunk).length;
  }
  const { statistics } = profiler.stop() ?? { statistics: [] };
  expect(frames).toBe(chunks);
  const young = statistics.filter(({ gcType }) => gcType === "Scavenge").length;
  const full = statistics.length - young;
  // 512 MiB: every 16 MiB, where without it hardly one of them would be. What else is collected is the test runner's.
  expect(young).toBeGreaterThanOrEqual(16);
  expect(full).toBeLessThan(young / 2);
});
