import type { StoreWatchError } from "../errors.ts";
import type { GraphTenure } from "../history/graph-types.ts";
import type { OpenedStream, PostgresWriter } from "./writer.ts";

/** One opening of a graph after the other. The calls of an earlier one are refused for good, also those that come late. */
export class PostgresTenure implements GraphTenure {
  readonly #writer: PostgresWriter;
  readonly #open: () => Promise<OpenedStream>;
  #opened: OpenedStream;
  #resuming: Promise<void> | undefined;

  constructor(writer: PostgresWriter, opened: OpenedStream, open: () => Promise<OpenedStream>) {
    this.#writer = writer;
    this.#opened = opened;
    this.#open = open;
  }

  /** The newest one. */
  get opened(): OpenedStream {
    return this.#opened;
  }

  get isLost(): boolean {
    return this.#writer.isVoid(this.#opened);
  }

  async lost(signal: AbortSignal): Promise<StoreWatchError> {
    const { losses } = this.#writer;
    for (;;) {
      const seen = losses.count;
      const reason = this.#reason;
      if (reason !== undefined) return reason;
      await losses.after(seen, signal);
    }
  }

  resume(): Promise<void> {
    this.#resuming ??= this.#resume().finally(() => {
      this.#resuming = undefined;
    });
    return this.#resuming;
  }

  async #resume(): Promise<void> {
    if (this.#reason !== undefined) this.#opened = await this.#open();
  }

  /** @throws {StoreWatchError} `STREAM_BUSY` */
  get #reason(): StoreWatchError | undefined {
    return this.#writer.checkNewest(this.#opened).isVoid;
  }
}
