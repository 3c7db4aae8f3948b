// Loaded into every thread of a process (`--import`): makes its wall clock jump when it is told to, as an operator or NTP
// does. What counts time from one moment to another (`performance.now`, timers) does not move.

import { isMainThread } from "node:worker_threads";

const channel = new BroadcastChannel("tidemark-harness wall clock");
const variable = "TIDEMARK_HARNESS_CLOCK_SHIFT_MS";
const RealDate = Date;
/** A thread that starts later begins where the others are. */
let shiftMs = Number(process.env[variable] ?? 0);

class ShiftedDate extends RealDate {
  constructor(...args: readonly unknown[]) {
    if (args.length === 0) super(RealDate.now() + shiftMs);
    else super(...(args as [number]));
  }

  /** What Node made before, or makes by itself, is one too. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof RealDate;
  }

  static override now(): number {
    return RealDate.now() + shiftMs;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
channel.onmessage = ({ data }: MessageEvent<number>) => {
  shiftMs = data;
};
(channel as unknown as { unref(): void }).unref();

/** Moves the wall clock of all threads of this process. Only from its main thread. */
export function jumpWallClock(byMs: number): void {
  if (!isMainThread) throw new Error("the wall clock is moved by the main thread");
  shiftMs += byMs;
  process.env[variable] = String(shiftMs);
  channel.postMessage(shiftMs);
}
