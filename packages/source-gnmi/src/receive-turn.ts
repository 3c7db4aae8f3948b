import type { Clock } from "@tidemark/clock";

/** About a thousand leaves with short values, which take some milliseconds. */
const defaultBytes = 64 * 1024;

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

const shared = new WeakMap<object, ReceiveTurn>();

/**
 * How much is taken before the event loop moves on. When something has held up the process, megabytes wait in the socket of
 * every device; taken in one turn they would hold up timers, commits and everything else for as long as all of that takes.
 * What is beyond waits for its turn, first come, first served, so that no device keeps another one waiting.
 */
export class ReceiveTurn {
  readonly #clock: Pick<Clock, "setImmediate">;
  readonly #maxBytes: number;
  #taken = 0;
  readonly #waiting: Waiting[] = [];
  #isArmed = false;

  constructor(clock: Pick<Clock, "setImmediate">, maxBytes = defaultBytes) {
    this.#clock = clock;
    this.#maxBytes = maxBytes;
  }

  /** The one that everything on this clock has in common, as it has the event loop in common. */
  static of(clock: Pick<Clock, "setImmediate">): ReceiveTurn {
    let turn = shared.get(clock);
    if (turn === undefined) {
      turn = new ReceiveTurn(clock);
      shared.set(clock, turn);
    }
    return turn;
  }

  /** Undefined: take so many bytes now. Otherwise they may be taken when the promise resolves. */
  enter(bytes: number): Promise<void> | undefined {
    if (this.#taken < this.#maxBytes) {
      this.#taken += bytes;
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ bytes, go: resolve });
    this.#arm();
    return promise;
  }

  /** Only when somebody waits: otherwise every turn would cost a second one. */
  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    this.#clock.setImmediate(() => {
      this.#isArmed = false;
      this.#taken = 0;
      let admitted = 0;
      while (admitted < this.#waiting.length && this.#taken < this.#maxBytes) {
        const { bytes, go } = this.#waiting[admitted++] as Waiting;
        this.#taken += bytes;
        go();
      }
      this.#waiting.splice(0, admitted);
      if (this.#waiting.length > 0) this.#arm();
    });
  }
}
