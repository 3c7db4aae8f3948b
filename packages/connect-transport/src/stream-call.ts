import { create, type DescMethodStreaming, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor, type StreamRequest, type StreamResponse } from "@connectrpc/connect";
import type { ResolvedTransport } from "./channel-options.ts";
import { ClientCall, type ClientCallOptions, type ClientReceiver } from "./client-call.ts";
import { canceledError } from "./failure.ts";
import { FrameInbox } from "./frame-inbox.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { type MessageEncoder, messageEncoderOf } from "./message-encoder.ts";
import { pump } from "./pump.ts";

type Message = StreamRequest["message"] extends AsyncIterable<infer M> ? M : never;
type Next = ReturnType<Interceptor>;

/** One streaming call of connect: messages and interceptors on top of frames. */
export class StreamCall {
  readonly #method: DescMethodStreaming;
  readonly #options: ResolvedTransport;
  readonly #callOptions: Omit<ClientCallOptions, "headers">;
  readonly #encoder: MessageEncoder | undefined;
  readonly #over = new AbortController();
  #call: ClientCall | undefined;
  #isOver = false;

  constructor(
    method: DescMethodStreaming,
    options: ResolvedTransport,
    callOptions: Omit<ClientCallOptions, "headers">,
  ) {
    this.#method = method;
    this.#options = options;
    this.#callOptions = callOptions;
    this.#encoder = messageEncoderOf(method.input);
  }

  /** Rejects with a `ConnectError`. Resolves when the peer's headers are there. */
  async run(request: Omit<StreamRequest, "signal">, signal: AbortSignal | undefined): Promise<StreamResponse> {
    const { interceptors } = this.#options;
    let next: Next = (input) => this.#send(input as StreamRequest, signal);
    for (const interceptor of interceptors.toReversed()) next = interceptor(next);
    // Interceptors are promised whole messages; without any the wrapper would only cost time.
    const message = interceptors.length === 0 ? request.message : this.#normalized(request.message);
    try {
      return (await next({ ...request, message, signal: this.#over.signal })) as StreamResponse;
    } catch (error) {
      const known = ConnectError.from(error);
      this.#call?.cancel(known);
      this.#finish(known);
      throw known;
    }
  }

  #send(request: StreamRequest, signal: AbortSignal | undefined): Promise<StreamResponse> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(canceledError(signal.reason));
        return;
      }
      const { output } = this.#method;
      const inbox = new FrameInbox(
        (frame) => {
          try {
            // As connect's own transport has it: fields of bytes are views, and plain `Uint8Array`s.
            return fromBinary(output, new Uint8Array(frame.buffer, frame.byteOffset, frame.length));
          } catch (error) {
            throw new ConnectError(`parse binary: ${messageOf(error)}`, Code.Internal, undefined, undefined, error);
          }
        },
        (error) => call.cancel(error),
      );
      const trailer = new Headers();
      const receiver: ClientReceiver = {
        headers: (header) => {
          const { service, method, stream } = request;
          resolve({ stream, service, method, header, trailer, message: inbox });
        },
        frames: (frames) => inbox.frames(frames),
        end: (reason, trailers) => {
          const error = reason === undefined ? undefined : ConnectError.from(reason);
          for (const [name, value] of trailers) trailer.append(name, value);
          signal?.removeEventListener("abort", onAbort);
          reject(error);
          inbox.end(error);
          this.#finish(error);
        },
      };
      const call = new ClientCall({ ...this.#callOptions, headers: () => request.header }, receiver);
      const onAbort = () => call.cancel(canceledError(signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#call = call;
      call.open();
      void pump(
        request.message,
        call.writer,
        (message) => this.#sendMessage(call.writer, message),
        (error) => call.cancel(ConnectError.from(error)),
        () => call.isOver,
      );
    });
  }

  #sendMessage(writer: FrameWriter, message: Message): boolean {
    const { input } = this.#method;
    const { writeMaxBytes } = this.#options;
    let bytes: Uint8Array;
    try {
      if (this.#encoder !== undefined && writer.encode(message, this.#encoder, writeMaxBytes)) return !writer.isFull;
      bytes = toBinary(input, create(input, message));
    } catch (error) {
      throw new ConnectError(`serialize binary: ${messageOf(error)}`, Code.Internal, undefined, undefined, error);
    }
    if (bytes.length <= writeMaxBytes) return writer.send(bytes);
    throw new ConnectError(
      `message size ${bytes.length} is larger than configured writeMaxBytes ${writeMaxBytes}`,
      Code.ResourceExhausted,
    );
  }

  async *#normalized(messages: AsyncIterable<Message>): AsyncGenerator<Message> {
    for await (const message of messages) yield create(this.#method.input, message) as Message;
  }

  #finish(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over.abort(error);
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
