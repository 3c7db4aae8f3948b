import type { Frame, FrameSink, SourceStatus } from "@tidemark/store-watch/contract";
import { GnmiError } from "./gnmi-error.ts";

/** Tells what the sink throws from what goes wrong with the device: the first ends the run, the second is tried again. */
export class GuardedSink implements FrameSink {
  readonly #sink: FrameSink;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  write(frame: Frame): boolean {
    try {
      return this.#sink.write(frame);
    } catch (error) {
      throw sinkFailed(error);
    }
  }

  async ready(signal?: AbortSignal): Promise<void> {
    try {
      await this.#sink.ready(signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw sinkFailed(error);
    }
  }

  alive(): void {
    this.#sink.alive();
  }

  status(status: SourceStatus): void {
    this.#sink.status(status);
  }
}

function sinkFailed(cause: unknown): GnmiError {
  return new GnmiError("SINK_FAILED", "the sink that takes the frames threw; its error is the cause", { cause });
}

/** What the sink threw, if that is what ended it; otherwise the error itself. */
export function sinkErrorOf(error: unknown): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (GnmiError.is(cause) && cause.code === "SINK_FAILED") return cause.cause;
  }
  return error;
}
