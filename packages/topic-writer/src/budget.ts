import { Waiters } from "@tidemark/stream/internal";

/** What the writer holds and how much it may: the source of back-pressure. Sub-writers of one writer share it. */
export class Budget {
  readonly #maxBytes: number;
  readonly #maxMessages: number;
  readonly #waiters = new Waiters();
  #bytes = 0;
  #messages = 0;

  constructor(maxBytes: number, maxMessages: number) {
    this.#maxBytes = maxBytes;
    this.#maxMessages = maxMessages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get messages(): number {
    return this.#messages;
  }

  get hasRoom(): boolean {
    return this.#bytes < this.#maxBytes && this.#messages < this.#maxMessages;
  }

  /** Whether there is still room afterwards. */
  take(bytes: number): boolean {
    this.#bytes += bytes;
    this.#messages++;
    return this.#bytes < this.#maxBytes && this.#messages < this.#maxMessages;
  }

  give(bytes: number, messages: number): void {
    this.#bytes -= bytes;
    this.#messages -= messages;
    if (this.#waiters.size > 0 && this.hasRoom) this.#waiters.resolve();
  }

  /** @throws `signal.reason`; what `end` was given. */
  ready(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return this.hasRoom ? Promise.resolve() : this.#waiters.wait(signal);
  }

  end(error: unknown): void {
    this.#waiters.reject(error);
  }
}
