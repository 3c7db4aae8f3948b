// On virtual time: Node's own timers end at 2^31-1 ms, about 24 days, and fire at once above that.

import { Code, createClient } from "@connectrpc/connect";
import { createSimulation } from "@tidemark/clock/testing";
import type { FrameCall } from "@tidemark/connect-transport";
import { expect, test } from "vitest";
import { openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, of, Seen, source, Test, text, textOf } from "./support/service.ts";

const dayMs = 24 * 3_600_000;
const never = new AbortController().signal;

async function start() {
  const client = createSimulation({ seed: 1, limitMs: 1e12 });
  const server = createSimulation({ seed: 2, limitMs: 1e12 });
  const calls: FrameCall[] = [];
  const seen = new Seen();
  const { url } = await startFrameServer({
    clock: server.clock,
    pingIntervalMs: Number.MAX_SAFE_INTEGER,
    frames: {
      [both]: (call) => {
        calls.push(call);
        seen.note();
        return { frames() {} };
      },
    },
  });
  return { client, server, calls, seen, url, channel: openChannel({ baseUrl: url, clock: client.clock }) };
}

test.each([1, 24, 25, 60, 1000])(
  "a deadline in %d days ends the call then on our side, and not before",
  async (days) => {
    const { client, calls, seen, channel } = await start();
    let isOver = false;
    const answers = channel.stream(both, { timeoutMs: days * dayMs }).start(source<Uint8Array>());
    const end = expect(answers.next().finally(() => (isOver = true))).rejects.toMatchObject({
      code: Code.DeadlineExceeded,
    });
    await seen.until(() => calls.length === 1);
    await client.advance(days * dayMs - 1);
    await channel.ping(never);
    expect(isOver).toBe(false);
    await client.advance(1);
    await end;
  },
);

test.each([1, 24, 25, 60, 1000])(
  "a deadline in %d days ends the call then on the server's, and not before",
  async (days) => {
    const { server, calls, seen, channel } = await start();
    const answers = channel.stream(both, { timeoutMs: days * dayMs }).start(source<Uint8Array>());
    const end = expect(answers.next()).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    await seen.until(() => calls.length === 1);
    expect(calls[0]?.deadlineMs).toBe(days * dayMs);
    await server.advance(days * dayMs - 1);
    expect(calls[0]?.signal.aborted).toBe(false);
    await server.advance(1);
    await end;
  },
);

test("no deadline at all is none, also through connect, and a longer one than connect can keep does not fire", async () => {
  const { client, server, calls, seen, channel } = await start();
  const endless = channel.stream(both).start(source<Uint8Array>());
  const pending = endless.next();
  await seen.until(() => calls.length === 1);
  await Promise.all([client.advance(1000 * dayMs), server.advance(1000 * dayMs)]);
  expect(calls[0]).toMatchObject({ deadlineMs: undefined, signal: { aborted: false } });
  await endless.return?.();
  await pending;
  const stock = await startFrameServer();
  const api = createClient(Test, openChannel({ baseUrl: stock.url }).transport);
  for (const timeoutMs of [2 ** 31, 1e12, Number.MAX_SAFE_INTEGER]) {
    expect(textOf(await api.once(text("a"), { timeoutMs }))).toBe("a");
    expect(await collect(api.both(of(text("a")), { timeoutMs }))).toHaveLength(1);
  }
});
