interface Sent {
  from: number;
  readonly to: number;
  bytes: number;
}

/** What was delivered of a partition and is not committed, for readers that limit it. */
export class InFlight {
  readonly #maxBytes: number;
  #bytes = 0;
  /** Oldest first. */
  #sent: Sent[] = [];

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes that may still be delivered. Like credit it can go below 0, because one message always fits into the rest. */
  get room(): number {
    return this.#maxBytes - this.#bytes;
  }

  /** A response with the messages from one offset up to, not including, another. */
  add(from: number, to: number, bytes: number): void {
    this.#sent.push({ from, to, bytes });
    this.#bytes += bytes;
  }

  /** Of a response that is committed in part, so much goes as it has messages that are. */
  committed(offset: number): void {
    let done = 0;
    for (const sent of this.#sent) {
      if (sent.from >= offset) break;
      const share = Math.min(1, (offset - sent.from) / (sent.to - sent.from));
      const bytes = sent.bytes * share;
      this.#bytes -= bytes;
      sent.bytes -= bytes;
      sent.from = Math.min(offset, sent.to);
      if (share === 1) done++;
    }
    if (done > 0) this.#sent = this.#sent.slice(done);
    // Fractions do not add up.
    if (this.#sent.length === 0) this.#bytes = 0;
  }
}
