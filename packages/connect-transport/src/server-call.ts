import { constants, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock, Timer } from "@tidemark/clock";
import { connectionError, errorOfReset, timedOut } from "./failure.ts";
import { FrameDecoder } from "./frame-decoder.ts";
import type { FrameReceiver, FrameSender } from "./frame-receiver.ts";
import { FrameWriter } from "./frame-writer.ts";
import { statusOf, toWebHeaders } from "./grpc-status.ts";
import { parseTimeout } from "./grpc-timeout.ts";
import { cutOf } from "./server-session.ts";

/** Takes what the client of a call sends. */
export interface CallReceiver extends FrameReceiver {
  /** The client half-closed: no more frames come. Answers can still go out, until `call.end()`. */
  end?(): void;
}

/** One call of a hot path, from the server's side. */
export interface FrameCall extends FrameSender {
  /** `/package.Service/Method` */
  readonly path: string;
  readonly headers: Headers;
  /** The client's address and port, `127.0.0.1:51234`. */
  readonly peer: string;
  /** When the client's deadline is, in milliseconds of the server's monotonic clock. Undefined: it set none. */
  readonly deadlineMs: number | undefined;
  /**
   * Aborts when the call is over, however: `end` was called, the client canceled or went away, its deadline passed, the
   * server was closed. The reason is a `ConnectError`.
   */
  readonly signal: AbortSignal;
  /**
   * Ends the call after everything that was sent, with `grpc-status` OK or that of the error and its details. What is no
   * `ConnectError` becomes `Internal`, without its message. Whatever the client still sends is refused. The first call
   * wins.
   */
  end(error?: unknown): void;
}

/**
 * Serves calls of one path. It runs when the request's headers are there, and returns who takes the frames; until then (a
 * promise) the client is held back. A throw or a rejection ends the call with that error.
 */
export type FrameHandler = (call: FrameCall) => CallReceiver | Promise<CallReceiver>;

export interface ServerCallOptions {
  readonly clock: Clock;
  readonly readMaxBytes: number;
  readonly sendBufferBytes: number;
  /** How long the client may take to fetch what was sent before the end, in milliseconds. */
  readonly lingerTimeoutMs: number;
  onEnd(call: ServerCall, stream: ServerHttp2Stream, error: unknown): void;
}

/** gRPC, compression.md: who gets a message that is compressed in a way it does not know says which ways it knows. */
export const acceptedEncodings = { "grpc-accept-encoding": "identity" } as const;

const answerHeaders = { ":status": 200, "content-type": "application/grpc+proto", ...acceptedEncodings } as const;

/** How long a client may go on sending after it was answered. */
const refuseAfterMs = 1000;

