/**
 * The bytes that one stream's server may still send (X13). At every instant
 *
 *     granted = received + window - held - owed
 *
 * where `held` is what was received and is still kept here, and `owed` is what was let go of and is not granted yet.
 * A new stream begins a new ledger: what the old one granted is void.
 */
export class CreditLedger {
  readonly windowBytes: number;
  /** A request for every response would double the frames, and a full window would wait for a round trip. */
  readonly #requestBytes: number;
  #granted = 0;
  #received = 0;
  #held = 0;
  #owed = 0;

  constructor(windowBytes: number) {
    this.windowBytes = windowBytes;
    this.#requestBytes = Math.max(1, Math.floor(windowBytes / 4));
  }

  get granted(): number {
    return this.#granted;
  }

  get received(): number {
    return this.#received;
  }

  /** Received and kept. */
  get held(): number {
    return this.#held;
  }

  /** Let go of, to be granted with the next request. */
  get owed(): number {
    return this.#owed;
  }

  /** What the server may still send. Below 0 after a message larger than what was left (topic.proto, ReadRequest). */
  get available(): number {
    return this.#granted - this.#received;
  }

  /** The first grant of the stream. */
  open(): number {
    this.#granted = this.windowBytes;
    return this.windowBytes;
  }

  receive(bytes: number): void {
    this.#received += bytes;
    this.#held += bytes;
  }

  /** Returns what to request now; 0: later, together with more. */
  release(bytes: number): number {
    this.#held -= bytes;
    this.#owed += bytes;
    if (this.#owed < this.#requestBytes) return 0;
    const request = this.#owed;
    this.#owed = 0;
    this.#granted += request;
    return request;
  }
}
