import { canceledError } from "./failure.ts";
import { ClientCall, type ClientCallOptions } from "./client-call.ts";
import { FrameInbox } from "./frame-inbox.ts";
import type { FrameReceiver, FrameSender } from "./frame-receiver.ts";
import { pump } from "./pump.ts";

/** Takes what comes back over a stream, batch by batch. */
export interface StreamReceiver extends FrameReceiver {
  /** The peer's answer began. */
  headers?(headers: Headers): void;
  /**
   * Last of all calls: the stream is over. Without an error the peer ended it with the status OK, otherwise it is its
   * status, what became of the connection, or the reason given to `cancel`.
   */
  end(error: unknown, trailers: Headers): void;
}

export interface StreamSender extends FrameSender {
  /** Half-closes: the peer sees the end after everything that was sent. */
  end(): void;
}

/**
 * One bidirectional call, in frames. Creating it does no I/O. Of `start` and `open` one is called, once.
 */
export class FrameStream {
  readonly #options: ClientCallOptions;
  #call: ClientCall | undefined;
  #end: { readonly reason: unknown } | undefined;

  /** Use `FrameChannel.stream`. */
  constructor(options: ClientCallOptions) {
    this.#options = options;
  }

  /**
   * Calls with everything that `outgoing` yields and half-closes at its end. The result yields the peer's messages and
   * ends with its status OK; it throws a `ConnectError` otherwise, or the reason given to `cancel`. It reads no further
   * than its buffer and the window while nobody takes what came; leaving it cancels the call.
   */
  start(outgoing: AsyncIterable<Uint8Array>): AsyncIterableIterator<Uint8Array> {
    const inbox = new FrameInbox(
      (frame) => frame,
      (error) => this.cancel(error),
    );
    const call = this.#open(inbox);
    void pump(
      outgoing,
      call.writer,
      (frame) => call.writer.send(frame),
      (error) => this.cancel(error),
      () => call.isOver,
    );
    return inbox;
  }

  /** The same without iterators, for callers that handle whole batches: the fastest way. */
  open(receiver: StreamReceiver): StreamSender {
    return this.#open(receiver).writer;
  }

  /** Resets the stream at once (RST_STREAM with CANCEL). Idempotent; before `start` it keeps it from any I/O. */
  cancel(reason: unknown): void {
    const end = (this.#end ??= { reason: reason ?? canceledError(undefined) });
    this.#call?.cancel(end.reason);
  }

  /** Resolves when the peer's HTTP/2 layer answered on the connection of this stream. @throws `signal.reason` */
  async ping(signal: AbortSignal): Promise<void> {
    const session = this.#call?.session ?? (await this.#options.connect());
    return session.ping(signal);
  }

  #open(receiver: StreamReceiver): ClientCall {
    if (this.#call !== undefined) throw new Error("a FrameStream can be started once: take another one");
    const call = new ClientCall(this.#options, receiver);
    this.#call = call;
    if (this.#end === undefined) call.open();
    else call.cancel(this.#end.reason);
    return call;
  }
}
