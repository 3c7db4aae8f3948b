import type { Clock } from "@tidemark/clock";
import { DaemonError } from "../daemon-error.ts";

/** What has to be closed, last opened first. */
export class Closers {
  readonly #clock: Clock;
  readonly #closers: (() => unknown)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(close: () => unknown): void {
    this.#closers.push(close);
  }

  /**
   * Closes everything, also after a failure, and throws the first one. What hangs does not hold up the end.
   *
   * @throws {DaemonError} `STOPPED_LATE` when it takes longer than `withinMs`.
   */
  async close(withinMs: number): Promise<void> {
    let failure: unknown;
    const closeAll = async () => {
      for (const close of this.#closers.splice(0).toReversed()) {
        try {
          await close();
        } catch (error) {
          failure ??= error;
        }
      }
    };
    const late = Promise.withResolvers<"late">();
    const timer = this.#clock.setTimer(withinMs, () => late.resolve("late"));
    const result = await Promise.race([closeAll(), late.promise]);
    timer.cancel();
    if (result === "late") {
      failure ??= new DaemonError("STOPPED_LATE", "Tidemark did not stop within `stopTimeoutMs` and was cut.", {
        fix: "Nothing is lost: the next start reads it again from its source. Allow more where that happens often.",
      });
    }
    if (failure !== undefined) throw failure;
  }
}
