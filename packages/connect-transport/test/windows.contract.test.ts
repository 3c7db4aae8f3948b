// What a long link needs: many bytes on their way without a word from the other side. HTTP/2's own windows are 64 KiB.

import { connect as connectTcp, createServer, type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, Seen } from "./support/service.ts";

/** A link of which one direction can be held: what comes from there stays in the relay until `release`. */
async function startLink(port: number) {
  const held = { client: false, server: false };
  let release = () => {};
  const server = createServer((client) => {
    const upstream = connectTcp(port, "127.0.0.1");
    const kept: (() => void)[] = [];
    release = () => {
      held.client = held.server = false;
      for (const send of kept.splice(0)) send();
    };
    const join = (from: typeof client, to: typeof client, side: keyof typeof held) => {
      from.on("error", () => {});
      from.on("close", () => to.destroy());
      from.on("data", (chunk: Buffer) => {
        const send = () => void to.write(chunk);
        if (held[side]) kept.push(send);
        else send();
      });
    };
    join(client, upstream, "client");
    join(upstream, client, "server");
    onTestFinished(() => void client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold: (side: keyof typeof held) => (held[side] = true),
    release: () => release(),
  };
}

const frame = new Uint8Array(64 * 1024);
/** On one stream; together more than the first window of a connection, and than what one stream may have by itself. */
const frames = 8 * 16;
const bytes = frames * frame.length;

test("down: 8 MiB a stream, on three streams, arrive without a word from the client", async () => {
  const seen = new Seen();
  const pours: (() => void)[] = [];
  const { port } = await startFrameServer({
    frames: {
      [both]: (call) => {
        pours.push(() => {
          for (let n = 0; n < frames; n++) call.send(frame);
        });
        seen.note();
        return { frames() {} };
      },
    },
  });
  const link = await startLink(port);
  const channel = openChannel({ baseUrl: link.url });
  const received = [0, 0, 0];
  for (const index of received.keys()) {
    channel.stream(both).open({
      frames(batch) {
        for (const { length } of batch) received[index] = (received[index] as number) + length;
        seen.note();
      },
      end() {},
    });
  }
  await seen.until(() => pours.length === 3);
  await channel.ping(new AbortController().signal);
  link.hold("client");
  for (const pour of pours) pour();
  await seen.until(() => received.every((count) => count === bytes));
});

test("up: 8 MiB a stream, on three streams, arrive without a word from the server", async () => {
  const seen = new Seen();
  const received: number[] = [];
  const { port } = await startFrameServer({
    frames: {
      [both]: () => {
        const index = received.push(0) - 1;
        seen.note();
        return {
          frames(batch) {
            for (const { length } of batch) received[index] = (received[index] as number) + length;
            seen.note();
          },
        };
      },
    },
  });
  const link = await startLink(port);
  const channel = openChannel({ baseUrl: link.url });
  const senders = [0, 1, 2].map(() => channel.stream(both).open({ frames() {}, end() {} }));
  await seen.until(() => received.length === 3);
  await channel.ping(new AbortController().signal);
  link.hold("server");
  for (const sender of senders) for (let n = 0; n < frames; n++) sender.send(frame);
  await seen.until(() => received.every((count) => count === bytes));
});

test("a window is a bound as well: without a word from the client no more than it arrives", async () => {
  const seen = new Seen();
  let pour: (() => void) | undefined;
  const { port } = await startFrameServer({
    frames: {
      [both]: (call) => {
        pour = () => {
          for (let n = 0; n < frames; n++) call.send(frame);
          call.end();
        };
        seen.note();
        return { frames() {} };
      },
    },
  });
  const link = await startLink(port);
  const windowBytes = 1024 * 1024;
  const channel = openChannel({ baseUrl: link.url, streamWindowBytes: windowBytes });
  let received = 0;
  let held = 0;
  const ended = new Promise<unknown>((resolve) => {
    channel.stream(both).open({
      frames(batch) {
        for (const { length } of batch) received += length;
        // All but the frame that is cut where the window ends.
        if (received > windowBytes - 2 * frame.length) seen.note();
      },
      end: resolve,
    });
  });
  await seen.until(() => pour !== undefined);
  await channel.ping(new AbortController().signal);
  link.hold("client");
  pour?.();
  await seen.until(() => received > windowBytes - 2 * frame.length);
  held = received;
  link.release();
  expect(await ended).toBeUndefined();
  expect(held).toBeLessThanOrEqual(windowBytes);
  expect(received).toBe(bytes);
});
