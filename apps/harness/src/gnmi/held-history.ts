import type { History, HistoryStream, OpenStreamOptions } from "@tidemark/store-watch";
import { monotonicMs } from "../process/monotonic.ts";

/** A real history whose commits take longer: each waits first, and is made then. */
export class HeldHistory {
  readonly commitMs: number[] = [];
  /** Commits of one stream that were under way at once, at most. */
  atOnce = 0;
  #holdMs: number;
  readonly #waiting = new Set<{ timer: NodeJS.Timeout; go: () => void }>();

  constructor(holdMs: number) {
    this.#holdMs = holdMs;
  }

  /** From now on; those that wait go on at once. */
  hold(holdMs: number): void {
    this.#holdMs = holdMs;
    for (const { timer, go } of this.#waiting) {
      clearTimeout(timer);
      go();
    }
    this.#waiting.clear();
  }

  of(history: History): Pick<History, "openStream"> {
    return { openStream: (options) => this.#openStream(history, options) };
  }

  async #openStream(history: History, options: OpenStreamOptions): Promise<HistoryStream> {
    const stream = await history.openStream(options);
    let underWay = 0;
    return {
      name: stream.name,
      get resume() {
        return stream.resume;
      },
      append: async (buffer) => {
        const startedMs = monotonicMs();
        this.atOnce = Math.max(this.atOnce, ++underWay);
        try {
          if (this.#holdMs > 0) await this.#wait();
          return await stream.append(buffer);
        } finally {
          underWay--;
          this.commitMs.push(monotonicMs() - startedMs);
        }
      },
    };
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      const wait = { timer: setTimeout(() => (this.#waiting.delete(wait), resolve()), this.#holdMs), go: resolve };
      this.#waiting.add(wait);
    });
  }
}
