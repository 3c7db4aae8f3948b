/**
 * How fast a partition may be written: a bucket of bytes that fills up at a fixed speed, and is shared by all who write to
 * it. A write that finds something in it passes, however large it is; whoever comes next waits until that is paid for.
 */
export class WriteQuota {
  #level = 0;
  #atMs = 0;
  /** 0: nobody has asked for a limit yet. */
  #speed = 0;

  /**
   * Takes bytes, in the order of the calls. Speed 0: no limit.
   *
   * @returns how long to wait before writing them, in milliseconds.
   */
  take(bytes: number, nowMs: number, bytesPerSecond: number, burstBytes: number): number {
    if (bytesPerSecond <= 0) {
      this.#speed = 0;
      return 0;
    }
    const burst = burstBytes > 0 ? burstBytes : bytesPerSecond;
    const filled = this.#speed === 0 ? burst : this.#level + ((nowMs - this.#atMs) * this.#speed) / 1000;
    const level = Math.min(burst, filled);
    this.#speed = bytesPerSecond;
    this.#atMs = nowMs;
    this.#level = level - bytes;
    return level >= 0 ? 0 : (-level * 1000) / bytesPerSecond;
  }

  /** What was taken is not written after all. */
  giveBack(bytes: number): void {
    this.#level += bytes;
  }
}
