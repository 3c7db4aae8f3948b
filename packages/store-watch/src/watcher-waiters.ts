import type { Epoch, ResumePoint } from "./contract.ts";
import { StoreWatchError } from "./errors.ts";

/** How many epochs that are over are remembered. */
const maxLeft = 16;

interface Waiter {
  readonly point: ResumePoint;
  resolve(reached: ResumePoint): void;
  reject(error: unknown): void;
}

/** Those who wait until a position is committed. Every one of them settles. */
export class Waiters {
  readonly #waiting = new Set<Waiter>();
  #left: Epoch[] = [];
  #resume: ResumePoint | undefined;
  #ended: Error | undefined;

  constructor(resume: ResumePoint | undefined) {
    this.#resume = resume;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** A commit moved the position. */
  reached(resume: ResumePoint | undefined): void {
    const before = this.#resume;
    this.#resume = resume;
    if (before !== undefined && before.epoch !== resume?.epoch) {
      this.#left = [before.epoch, ...this.#left].slice(0, maxLeft);
    }
    if (resume !== undefined) this.#left = this.#left.filter((epoch) => epoch !== resume.epoch);
    for (const waiter of this.#waiting) {
      if (this.#settle(waiter)) this.#waiting.delete(waiter);
    }
  }

  end(error: Error): void {
    this.#ended ??= error;
    for (const waiter of this.#waiting) waiter.reject(this.#ended);
    this.#waiting.clear();
  }

  wait(point: ResumePoint, signal?: AbortSignal): Promise<ResumePoint> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const stop = () => signal?.removeEventListener("abort", onAbort);
      const waiter: Waiter = {
        point,
        resolve(reached) {
          stop();
          resolve(reached);
        },
        reject(error) {
          stop();
          reject(error as Error);
        },
      };
      const onAbort = () => {
        this.#waiting.delete(waiter);
        reject(signal?.reason as Error);
      };
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      if (this.#settle(waiter)) return;
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  #settle({ point, resolve, reject }: Waiter): boolean {
    const resume = this.#resume;
    if (resume !== undefined && resume.epoch === point.epoch) {
      if (resume.cursor < point.cursor) return false;
      resolve(resume);
      return true;
    }
    if (!this.#left.includes(point.epoch)) return false;
    reject(
      new StoreWatchError(
        "EPOCH_CHANGED",
        `waiting for ${point.cursor} of ${point.epoch}, but the source was wiped, restored or replaced since: what was ` +
          `written to it may be gone; the history is now at ${resume === undefined ? "its start" : resume.epoch}`,
      ),
    );
    return true;
  }
}
