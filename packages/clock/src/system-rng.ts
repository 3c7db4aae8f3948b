import { type Rng, WordRng } from "./rng.ts";

/** What Web Crypto gives at most in one call. */
const maxFillBytes = 65_536;

class SystemRng extends WordRng {
  readonly #pool = new Uint32Array(256);
  #used = this.#pool.length;

  uint32(): number {
    if (this.#used === this.#pool.length) {
      crypto.getRandomValues(this.#pool);
      this.#used = 0;
    }
    return this.#pool[this.#used++] as number;
  }

  override bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += maxFillBytes) crypto.getRandomValues(bytes.subarray(at, at + maxFillBytes));
    return bytes;
  }

  override uuid(): string {
    return crypto.randomUUID();
  }
}

/** The machine's cryptographically secure randomness. */
export const systemRng: Rng = new SystemRng();
