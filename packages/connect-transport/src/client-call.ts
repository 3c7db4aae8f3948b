import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Timer } from "@tidemark/clock";
import type { ClientSession } from "./client-session.ts";
import { canceledError, connectionError, errorOfReset, timedOut } from "./failure.ts";
import { FrameDecoder, type MessageSplitter } from "./frame-decoder.ts";
import type { FrameReceiver } from "./frame-receiver.ts";
import { FrameWriter } from "./frame-writer.ts";
import { codeOfHttpStatus, errorOfStatus, isGrpcProto, toNodeHeaders, toWebHeaders } from "./grpc-status.ts";
import { formatTimeout } from "./grpc-timeout.ts";

export interface ClientCallOptions {
  readonly clock: Clock;
  readonly authority: string;
  readonly scheme: "http" | "https";
  readonly path: string;
  readonly readMaxBytes: number;
  readonly splitter?: MessageSplitter | undefined;
  readonly sendBufferBytes: number;
  readonly timeoutMs: number | undefined;
  /** The connection to use; opens it if need be. */
  connect(): Promise<ClientSession>;
  /** What goes with the request, besides what gRPC needs. The signal aborts when the call is over before. */
  headers(signal: AbortSignal): Headers | Promise<Headers>;
}

/** What a call tells besides frames. Nothing is called after `end`. */
export interface ClientReceiver extends FrameReceiver {
  headers?(headers: Headers): void;
  /** The call is over; the peer's status, or why there is none. */
  end(error: unknown, trailers: Headers): void;
}

/** One call of a gRPC method over HTTP/2, in frames. */
export class ClientCall {
  readonly writer: FrameWriter;
  readonly #options: ClientCallOptions;
  readonly #receiver: ClientReceiver;
  readonly #decoder: FrameDecoder;
  readonly #over = new AbortController();
  readonly #reset = new AbortController();
  #session: ClientSession | undefined;
  #stream: ClientHttp2Stream | undefined;
  #timer: Timer | undefined;
  #headers = new Headers();
  #trailers = new Headers();
  #streamError: unknown;
  #isOver = false;

  /** Does no I/O. */
  constructor(options: ClientCallOptions, receiver: ClientReceiver) {
    this.#options = options;
    this.#receiver = receiver;
    this.#decoder = new FrameDecoder(options.readMaxBytes, options.splitter);
    this.writer = new FrameWriter(options.sendBufferBytes);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The connection that it runs over, once it does. */
  get session(): ClientSession | undefined {
    return this.#session;
  }

  /** Once. What goes wrong comes through the receiver. */
  open(): void {
    const { timeoutMs, clock } = this.#options;
    if (timeoutMs !== undefined) {
      this.#timer = clock.setTimer(timeoutMs, () => this.cancel(timedOut())).unref();
    }
    this.#request().catch((error: unknown) => this.#finish(error));
  }

  /** Resets the stream at once. Idempotent, also before `open` and after the end. */
  cancel(reason: unknown): void {
    this.#finish(reason ?? canceledError(undefined));
  }

  async #request(): Promise<void> {
    const { authority, scheme, path, timeoutMs } = this.#options;
    const headers = await this.#options.headers(this.#over.signal);
    if (this.#isOver) return;
    const session = await this.#options.connect();
    if (this.#isOver) return;
    headers.set("content-type", "application/grpc+proto");
    headers.set("te", "trailers");
    if (!headers.has("user-agent")) headers.set("user-agent", "tidemark-connect-transport");
    if (timeoutMs !== undefined) headers.set("grpc-timeout", formatTimeout(timeoutMs));
    const stream = session.request(
      {
        ":method": "POST",
        ":scheme": scheme,
        ":authority": authority,
        ":path": path,
        ...toNodeHeaders(headers),
      },
      this.#reset.signal,
    );
    this.#session = session;
    this.#stream = stream;
    stream.on("error", (error) => {
      this.#streamError = error;
    });
    stream.once("response", (answer) => this.#onResponse(answer));
    stream.once("trailers", (trailers) => {
      this.#trailers = toWebHeaders(trailers);
    });
    stream.on("data", this.#onData);
    stream.once("end", () => this.#onEnd());
    stream.once("close", () => this.#onClose(stream));
    this.writer.attach(stream, () => session.watchWrites());
  }

  #onResponse(answer: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    if (this.#isOver) return;
    const headers = toWebHeaders(answer);
    this.#headers = headers;
    const status = answer[":status"] ?? 0;
    if (status !== 200) {
      this.#finish(errorOfStatus(headers) ?? new ConnectError(`HTTP ${status}`, codeOfHttpStatus(status), headers));
      return;
    }
    const error = errorOfStatus(headers);
    const type = headers.get("content-type");
    if (error !== undefined) this.#finish(error);
    else if (isGrpcProto(type)) this.#receiver.headers?.(headers);
    else this.#finish(new ConnectError(`expected an answer in application/grpc+proto, got ${type}`, Code.Unknown));
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isOver) return;
    try {
      const frames = this.#decoder.decode(chunk);
      if (frames.length === 0) return;
      const taken = this.#receiver.frames(frames);
      if (taken === undefined) return;
      const stream = this.#stream as ClientHttp2Stream;
      stream.pause();
      taken.then(
        () => stream.resume(),
        (error: unknown) => this.#finish(error),
      );
    } catch (error) {
      this.#finish(error);
    }
  };

  /** Everything was read. The trailers are there, or come with "close": a reset right behind them changes the order. */
  #onEnd(): void {
    if (this.#isOver) return;
    const status = this.#headers.has("grpc-status") ? this.#headers : this.#trailers;
    if (!status.has("grpc-status")) return;
    const error = errorOfStatus(status);
    if (error !== undefined) {
      for (const [name, value] of this.#headers) error.metadata.append(name, value);
      this.#finish(error);
    } else if (this.#decoder.isInside) {
      this.#finish(new ConnectError("protocol error: the answer ended within a message", Code.Internal));
    } else {
      this.#finish(undefined);
    }
  }

  #onClose(stream: ClientHttp2Stream): void {
    if (stream.readableEnded) this.#onEnd();
    if (this.#isOver) return;
    const session = this.#session as ClientSession;
    const { authority } = this.#options;
    // Node resets the streams of a connection that it loses with CANCEL, as if the peer had done so.
    if (session.isGone || session.reason !== undefined) {
      const lost = () => connectionError(`the connection to ${authority} was lost`, this.#streamError);
      this.#finish(session.reason ?? lost());
      return;
    }
    const reset = errorOfReset(stream.rstCode);
    if (reset !== undefined) this.#finish(reset);
    else if (this.#streamError !== undefined) {
      this.#finish(connectionError(`the call to ${authority} was cut off`, this.#streamError));
    } else this.#finish(new ConnectError("protocol error: the answer ended without a grpc-status", Code.Internal));
  }

  /** First wins. */
  #finish(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.cancel();
    this.#stopSending();
    this.writer.destroy(error ?? new ConnectError("the call is over", Code.Canceled));
    this.#over.abort(error);
    this.#receiver.end(error, this.#trailers);
  }

  #stopSending(): void {
    const stream = this.#stream;
    if (stream === undefined || stream.closed || stream.destroyed) return;
    const isAnswered = stream.readableEnded;
    if (isAnswered && stream.writableFinished) return;
    // A peer that answered in full before it had read everything wants no more of it. For all else `close` will not do: it
    // half-closes first, which a server could take for a proper end.
    if (isAnswered && !stream.writableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
    else this.#reset.abort();
  }
}
