import type { StreamTransport } from "@tidemark/stream";

/** What goes out of a stream: pushed by the test. */
export class Outgoing implements AsyncIterableIterator<Uint8Array> {
  readonly #items: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #isEnded = false;

  push(bytes: Uint8Array): void {
    this.#items.push(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) return { done: false, value: item };
      if (this.#isEnded) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.end();
    return { done: true, value: undefined };
  }

  async throw(): Promise<IteratorResult<Uint8Array>> {
    return this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** One frame there and back. */
export async function roundTrip(
  stream: StreamTransport<Uint8Array, Uint8Array>,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const outgoing = new Outgoing();
  const incoming = stream.start(outgoing)[Symbol.asyncIterator]();
  outgoing.push(bytes);
  const first = await incoming.next();
  if (first.done === true) throw new Error("the stream ended");
  outgoing.end();
  const second = await incoming.next();
  if (second.done !== true) throw new Error("the stream did not end");
  return first.value;
}
