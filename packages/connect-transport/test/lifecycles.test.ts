import { getEventListeners } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { seededRng, systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { FrameChannel } from "@tidemark/connect-transport";
import { expect, test } from "vitest";
import { encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, of, source, Test, text } from "./support/service.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes that something still holds. */
async function liveHeap(): Promise<number> {
  // What ends in one turn lets go of what the next collection finds.
  for (let n = 0; n < 3; n++) {
    await turns(1);
    collectGarbage();
  }
  return process.memoryUsage().heapUsed;
}

/** So many turns of the event loop: enough for some of what is under way, and never a matter of time. */
async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise<void>((resolve) => systemClock.setImmediate(resolve));
}

const isLong = process.env["TIDEMARK_LONG"] === "1";

test("X20: no listener stays on a long-lived signal, however calls end", async () => {
  const { url } = await startFrameServer();
  const simulation = createSimulation({ seed: 1 });
  const client = createClient(Test, openChannel({ baseUrl: url, clock: simulation.clock }).transport);
  const { signal } = new AbortController();
  for (let n = 0; n < 20; n++) {
    await collect(client.both(of(text("a")), { signal }));
    await collect(client.both(of(text("fail")), { signal })).catch(() => {});
    const late = collect(client.both(source<ReturnType<typeof text>>(), { signal, timeoutMs: 5 })).catch(() => {});
    await Promise.all([late, simulation.advance(5)]);
  }
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("X20: thousands of calls leave no call, no connection and no memory behind", { timeout: 300_000 }, async () => {
  const { url, server } = await startFrameServer({
    // Notes nothing, unlike the one of the other tests.
    frames: {
      [both]: (call) => ({
        frames(frames) {
          for (const frame of frames) call.send(frame);
        },
        end: () => call.end(),
      }),
    },
  });
  const channel = openChannel({ baseUrl: url });
  const frame = encode("x".repeat(2000));
  const round = async (count: number) => {
    for (let n = 0; n < count; n += 50) {
      await Promise.all(Array.from({ length: 50 }, () => collect(channel.stream(both).start(of(frame, frame)))));
    }
    return await liveHeap();
  };
  const before = await round(1000);
  const after = await round(isLong ? 50_000 : 2000);
  expect(server.connections).toBe(1);
  expect(after - before).toBeLessThan(5 * 1024 * 1024);
});

test("calls that are canceled with much still to send do not use up their connection", async () => {
  const { url } = await startFrameServer({
    streamWindowBytes: 65_535,
    frames: { [both]: () => ({ frames: () => new Promise(() => {}) }) },
  });
  const channel = openChannel({ baseUrl: url });
  for (let n = 0; n < 100; n++) {
    const stream = channel.stream(both);
    const ended = new Promise<void>((resolve) => {
      const sender = stream.open({ frames() {}, headers: () => stream.cancel(undefined), end: () => resolve() });
      sender.send(new Uint8Array(1_000_000));
    });
    await ended;
  }
  const client = createClient(Test, channel.transport);
  await client.once(text("a"));
});

// The seed is in the title; both sides do at random what they are allowed to do.
for (const seed of isLong ? Array.from({ length: 30 }, (_, n) => n + 1) : [1, 2]) {
  test(`every call ends, whatever both sides do (seed ${seed})`, { timeout: 120_000 }, async () => {
    const rng = seededRng(seed);
    const pick = (count: number) => rng.int(0, count);
    const { url, server } = await startFrameServer({
      frames: {
        [both](call) {
          const how = pick(8);
          if (how === 0) throw new ConnectError("no", Code.PermissionDenied);
          if (how === 1) call.end();
          if (how === 2) call.send(new Uint8Array(pick(200_000)));
          if (how === 2) call.end();
          if (how === 3) void turns(1).then(() => call.end(new Error("later")));
          return {
            frames(frames) {
              for (const frame of frames) call.send(frame);
              if (how === 4) call.end();
              if (how === 5) throw new Error("no more");
              return how === 6 ? turns(5) : undefined;
            },
            end() {
              if (how === 7) void turns(5).then(() => call.end());
              else call.end();
            },
          };
        },
      },
    });
    const open = () => new FrameChannel({ baseUrl: url });
    let channel = open();
    const one = () =>
      new Promise<void>((resolve) => {
        const stream = channel.stream(both);
        const how = pick(6);
        const sender = stream.open({
          headers: () => how === 1 && stream.cancel(undefined),
          frames() {
            if (how === 2) stream.cancel(new Error("enough"));
            if (how === 3) sender.end();
          },
          end: () => resolve(),
        });
        for (let n = pick(5); n > 0; n--) sender.send(new Uint8Array(pick(3) === 0 ? pick(100_000) : pick(200)));
        if (how === 0) stream.cancel(undefined);
        if (how === 4) process.nextTick(() => sender.end());
        if (how === 5) sender.end();
        void turns(pick(40)).then(() => (pick(2) === 0 ? sender.end() : stream.cancel(undefined)));
      });
    for (let n = 0; n < 40; n++) {
      if (pick(10) === 0) {
        if (pick(2) === 0) channel.destroy();
        else await channel.close();
        channel = open();
      }
      await Promise.all(Array.from({ length: 8 }, one));
    }
    await channel.close();
    while (server.connections > 0) await turns(1);
    expect(server.openCalls).toBe(0);
  });
}
