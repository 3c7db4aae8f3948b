// Node's HTTP/2 reads nothing while a write waits: two such ends that fill a connection both ways stop for good.

import { createServer as createHttp2Server } from "node:http2";
import { Code } from "@connectrpc/connect";
import { systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import {
  type FrameCall,
  type FrameChannelOptions,
  type FrameServerOptions,
  isConnectionError,
} from "@tidemark/connect-transport";
import { expect, test } from "vitest";
import { encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, listen, Seen } from "./support/service.ts";

const never = new AbortController().signal;
const frame = new Uint8Array(64 * 1024);
/** More than the buffers of any system. */
const frames = 15 * 16;
const streams = 2;

/** Both ends send at once what all windows allow. */
async function stall(client: Partial<FrameChannelOptions>, server: Partial<FrameServerOptions>) {
  const seen = new Seen();
  const calls: FrameCall[] = [];
  const { url } = await startFrameServer({
    ...server,
    frames: {
      [both]: (call) => {
        calls.push(call);
        seen.note();
        return { frames: (batch) => batch.forEach((each) => each.length === 0 && call.send(each)) };
      },
    },
  });
  const channel = openChannel({ baseUrl: url, ...client });
  const ends: unknown[] = [];
  const senders = Array.from({ length: streams }, () =>
    channel.stream(both).open({ frames() {}, end: (error) => void ends.push(error) }),
  );
  await seen.until(() => calls.length === streams);
  await channel.ping(never);
  for (const side of [...calls, ...senders]) for (let n = 0; n < frames; n++) side.send(frame);
  return { channel, calls, ends };
}

/** So many turns of the event loop. */
async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise<void>((resolve) => systemClock.setImmediate(resolve));
}

const standstill = {
  code: Code.Unavailable,
  message: expect.stringMatching(/did not answer a ping within 30000 ms, and \d+ bytes wait .*streamWindowBytes/),
};

test("by default the client cuts a connection on which both ends wait for each other, and says why", async () => {
  const client = createSimulation({ seed: 1 });
  const server = createSimulation({ seed: 2 });
  const { channel, ends } = await stall({ clock: client.clock }, { clock: server.clock });
  while (ends.length < streams) {
    await turns(10);
    await client.advance(30_000);
  }
  for (const error of ends) {
    expect(error).toMatchObject(standstill);
    expect(isConnectionError(error)).toBe(true);
  }
  // The next call has a connection of its own.
  const answers = channel.stream(both).start(
    (async function* () {
      yield new Uint8Array(0);
    })(),
  );
  expect(await answers.next()).toMatchObject({ done: false });
  await answers.return?.();
});

test("by default the server cuts it as well, and its handlers hear why", async () => {
  const client = createSimulation({ seed: 1 });
  const server = createSimulation({ seed: 2 });
  const { calls } = await stall({ clock: client.clock }, { clock: server.clock });
  while (!calls.every(({ signal }) => signal.aborted)) {
    await turns(10);
    await server.advance(30_000);
  }
  for (const { signal } of calls) expect(signal.reason).toMatchObject(standstill);
});

test("a peer that takes its time is asked every 5 minutes at most, and kept", async () => {
  const simulation = createSimulation({ seed: 1 });
  const seen = new Seen();
  let pings = 0;
  const server = createHttp2Server();
  server.on("session", (session) =>
    session.on("ping", () => {
      pings++;
      seen.note();
    }),
  );
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    // What is not read keeps the window shut.
    stream.pause();
  });
  const { url } = await listen(server);
  const channel = openChannel({ baseUrl: url, clock: simulation.clock });
  const ends: unknown[] = [];
  const answered = new Promise<void>((resolve) => {
    const sender = channel
      .stream(both)
      .open({ headers: () => resolve(), frames() {}, end: (error) => void ends.push(error) });
    for (let n = 0; n < 16; n++) sender.send(encode("x".repeat(64 * 1024)));
  });
  await answered;
  const halfMinutes = async (count: number) => {
    for (let n = 0; n < count; n++) await simulation.advance(30_000);
  };
  // Nothing comes in between the second and the third look.
  await channel.ping(never);
  await halfMinutes(2);
  await seen.until(() => pings === 2);
  await channel.ping(never);
  // At the next ones it is not yet time again.
  await halfMinutes(7);
  await channel.ping(never);
  expect(pings).toBe(4);
  await halfMinutes(3);
  await seen.until(() => pings === 5);
  await channel.ping(never);
  expect([pings, ends]).toEqual([6, []]);
});
