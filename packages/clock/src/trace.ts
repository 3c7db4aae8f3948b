/** What happened in a simulation, in order. Equal seeds give equal digests, or something outside the seed decided. */
export interface Trace {
  /** Adds a line at the current virtual time. */
  record(label: string): void;
  /** The last lines recorded, oldest first, each `<monotonic ms> <label>`. */
  lines(): readonly string[];
  /** 16 hexadecimal digits over every line ever recorded and every event that ran. */
  digest(): string;
}

/** A running 64-bit hash in two lanes; good at noticing differences, not a signature. */
export class TraceLog implements Trace {
  readonly #nowMs: () => number;
  readonly #keptLines: number;
  #lines: string[] = [];
  #low = 0x9e3779b9 | 0;
  #high = 0x85ebca6b | 0;

  constructor(nowMs: () => number, keptLines: number) {
    this.#nowMs = nowMs;
    this.#keptLines = keptLines;
  }

  record(label: string): void {
    const line = `${this.#nowMs()} ${label}`;
    this.#mix(line.length);
    for (let index = 0; index < line.length; index++) this.#mix(line.charCodeAt(index));
    this.#lines.push(line);
    if (this.#lines.length >= this.#keptLines * 2) this.#lines = this.#lines.slice(-this.#keptLines);
  }

  /** An event of the scheduler itself: in the digest, not among the lines. */
  ran(id: number, dueMs: number): void {
    this.#mix(id);
    this.#mix(Math.trunc(dueMs / 2 ** 20));
    this.#mix(Math.trunc((dueMs % 2 ** 20) * 2 ** 11));
  }

  lines(): readonly string[] {
    return this.#lines.slice(-this.#keptLines);
  }

  digest(): string {
    return [this.#high, this.#low].map((lane) => (lane >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #mix(word: number): void {
    const low = Math.imul(this.#low ^ word, 0xcc9e2d51);
    this.#low = (low << 15) | (low >>> 17);
    const high = Math.imul(this.#high + word, 0x1b873593) ^ this.#low;
    this.#high = (high << 13) | (high >>> 19);
  }
}
