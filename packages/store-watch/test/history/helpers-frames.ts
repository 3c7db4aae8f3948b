import type { Frame } from "../../src/contract.ts";
import { FrameBuffer } from "../../src/frame-buffer.ts";

export function bufferOf(frames: Iterable<Frame>): FrameBuffer {
  const buffer = new FrameBuffer();
  for (const frame of frames) buffer.write(frame);
  return buffer;
}
