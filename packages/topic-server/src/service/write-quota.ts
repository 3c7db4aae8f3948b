/** A bucket of bytes that fills up at a fixed speed. It may be overdrawn: whoever did waits until it is not. */
export class WriteQuota {
  #level: number;
  #atMs: number;
  #speed = 0;

  constructor(nowMs: number, burstBytes: number) {
    this.#level = burstBytes;
    this.#atMs = nowMs;
  }

  /** Takes bytes. @returns how long to wait before taking more, in milliseconds. Speed 0: no limit. */
  take(bytes: number, nowMs: number, bytesPerSecond: number, burstBytes: number): number {
    if (bytesPerSecond <= 0) {
      this.#speed = 0;
      return 0;
    }
    const burst = burstBytes > 0 ? burstBytes : bytesPerSecond;
    const passedMs = this.#speed === 0 ? Number.POSITIVE_INFINITY : nowMs - this.#atMs;
    this.#level = Math.min(
      burst,
      passedMs === Number.POSITIVE_INFINITY ? burst : this.#level + (passedMs * bytesPerSecond) / 1000,
    );
    this.#speed = bytesPerSecond;
    this.#atMs = nowMs;
    this.#level -= bytes;
    return this.#level >= 0 ? 0 : (-this.#level * 1000) / bytesPerSecond;
  }
}
