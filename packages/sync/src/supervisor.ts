import type { Clock, Rng } from "@tidemark/clock";
import type { GraphTenure } from "@tidemark/store-watch";
import { backoffDelayMs, type BackoffOptions } from "@tidemark/stream";
import { codeOf, isRetryable } from "./sync-error.ts";
import type { Turns } from "./turns.ts";

/** To ask whether the writing is free costs the database next to nothing, and until it is asked nothing goes on. */
const maxResumeDelayMs = 2000;

/** Something that goes on until it is aborted; told of progress, it is tried soon again after the next failure. */
export type Part = (signal: AbortSignal, onProgress: () => void) => Promise<void>;

export interface SupervisorParts {
  /** Undefined: the graph is not lost as long as the process lives. */
  readonly tenure: GraphTenure | undefined;
  readonly turns: Turns;
  readonly backoff: Required<BackoffOptions>;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly onRetry: (error: unknown, delayMs: number) => void;
  readonly onLost: (error: unknown) => void;
  readonly onResumed: () => void;
  /** Nothing helps: the site is to be stopped. */
  readonly onFailed: (error: unknown) => void;
}

/**
 * Runs the parts of a site, each again after what may pass. Where the writing of the graph goes over to another process, all
 * of them end; once it is back they begin anew, from what is durable, as after a crash: nothing that one of them remembers
 * need be so any more.
 */
export class Supervisor {
  readonly #parts: SupervisorParts;
  /** Of each part that waits to be tried again, and of the graph while its writing is lost. */
  readonly #problems = new Map<Part | GraphTenure, string>();

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
  }

  /** What is waited for, for a person: the latest of what is wrong. */
  get problem(): string | undefined {
    return [...this.#problems.values()].at(-1);
  }

  /** Until the signal is aborted, which it is to be after a failure. */
  async run(parts: readonly Part[], stop: AbortSignal): Promise<void> {
    const { tenure } = this.#parts;
    const watch: Part[] = tenure === undefined ? [] : [(signal) => untilLost(tenure, signal)];
    while (!stop.aborted) {
      const life = new AbortController();
      const signal = AbortSignal.any([stop, life.signal]);
      await Promise.all([...parts, ...watch].map((part) => this.#supervise(part, signal, life)));
      if (tenure !== undefined && life.signal.aborted) await this.#resume(tenure, life.signal.reason, stop);
    }
  }

  async #supervise(part: Part, signal: AbortSignal, life: AbortController): Promise<void> {
    const { tenure, onRetry, onFailed } = this.#parts;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await part(signal, () => {
          attempt = 0;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (tenure?.isLost === true) {
          life.abort(error);
          return;
        }
        if (!isRetryable(error)) {
          onFailed(error);
          return;
        }
        const delayMs = this.#delayMs(attempt);
        this.#problems.set(part, textOf(error));
        onRetry(error, delayMs);
        await this.#sleep(delayMs, signal);
        // Its own alone: what else is wrong still is.
        this.#problems.delete(part);
      }
    }
  }

  async #resume(tenure: GraphTenure, reason: unknown, stop: AbortSignal): Promise<void> {
    const { turns, onLost, onResumed, onFailed } = this.#parts;
    let known: unknown;
    const tell = (error: unknown) => {
      this.#problems.set(tenure, textOf(error));
      // How long it may take changes with every answer, and is not worth telling.
      if (known !== codeOf(error)) onLost(error);
      known = codeOf(error);
    };
    tell(reason);
    for (let attempt = 1; !stop.aborted; attempt++) {
      try {
        await turns.take(() => tenure.resume());
        this.#problems.delete(tenure);
        onResumed();
        return;
      } catch (error) {
        if (!isRetryable(error)) {
          onFailed(error);
          return;
        }
        tell(error);
        await this.#sleep(Math.min(this.#delayMs(attempt), maxResumeDelayMs), stop);
      }
    }
  }

  #delayMs(attempt: number): number {
    return backoffDelayMs(this.#parts.backoff, "fast", attempt, this.#parts.rng);
  }

  async #sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    await this.#parts.clock.sleep(delayMs, { signal }).catch(() => undefined);
  }
}

async function untilLost(tenure: GraphTenure, signal: AbortSignal): Promise<never> {
  throw await tenure.lost(signal);
}

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
