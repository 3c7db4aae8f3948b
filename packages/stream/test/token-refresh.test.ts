import { createSimulation } from "@tidemark/clock/testing";
import { StreamReconnector, type StreamEvent, type TokenRefresh } from "@tidemark/stream";
import { expect, test } from "vitest";
import { type Line, type LinePeer, lineProtocol, lineServer } from "./support/line-protocol.ts";

function scene(refresh: Partial<TokenRefresh<Line, Line>>, answer?: (peer: LinePeer, line: Line) => void) {
  const simulation = createSimulation({ seed: 3 });
  const { clock, rng } = simulation;
  const got: string[] = [];
  const server = lineServer(async (peer) => {
    for await (const line of peer.received) {
      got.push(`${line} at ${clock.monotonic()}`);
      if (answer) answer(peer, line);
      else peer.send("token ok");
    }
    peer.end();
  });
  const protocol = {
    ...lineProtocol(server),
    tokenRefresh: {
      intervalMs: 60_000,
      token: () => `token-${Math.floor(clock.monotonic() / 60_000)}`,
      toMessage: (token: string) => token,
      isReply: (message: Line) => message === "token ok",
      ...refresh,
    },
  };
  const make = () => new StreamReconnector(protocol, { clock, rng });
  return { simulation, clock, got, server, protocol, make };
}

async function run(made: ReturnType<typeof scene>, forMs: number) {
  const reconnector = made.make();
  const events: StreamEvent[] = [];
  void (async () => {
    for await (const event of reconnector.events()) events.push(event);
  })();
  reconnector.start();
  await made.simulation.advance(forMs);
  const pending = made.simulation.pending().length;
  await made.simulation.run(() => reconnector.close());
  expect(made.simulation.pending()).toEqual([]);
  return { events, pending };
}

test("sends a fresh token at every interval and keeps its answer from onMessage", async () => {
  const made = scene({});
  await run(made, 200_000);
  expect(made.got).toEqual(["token-1 at 60000", "token-2 at 120000", "token-3 at 180000"]);
  expect(made.protocol.messages).toEqual([]);
});

test("P14: without an interval there is no refresh, and 0 is refused", async () => {
  for (const intervalMs of [undefined, null]) {
    const made = scene({ intervalMs: intervalMs as never });
    const { pending } = await run(made, 10_000_000);
    expect(made.got).toEqual([]);
    expect(pending).toBe(0);
  }
  for (const intervalMs of [0, -1, Number.NaN]) {
    expect(() => scene({ intervalMs }).make()).toThrow("tokenRefresh.intervalMs must be above 0");
  }
});

test("P14: no token ends the refreshing, and an unchanged one is not sent again", async () => {
  let asked = 0;
  const made = scene({ token: async () => (++asked < 5 ? "same" : undefined) });
  await run(made, 1_000_000);
  expect(made.got).toEqual(["same at 60000"]);
  expect(asked).toBe(5);
});

test("P14: the token of the handshake is not sent again while it is unchanged", async () => {
  const made = scene({ token: (): string => (made.clock.monotonic() < 150_000 ? "first" : "second") });
  made.protocol.handshake = async (stream) => {
    stream.usedToken("first");
    stream.send("hello");
    return await stream.receive();
  };
  await run(made, 400_000);
  expect(made.got).toEqual(["second at 180000"]);
});

test("P14: at most one refresh is in flight, and it dies with its connection", async () => {
  let open = 0;
  let most = 0;
  const made = scene(
    {
      intervalMs: 1_000,
      async token(signal) {
        most = Math.max(most, ++open);
        await made.clock.sleep(5_000, { signal }).finally(() => open--);
        return `${made.clock.monotonic()}`;
      },
    },
    (peer) => void made.clock.setTimer(700, () => peer.send("token ok")),
  );
  await run(made, 31_000);
  expect(made.got).toEqual(["6000 at 6000", "12700 at 12700", "19400 at 19400", "26100 at 26100"]);
  expect([most, open]).toEqual([1, 0]);
});

test("X17: an answer that never comes does not stop the next refresh", async () => {
  const made = scene({ replyTimeoutMs: 10_000 }, () => {});
  const { events } = await run(made, 160_000);
  expect(made.got).toEqual(["token-1 at 60000", "token-2 at 130000"]);
  expect(events.filter((event) => event.type === "refresh-failed")).toMatchObject([
    { error: { code: "PROTOCOL" } },
    { error: { code: "PROTOCOL" } },
  ]);
});

test("X17: a late answer is nobody else's", async () => {
  const made = scene(
    { replyTimeoutMs: 10_000 },
    (peer) => void made.clock.setTimer(20_000, () => peer.send("token ok")),
  );
  await run(made, 190_000);
  expect(made.protocol.messages).toEqual([]);
  expect(made.got).toEqual(["token-1 at 60000", "token-2 at 130000"]);
});

test("X17: a token provider that throws or hangs is told and asked again", async () => {
  let asked = 0;
  const made = scene({
    replyTimeoutMs: 10_000,
    token: () => {
      asked++;
      if (asked === 1) throw new Error("no");
      if (asked === 2) return Promise.reject(new Error("no, later"));
      if (asked === 3) return new Promise<string>(() => {});
      return "at last";
    },
  });
  const { events } = await run(made, 260_000);
  expect(made.got).toEqual(["at last at 250000"]);
  expect(events.filter((event) => event.type === "refresh-failed")).toHaveLength(3);
});
