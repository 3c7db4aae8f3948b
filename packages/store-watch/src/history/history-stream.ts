import type { Clock } from "@tidemark/clock";
import type { ResumePoint } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import type { FrameBuffer } from "../frame-buffer.ts";
import { reviveError } from "../history-workers.ts";
import type { AppendResult, HistoryStream } from "../history-types.ts";
import type { HistoryThread } from "../worker/local-thread.ts";
import type { OpenedStream, WriterMethods } from "./methods.ts";

/** One stream's way into the writer's thread. */
export class SqliteStream implements HistoryStream {
  readonly name: string;
  readonly #opened: OpenedStream;
  readonly #writer: HistoryThread<WriterMethods>;
  readonly #clock: Clock;
  readonly #onCommit: () => void;
  #resume: ResumePoint | undefined;
  #isAppending = false;

  constructor(
    name: string,
    opened: OpenedStream,
    parts: {
      readonly writer: HistoryThread<WriterMethods>;
      readonly clock: Clock;
      readonly onCommit: () => void;
    },
  ) {
    this.name = name;
    this.#opened = opened;
    this.#resume = opened.resume;
    this.#writer = parts.writer;
    this.#clock = parts.clock;
    this.#onCommit = parts.onCommit;
  }

  get resume(): ResumePoint | undefined {
    return this.#resume;
  }

  async append(buffer: FrameBuffer): Promise<AppendResult> {
    if (this.#isAppending) {
      throw new StoreWatchError("STREAM_BUSY", "await the append before the next one, so that their order is certain", {
        buffer,
      });
    }
    this.#isAppending = true;
    try {
      return await this.#append(buffer);
    } finally {
      this.#isAppending = false;
    }
  }

  async #append(buffer: FrameBuffer): Promise<AppendResult> {
    const { id: stream, token } = this.#opened;
    const parts = buffer.toTransfer();
    const input = { stream, token, parts, nowMs: this.#clock.now() };
    const transfer = [parts.words, parts.data];
    const output = await this.#writer.call("append", input, { transfer }).catch((error: unknown) => {
      // Before it was sent nothing is lost; with the thread, its memory is.
      if (parts.words.detached) buffer.abandon();
      else buffer.takeBack(parts);
      throw error;
    });
    buffer.takeBack(output.parts);
    if (output.error !== undefined) throw reviveError(output.error, { buffer });
    this.#resume = output.resume;
    if (output.versions > 0) this.#onCommit();
    return {
      buffer,
      resume: output.resume,
      position: BigInt(output.position),
      versions: output.versions,
      duplicates: output.duplicates,
      quarantined: output.quarantined,
      gaps: output.gaps,
      commitMs: output.commitMs,
    };
  }
}
