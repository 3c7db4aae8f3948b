import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import type { Clock } from "@tidemark/clock";
import { silentPeer } from "./failure.ts";

export interface ServerSessionOptions {
  readonly clock: Clock;
  readonly connectionWindowBytes: number;
  readonly pingIntervalMs: number;
  /** Whether the call failed: what its client does not fetch of it is worth no wait. */
  isFailed(stream: ServerHttp2Stream): boolean;
  /** All is said, and the client has it: nobody needs to wait until it hangs up. */
  onDone(): void;
  /** Nobody is there: nothing is worth a wait. */
  onDead(): void;
}

const cuts = new WeakMap<ServerHttp2Session, ConnectError>();

/** Why we cut a connection, if we did. */
export const cutOf = (session: ServerHttp2Session): ConnectError | undefined => cuts.get(session);

/** One HTTP/2 connection of a client: watched by PINGs, and let go of when nothing is left to say. */
export class ServerSession {
  readonly #session: ServerHttp2Session;
  readonly #options: ServerSessionOptions;
  readonly #streams = new Set<ServerHttp2Stream>();
  /** Whether the client has everything of the calls before. */
  #isFetched = true;
  /** Whether the answer to the PING under way shows that. */
  #isFetchedWithPing = false;
  #isClosing = false;
  #isLeaving = false;

  constructor(session: ServerHttp2Session, options: ServerSessionOptions) {
    this.#session = session;
    this.#options = options;
    session.on("error", () => {});
    session.setLocalWindowSize(options.connectionWindowBytes);
    session.on("stream", (stream) => this.#onStream(stream));
    this.#watch();
  }

  /** Takes no more calls, and is gone as soon as those under way are answered. */
  close(): void {
    this.#isClosing = true;
    // Not `close`, which is of no more use while there are calls.
    if (!this.#session.destroyed) this.#session.goaway();
    this.#leave();
  }

  #onStream(stream: ServerHttp2Stream): void {
    this.#streams.add(stream);
    this.#isFetched = this.#isFetchedWithPing = false;
    stream.once("finish", () => this.#leave());
    stream.once("wantTrailers", () => this.#leave());
    stream.once("close", () => {
      this.#streams.delete(stream);
      this.#leave();
    });
  }

  #leave(): void {
    if (!this.#isClosing) return;
    if (this.#streams.size === 0) this.#end();
    else if (!this.#isLeaving && this.#holds(isWritten)) this.#sayGoodbye();
  }

  #end(): void {
    this.#session.close();
    // Node looks whether it is over when a call ends, and not again when what it had to write by then is written.
    this.#session.destroy();
    // After a goodbye nothing is read any more without calls. A client that may still fetch the end of an answer hangs up
    // when it has it; a socket that we destroyed would take it away.
    if (this.#isFetched) this.#options.onDone();
  }

  /** Such exchanges overtake: the answer to one shows that what came before is written, that to the next that it is there. */
  #sayGoodbye(): void {
    this.#isLeaving = true;
    this.#exchange(() => {
      if (this.#holds(isSent)) this.#exchange(() => this.#refuseRest());
      // A trailer waits for the client's window, too, and tells when that opens.
      else if (this.#holds((stream) => isSent(stream) || stream.sentTrailers !== undefined)) this.#sayGoodbye();
      else this.#isLeaving = false;
    });
  }

  /**
   * The clients have all of their answers, and most have closed their calls. RFC 9113, 8.1: a whole answer may be followed
   * by a reset with NO_ERROR. Behind its trailers it takes nothing away: even when the connection is gone, a client on
   * Node still reads what it had of that answer.
   */
  #refuseRest(): void {
    this.#isFetched = true;
    let isSomeLeft = false;
    for (const stream of this.#streams) {
      if (isSent(stream)) stream.close(constants.NGHTTP2_NO_ERROR);
      else isSomeLeft = true;
    }
    if (isSomeLeft) this.#end();
  }

  #holds(isDone: (stream: ServerHttp2Stream) => boolean): boolean {
    for (const stream of this.#streams) if (!isDone(stream) && !this.#options.isFailed(stream)) return false;
    return true;
  }

  /** SETTINGS instead of a PING, which Node does not send any more once the client has said goodbye, too. */
  #exchange(then: () => void): void {
    const session = this.#session;
    if (session.destroyed) return;
    session.settings({}, (error) => {
      if (error === null && !session.destroyed) then();
    });
  }

  #watch(): void {
    const { clock, pingIntervalMs } = this.#options;
    const session = this.#session;
    let isAnswered = true;
    const beat = () => {
      if (session.destroyed || session.closed) return;
      if (!isAnswered) {
        let waitingBytes = 0;
        for (const { writableLength } of this.#streams) waitingBytes += writableLength;
        cuts.set(session, silentPeer("the client", pingIntervalMs, waitingBytes));
        session.destroy();
        // Node waits for a write that is under way, which may be for ever.
        this.#options.onDead();
        return;
      }
      isAnswered = false;
      this.#isFetchedWithPing = this.#streams.size === 0;
      session.ping((error) => {
        isAnswered = error === null;
        if (isAnswered && this.#isFetchedWithPing) this.#isFetched = true;
      });
      timer = clock.setTimer(pingIntervalMs, beat).unref();
    };
    let timer = clock.setTimer(pingIntervalMs, beat).unref();
    session.once("close", () => timer.cancel());
  }
}

/** Everything but its trailers has passed the client's window. */
const isWritten = (stream: ServerHttp2Stream) => stream.writableFinished;

/** Its last frame is on its way. */
const isSent = (stream: ServerHttp2Stream) => stream.state.localClose === 1;
