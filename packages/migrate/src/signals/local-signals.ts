import { statfs } from "node:fs/promises";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Reading } from "../signals.ts";

/** How often the event loop is asked, in milliseconds: what is seen of its delays beside what is subtracted. */
const resolutionMs = 5;

/** The worst delay of this thread's event loop since it was last read. */
export class EventLoopMeter {
  #histogram: ReturnType<typeof monitorEventLoopDelay> | undefined;

  /** Milliseconds; 0 the first time, which starts it. */
  read(): number {
    if (this.#histogram === undefined) {
      this.#histogram = monitorEventLoopDelay({ resolution: resolutionMs });
      this.#histogram.enable();
      return 0;
    }
    // Nothing was measured yet: the histogram says 0.
    const worstMs = this.#histogram.max / 1e6;
    this.#histogram.reset();
    return Math.max(worstMs - resolutionMs, 0);
  }

  close(): void {
    this.#histogram?.disable();
  }
}

/** Says nothing of the database, and all of who shares this thread. */
export function eventLoopReading(worstMs: number, limitMs: number): Reading {
  return {
    utilisation: worstMs / limitMs,
    reason: `the event loop stood still for ${worstMs.toFixed(0)} ms, limit ${limitMs} ms`,
  };
}

/** What is free for a process without privileges on the disk of `path`. */
export async function diskReading(path: string, wantedBytes: number): Promise<Reading> {
  const { bavail, bsize } = await statfs(path);
  const free = bavail * bsize;
  return {
    utilisation: free > 0 ? wantedBytes / free : Number.POSITIVE_INFINITY,
    reason: `${megabytes(free)} are free on the disk of ${path}, and ${megabytes(wantedBytes)} should stay free`,
  };
}

/** A reading of a probe of the engine's own. */
export function probeReading(kind: "reader" | "writer", tookMs: number, limitMs: number): Reading {
  const what = kind === "reader" ? "a small read" : "a small write";
  return { utilisation: tookMs / limitMs, reason: `${what} took ${tookMs.toFixed(1)} ms, limit ${limitMs} ms` };
}

export function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
