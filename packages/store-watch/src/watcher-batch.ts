import type { HandoffBuffer } from "@tidemark/stream";
import { FrameBuffer } from "./frame-buffer.ts";
import { AcceptTimes } from "./watcher-lag.ts";

/** What the watcher hands to its committer: packed frames, and what the status wants to know about them. */
export class WatchBatch implements HandoffBuffer {
  readonly frames = new FrameBuffer();
  /** When its groups were accepted. */
  readonly times = new AcceptTimes();
  /** Changes in it. */
  changes = 0;

  get bytes(): number {
    return this.frames.bytes;
  }

  clear(): void {
    this.frames.clear();
    this.times.clear();
    this.changes = 0;
  }
}
