import type { Pin } from "./watcher.ts";

export interface CompactorOptions {
  /** Removes a bounded part; true: there is more. */
  removeStep(target: number, maxChanges: number): Promise<boolean>;
}

/** Small enough that a write that comes in between waits about two milliseconds. */
const stepChanges = 200;

/** Removes what lies below the floor, in small steps between the writes, never what a pin still needs. */
export class Compactor {
  readonly pins = new Set<Pin>();
  readonly #options: CompactorOptions;
  #floor: number;
  #done: number;
  #running: Promise<void> | undefined;
  #isStopped = false;

  /** @param hasLeftovers Whether an earlier run left something below the floor. */
  constructor(floor: number, hasLeftovers: boolean, options: CompactorOptions) {
    this.#options = options;
    this.#floor = floor;
    this.#done = hasLeftovers ? -1 : floor;
  }

  get floor(): number {
    return this.#floor;
  }

  /** The floor, once it is durable. */
  raise(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
    this.kick();
  }

  release(pin: Pin): void {
    if (this.pins.delete(pin)) this.kick();
  }

  kick(): void {
    if (this.#isStopped || this.#running !== undefined || this.#target() <= this.#done) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves once no step is running; none will be started. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** Resolves once everything that can be removed now is removed. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      for (let target = this.#target(); target > this.#done && !this.#isStopped; target = this.#target()) {
        const hasMore = await this.#options.removeStep(target, stepChanges);
        if (!hasMore) this.#done = target;
      }
    } catch {
      // A full disk, say. The floor stands; the rest is removed after the next compaction or start.
    }
  }

  #target(): number {
    let target = this.#floor;
    for (const pin of this.pins) target = Math.min(target, pin.revision);
    return target;
  }
}
