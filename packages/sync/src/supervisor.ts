import type { Clock, Rng } from "@tidemark/clock";
import type { GraphTenure } from "@tidemark/store-watch";
import { backoffDelayMs, type BackoffOptions } from "@tidemark/stream";
import { codeOf, isRetryable } from "./sync-error.ts";
import type { Turns } from "./turns.ts";

/** To ask whether the writing is free costs the database next to nothing, and until it is asked nothing goes on. */
const maxResumeDelayMs = 2000;

/** What a part tells of itself. */
export interface PartSigns {
  /** It has come further: it is well, and is tried soon again after the next failure. */
  readonly onProgress: () => void;
  /** It is well, and may have nothing to do. What opens and then fails, again and again, is no progress. */
  readonly onHealthy: () => void;
  /** It does not come further, and goes on by itself. */
  readonly onTrouble: (error: unknown) => void;
}

/** Something that goes on until it is aborted. */
export type Part = (signal: AbortSignal, signs: PartSigns) => Promise<void>;

export interface SupervisorParts {
  /** Undefined: the graph is not lost as long as the process lives. */
  readonly tenure: GraphTenure | undefined;
  readonly turns: Turns;
  readonly backoff: Required<BackoffOptions>;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly onRetry: (error: unknown, delayMs: number) => void;
  /** A part does not come further, and goes on by itself. */
  readonly onTrouble: (error: unknown) => void;
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
  /** Of each part that was not well since, and of the graph while its writing is lost. */
  readonly #problems = new Map<Part | GraphTenure, string>();

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
  }

  /** What is waited for, for a person: the latest of what is wrong. An attempt that is under way has mended nothing yet. */
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
    const { tenure, onRetry, onTrouble, onFailed } = this.#parts;
    let attempt = 1;
    const signs: PartSigns = {
      onProgress: () => {
        attempt = 0;
        this.#problems.delete(part);
      },
      onHealthy: () => void this.#problems.delete(part),
      onTrouble: (error) => {
        if (signal.aborted) return;
        this.#tell(part, error);
        onTrouble(error);
      },
    };
    for (; !signal.aborted; attempt++) {
      try {
        await part(signal, signs);
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
        this.#tell(part, error);
        onRetry(error, delayMs);
        await this.#sleep(delayMs, signal);
      }
    }
  }

  async #resume(tenure: GraphTenure, reason: unknown, stop: AbortSignal): Promise<void> {
    const { turns, onLost, onResumed, onFailed } = this.#parts;
    let known: unknown;
    const tell = (error: unknown) => {
      this.#tell(tenure, error);
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

  #tell(whose: Part | GraphTenure, error: unknown): void {
    this.#problems.delete(whose);
    this.#problems.set(whose, textOf(error));
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
