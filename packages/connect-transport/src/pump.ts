import type { FrameWriter } from "./frame-writer.ts";

/**
 * Sends what an iterable yields, as fast as the peer takes it, and half-closes at its end. Never rejects.
 *
 * @param send hands an item to the writer, and says whether there is room for more.
 * @param isOver whether nobody wants it any more.
 */
export async function pump<T>(
  source: AsyncIterable<T>,
  writer: FrameWriter,
  send: (item: T) => boolean,
  onError: (error: unknown) => void,
  isOver: () => boolean,
): Promise<void> {
  let iterator: AsyncIterator<T> | undefined;
  let isDone = false;
  try {
    iterator = source[Symbol.asyncIterator]();
    for (;;) {
      const step = await iterator.next();
      if (step.done === true) {
        isDone = true;
        writer.end();
        return;
      }
      if (isOver()) return;
      if (!send(step.value)) await writer.drained();
    }
  } catch (error) {
    onError(error);
  } finally {
    // A source that waits for its end (a queue, a generator) hears of it.
    if (!isDone) iterator?.return?.()?.catch(() => {});
  }
}
