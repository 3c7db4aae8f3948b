/** Cuts what comes over a stream into gRPC messages; one that arrived in one piece is not copied. */
export class FrameSplitter {
  readonly #onMessage: (bytes: Buffer) => void;
  /** What is there of a frame that is not complete. */
  #pieces: Buffer[] = [];
  #held = 0;
  /** Bytes of the whole incomplete frame; 0 while that is not known. */
  #wanted = 0;

  constructor(onMessage: (bytes: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    if (this.#held === 0) {
      this.#cut(chunk);
      return;
    }
    this.#pieces.push(chunk);
    this.#held += chunk.length;
    if (this.#wanted === 0 || this.#held >= this.#wanted) {
      const whole = Buffer.concat(this.#pieces, this.#held);
      this.#pieces = [];
      this.#held = 0;
      this.#cut(whole);
    }
  }

  #cut(bytes: Buffer): void {
    let at = 0;
    this.#wanted = 0;
    while (bytes.length - at >= 5) {
      const end = at + 5 + bytes.readUInt32BE(at + 1);
      if (bytes[at] !== 0) throw new Error("got a compressed gRPC frame; nobody asked for compression");
      if (end > bytes.length) {
        this.#wanted = end - at;
        break;
      }
      this.#onMessage(bytes.subarray(at + 5, end));
      at = end;
    }
    if (at < bytes.length) {
      this.#pieces.push(at === 0 ? bytes : bytes.subarray(at));
      this.#held = bytes.length - at;
    }
  }
}