export class ServerCall implements FrameCall {
  readonly path: string;
  readonly headers: Headers;
  readonly peer: string;
  deadlineMs: number | undefined;
  readonly #options: ServerCallOptions;
  readonly #stream: ServerHttp2Stream;
  readonly #writer: FrameWriter;
  readonly #decoder: FrameDecoder;
  readonly #over = new AbortController();
  #receiver: CallReceiver | undefined;
  #timer: Timer | undefined;
  #isAnswered = false;
  #isEnded = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, options: ServerCallOptions) {
    this.#options = options;
    this.#stream = stream;
    this.path = pathOf(headers);
    this.headers = toWebHeaders(headers);
    const session = stream.session as ServerHttp2Session | undefined;
    const socket = session?.socket;
    this.peer = socket === undefined ? "" : `${socket.remoteAddress}:${socket.remotePort}`;
    this.#writer = new FrameWriter(options.sendBufferBytes);
    this.#decoder = new FrameDecoder(options.readMaxBytes);
    // What it says comes with "close" as well.
    stream.on("error", () => {});
    stream.once("close", () => this.#onClose(session));
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Never throws. */
  serve(handler: FrameHandler): void {
    const { clock } = this.#options;
    try {
      const timeoutMs = parseTimeout(this.headers.get("grpc-timeout") ?? undefined);
      if (timeoutMs !== undefined) {
        this.deadlineMs = clock.monotonic() + timeoutMs;
        this.#timer = clock.setTimer(timeoutMs, () => this.end(timedOut())).unref();
      }
      const receiver = handler(this);
      if (!(receiver instanceof Promise)) this.#receive(receiver);
      else {
        receiver.then(
          (it) => this.#receive(it),
          (error: unknown) => this.end(error),
        );
      }
    } catch (error) {
      this.end(error);
    }
  }

  send(frame: Uint8Array | readonly Uint8Array[]): boolean {
    if (this.#isEnded) return false;
    this.#answer();
    return this.#writer.send(frame);
  }

  drained(): Promise<void> {
    return this.#writer.drained();
  }

  end(error?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const stream = this.#stream;
    if (!stream.destroyed && !stream.closed) this.#sendStatus(error);
    this.#finish(error);
  }

  /** Ends it because of the server, not of the call. */
  shutDown(): void {
    this.end(new ConnectError("the server is closing", Code.Unavailable));
  }

  #receive(receiver: CallReceiver): void {
    if (this.#isEnded) return;
    this.#receiver = receiver;
    this.#answer();
    this.#stream.on("data", this.#onData);
    this.#stream.once("end", () => this.#onEnd());
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isEnded) return;
    try {
      const frames = this.#decoder.decode(chunk);
      if (frames.length === 0) return;
      const taken = this.#receiver?.frames(frames);
      if (taken === undefined) return;
      this.#stream.pause();
      taken.then(
        () => this.#stream.resume(),
        (error: unknown) => this.end(error),
      );
    } catch (error) {
      this.end(error);
    }
  };

  #onEnd(): void {
    // A reset ends what can be read, too: that is no half-close.
    if (this.#isEnded || this.#stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    if (this.#decoder.isInside) {
      this.end(new ConnectError("protocol error: the request ended within a message", Code.InvalidArgument));
      return;
    }
    try {
      this.#receiver?.end?.();
    } catch (error) {
      this.end(error);
    }
  }

  #answer(): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    stream.respond(answerHeaders, { waitForTrailers: true });
    this.#writer.attach(stream);
  }

  #sendStatus(error: unknown): void {
    const stream = this.#stream;
    const status = statusOf(error);
    const { clock, lingerTimeoutMs } = this.#options;
    // The client may send on: nobody listens.
    stream.off("data", this.#onData);
    stream.resume();
    let linger = clock.setTimer(lingerTimeoutMs, () => stream.close(constants.NGHTTP2_CANCEL)).unref();
    stream.once("close", () => linger.cancel());
    // RFC 9113, 8.1: a whole answer to a request that is not read to its end may be followed by a reset with NO_ERROR. Not
    // at once: clients on Node then forget what they have not read yet, and most end their requests by themselves.
    const refuseRest = () => {
      if (stream.readableEnded || stream.destroyed) return;
      linger = clock.setTimer(refuseAfterMs, () => stream.close(constants.NGHTTP2_NO_ERROR)).unref();
    };
    if (!this.#isAnswered) {
      this.#isAnswered = true;
      stream.respond({ ...answerHeaders, ...status }, { endStream: true });
      linger.cancel();
      refuseRest();
      return;
    }
    stream.once("wantTrailers", () => {
      stream.sendTrailers(status);
      linger.cancel();
      refuseRest();
    });
    this.#writer.end();
  }

  #onClose(session: ServerHttp2Session | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const lost = connectionError("the connection to the client was lost");
    this.#finish((session && cutOf(session)) ?? errorOfReset(this.#stream.rstCode) ?? lost);
  }

  #finish(error: unknown): void {
    this.#timer?.cancel();
    const reason = error === undefined ? new ConnectError("the call is over", Code.Canceled) : ConnectError.from(error);
    this.#writer.destroy(reason);
    this.#over.abort(reason);
    this.#options.onEnd(this, this.#stream, error);
  }
}

/** Without a query, which gRPC has none of. */
export function pathOf(headers: IncomingHttpHeaders): string {
  const path = String(headers[":path"] ?? "");
  const query = path.indexOf("?");
  return query === -1 ? path : path.slice(0, query);
}
