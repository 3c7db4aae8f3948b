import type { FrameBuffer, History, HistoryStream, OpenStreamOptions } from "@tidemark/store-watch";
import { StoreWatchError } from "@tidemark/store-watch";

/** A history whose commits wait until they are let through, one at a time, or fail. */
export class CommitGate {
  /** The commits that were let through, as their frames' types and keys. */
  readonly commits: string[][] = [];
  /** Commits that were under way at once, at most. */
  highest = 0;
  #underWay = 0;
  #isOpen = true;
  #failures = 0;
  #waiting: PromiseWithResolvers<void> | undefined;
  #arrived: PromiseWithResolvers<void> | undefined;

  /** From now on a commit waits. */
  shut(): void {
    this.#isOpen = false;
    this.#arrived = Promise.withResolvers<void>();
  }

  /** Resolves when a commit waits. */
  async held(): Promise<void> {
    await this.#arrived?.promise;
  }

  /** Lets the commit through that waits, and the ones after it. */
  open(): void {
    this.#isOpen = true;
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  /** The next commits fail. */
  failNext(count: number): void {
    this.#failures = count;
  }

  history(history: History): History {
    const openStream = (options: OpenStreamOptions) => this.#openStream(history, options);
    return new Proxy(history, {
      get(target, name) {
        if (name === "openStream") return openStream;
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  }

  async #openStream(history: History, options: OpenStreamOptions): Promise<HistoryStream> {
    const stream = await history.openStream(options);
    return {
      name: stream.name,
      get resume() {
        return stream.resume;
      },
      append: async (buffer) => this.#append(stream, buffer),
    };
  }

  async #append(stream: HistoryStream, buffer: FrameBuffer) {
    this.highest = Math.max(this.highest, ++this.#underWay);
    try {
      const frames = buffer.decode().map((frame) => {
        if (frame.type !== "change") return frame.type;
        return `${Buffer.from(frame.key).toString()}${frame.value === undefined ? " gone" : `=${Buffer.from(frame.value).toString()}`}`;
      });
      if (!this.#isOpen) {
        this.#waiting = Promise.withResolvers<void>();
        this.#arrived?.resolve();
        await this.#waiting.promise;
      }
      if (this.#failures > 0) {
        this.#failures--;
        throw new StoreWatchError("COMMIT_FAILED", "a simulated SQLITE_BUSY", { retryable: true });
      }
      const result = await stream.append(buffer);
      this.commits.push(frames);
      return result;
    } finally {
      this.#underWay--;
    }
  }
}
