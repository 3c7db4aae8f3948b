import { SlidingWindow } from "./sliding-window.ts";

const minuteMs = 60_000;

/** What went one way, since the server started: bytes of the last minute, hour and day, and lags of the last minute. */
export class Traffic {
  readonly #minute = new SlidingWindow(minuteMs);
  readonly #hour = new SlidingWindow(60 * minuteMs);
  readonly #day = new SlidingWindow(24 * 60 * minuteMs);
  readonly #writeLag = new SlidingWindow(minuteMs);
  readonly #readLag = new SlidingWindow(minuteMs);

  /** `writeLagMs`: from when a message was made to when it was written; NaN: unknown. */
  add(nowMs: number, bytes: number, writeLagMs: number, readLagMs = 0): void {
    this.#minute.add(nowMs, bytes);
    this.#hour.add(nowMs, bytes);
    this.#day.add(nowMs, bytes);
    if (writeLagMs > 0) this.#writeLag.raise(nowMs, writeLagMs);
    if (readLagMs > 0) this.#readLag.raise(nowMs, readLagMs);
  }

  bytes(nowMs: number): { readonly perMinute: number; readonly perHour: number; readonly perDay: number } {
    return { perMinute: this.#minute.sum(nowMs), perHour: this.#hour.sum(nowMs), perDay: this.#day.sum(nowMs) };
  }

  maxWriteLagMs(nowMs: number): number {
    return this.#writeLag.highest(nowMs);
  }

  maxReadLagMs(nowMs: number): number {
    return this.#readLag.highest(nowMs);
  }
}
