import { expect, test } from "vitest";
import { openChannel, startFrameServer } from "./support/frame-service.ts";
import { both } from "./support/service.ts";

/** Frame `n` of `size` bytes, which no other frame has anywhere. */
function frameOf(n: number, size: number): Uint8Array {
  const frame = new Uint8Array(size).fill(n);
  new DataView(frame.buffer).setUint32(0, n);
  return frame;
}

const isFrame = (frame: Uint8Array, n: number): boolean => Buffer.compare(frame, frameOf(n, frame.length)) === 0;

test("memory that is used again never changes what is on its way", async () => {
  const { url } = await startFrameServer({
    frames: {
      [both]: (call) => ({
        async frames(frames) {
          for (const frame of frames) if (!call.send(frame)) await call.drained();
        },
        end: () => call.end(),
      }),
    },
  });
  const channel = openChannel({ baseUrl: url, sendBufferBytes: 300_000 });
  // Two streams at once share what was written; sizes from far below to above what is copied.
  const streams = Array.from({ length: 2 }, async (_, place) => {
    let received = 0;
    let wrong = 0;
    const { promise: over, resolve, reject } = Promise.withResolvers<void>();
    const stream = channel.stream(both).open({
      frames(frames) {
        for (const frame of frames) if (!isFrame(frame, place * 100_000 + received++)) wrong++;
      },
      end: (error) => (error === undefined ? resolve() : reject(error as Error)),
    });
    const count = 6_000;
    for (let n = 0; n < count; n++) {
      const size = n % 500 === 0 ? 20_000 : 4 + ((n * 7919) % 600);
      const hasRoom = stream.send(frameOf(place * 100_000 + n, size));
      // Now and then everything is written before more comes, and the slab begins anew.
      if (!hasRoom || n % 900 === 0) await stream.drained();
      if (n % 1_300 === 0) await new Promise((resolveTurn) => setImmediate(resolveTurn));
    }
    stream.end();
    await over;
    return { received, wrong };
  });
  expect(await Promise.all(streams)).toEqual(Array.from({ length: 2 }, () => ({ received: 6_000, wrong: 0 })));
});
