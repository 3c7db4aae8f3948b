import type { Handshake } from "./protocol.ts";
import { StreamError } from "./stream-error.ts";
import { judged } from "./verdict.ts";

/** The handshake's view of its stream. It is of no use before and after the handshake. */
export class HandshakeChannel<Out, In> implements Handshake<Out, In> {
  readonly signal: AbortSignal;
  readonly #incoming: AsyncIterator<In>;
  readonly #send: (message: Out) => void;
  readonly #protocolName: string;
  #receiving: PromiseWithResolvers<In> | undefined;
  #end: { readonly error: unknown } | undefined;
  /** What the handshake said about its token. */
  token: string | undefined;

  constructor(protocolName: string, incoming: AsyncIterator<In>, send: (message: Out) => void, signal: AbortSignal) {
    this.#protocolName = protocolName;
    this.#incoming = incoming;
    this.#send = send;
    this.signal = signal;
  }

  /** Whether a message was asked for and has not come. */
  get isReceiving(): boolean {
    return this.#receiving !== undefined;
  }

  /** Makes every further use, and a `receive` under way, fail. */
  end(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#receiving?.reject(error);
    this.#receiving = undefined;
  }

  send(message: Out): void {
    if (this.#end !== undefined) throw this.#end.error;
    this.#send(message);
  }

  usedToken(token: string): void {
    this.token = token;
  }

  receive(): Promise<In> {
    if (this.#end !== undefined) return Promise.reject(this.#end.error as Error);
    if (this.#receiving !== undefined) {
      return Promise.reject(
        new StreamError("PROTOCOL", `${this.#protocolName}: receive() needs the one before it to be settled first`),
      );
    }
    const receiving = Promise.withResolvers<In>();
    this.#receiving = receiving;
    void this.#pull(receiving);
    return receiving.promise;
  }

  async #pull(receiving: PromiseWithResolvers<In>): Promise<void> {
    try {
      const result = await this.#incoming.next();
      if (this.#receiving === receiving) this.#receiving = undefined;
      if (!result.done) receiving.resolve(result.value);
      else receiving.reject(endedError(`${this.#protocolName}: the peer ended the stream during the handshake`));
    } catch (error) {
      if (this.#receiving === receiving) this.#receiving = undefined;
      receiving.reject(error);
    }
  }
}

function endedError(message: string): StreamError {
  return judged(new StreamError("PROTOCOL", message, { retryable: true }), "fast");
}
