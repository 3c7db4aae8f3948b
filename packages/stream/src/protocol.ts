import type { StreamConnection } from "./connection.ts";

/**
 * One bidirectional stream of some transport (gRPC, WebSocket, a pipe), owned by exactly one {@link StreamConnection}.
 *
 * Creating a transport is synchronous and does no I/O, so that there is never a moment in which a stream exists and
 * nobody owns it (invariant P2).
 */
export interface StreamTransport<Out, In> {
  /**
   * Starts the I/O. Called at most once. Messages of `outgoing` go to the peer in order; it ends when the connection
   * half-closes. The result yields the peer's messages, ends when the peer ended the stream normally and throws when it
   * failed.
   */
  start(outgoing: AsyncIterable<Out>): AsyncIterable<In>;
  /**
   * Cancels both directions at once. Idempotent, synchronous, safe before `start` (which must then fail or end without
   * any I/O). Whatever it throws is ignored (P11).
   */
  cancel(reason: unknown): void;
  /**
   * Asks the peer for a sign of life below the level of messages, for example with an HTTP/2 PING, and resolves when it
   * came. Leave it out where the transport has none. Without it only `silenceTimeoutMs` finds a half-open connection
   * (X11). A rejection ends the stream.
   */
  ping?(signal: AbortSignal): Promise<void>;
}

/** How an error is retried: soon, later, or not at all. */
export type RetryClass = "fast" | "slow" | "fatal";

/** What a handshake may do with its stream. Both calls fail as soon as the connection dies or is closed. */
export interface Handshake<Out, In> {
  /** Queues a message. */
  send(message: Out): void;
  /** The next message of the peer. Rejects with a retryable `PROTOCOL` error when the peer ended the stream. */
  receive(): Promise<In>;
  /** Tells the token refresh which token this handshake used: it is not sent again until it changes. */
  usedToken(token: string): void;
  /** Aborts when the connection is closed or the handshake's time is up. */
  readonly signal: AbortSignal;
}

/** Token refresh on a live stream; leave it out where a protocol has none (P14). */
export interface TokenRefresh<Out, In> {
  /** Time between refreshes, in milliseconds, above 0. Undefined: no refresh at all. */
  readonly intervalMs?: number;
  /** The current token. Undefined ends the refreshing. An unchanged token is not sent again. */
  token(signal: AbortSignal): Promise<string | undefined> | string | undefined;
  /** The message that carries a token. */
  toMessage(token: string): Out;
  /** Whether this message answers a refresh. At most one refresh is in flight. */
  isReply(message: In): boolean;
  /**
   * How long to wait for the answer before the next refresh may go out, in milliseconds (X17).
   * @default 30_000
   */
  readonly replyTimeoutMs?: number;
}

/**
 * What a protocol tells the stream core. The core owns lifecycle, order, watchdogs and back-off; the protocol owns the
 * meaning of messages. One object serves every connection of a reconnector, so per-stream state belongs into `Session`.
 */
export interface StreamProtocol<Out, In, Session> {
  /** Used in errors and events, for example `etcd.watch`. */
  readonly name: string;
  /** Allocates the transport of one connection. Synchronous, no I/O, called exactly once per connection (P15). */
  openTransport(): StreamTransport<Out, In>;
  /**
   * Speaks the opening of the protocol. The connection becomes visible to anybody only after it resolved (P3).
   * Its rejection ends the connection; `classify` decides what happens next.
   */
  handshake(stream: Handshake<Out, In>): Promise<Session>;
  /**
   * Takes one message, in order. A returned promise holds back reading: that is the back-pressure to the wire.
   * A throw ends the connection with that error; `classify` decides what happens next.
   */
  onMessage(message: In, connection: StreamConnection<Out, In, Session>): void | Promise<void>;
  /**
   * Whether a message proves that the stream does its work. It resets the attempt counter (X1); a mere handshake never
   * does. Without this only a stable period resets it.
   */
  isProgress?(message: In): boolean;
  /** Maps an error of the transport, the handshake or `onMessage` to a retry class. A throw here is fatal (X22). */
  classify(error: unknown): RetryClass;
  /** @default no refresh */
  readonly tokenRefresh?: TokenRefresh<Out, In>;
}
