import { createSimulation } from "@tidemark/clock/testing";
import { type StreamEvent, StreamReconnector } from "@tidemark/stream";
import { createMemoryServer } from "@tidemark/stream/testing";
import { expect, test } from "vitest";
import {
  type Line,
  LineError,
  type LinePeer,
  type LineProtocol,
  type LineServer,
  lineProtocol,
  lineServer,
} from "./support/line-protocol.ts";

type Options = NonNullable<ConstructorParameters<typeof StreamReconnector<Line, Line, string>>[1]>;

/** A reconnector in a simulated world, with everything that it says. */
function scene(
  server: LineServer,
  overrides: Partial<LineProtocol> & { readonly seed?: number; readonly options?: Options } = {},
) {
  const { seed = 1, options, ...protocolOverrides } = overrides;
  const simulation = createSimulation({ seed });
  const { clock, rng } = simulation;
  const protocol = lineProtocol(server, protocolOverrides);
  const reconnector = new StreamReconnector(protocol, { clock, rng, ...options });
  const events: StreamEvent[] = [];
  void (async () => {
    for await (const event of reconnector.events()) events.push(event);
  })();
  return { simulation, clock, rng, protocol, reconnector, events };
}

const types = (events: readonly StreamEvent[]) => events.map((event) => event.type);

test("P25: the constructor connects nobody; start does, once", async () => {
  const server = lineServer();
  const { simulation, reconnector } = scene(server);
  await simulation.advance(60_000);
  expect(server.transports).toBe(0);
  expect(reconnector.state).toBe("idle");
  reconnector.start();
  reconnector.start();
  await simulation.advance(0);
  expect(server).toMatchObject({ transports: 1, open: 1 });
  expect(reconnector.state).toBe("live");
  await simulation.run(() => reconnector.close());
});

test("tells what happens, from the first attempt to the end", async () => {
  const server = lineServer((peer) => {
    if (peer.id === 1) peer.fail(new LineError("slow"));
  });
  const { simulation, reconnector, events } = scene(server);
  reconnector.start();
  await simulation.advance(10_000);
  server.peers[0]?.end();
  await simulation.settle();
  await simulation.run(() => reconnector.close());
  expect(types(events)).toEqual([
    "connecting",
    "connected",
    "disconnected",
    "waiting",
    "connecting",
    "connected",
    "disconnected",
    "waiting",
    "closed",
  ]);
  expect(events[3]).toMatchObject({ attempt: 1, error: { message: "slow" } });
});

test("P1: at most one stream is open at every instant, whatever fails and whenever", async () => {
  for (let seed = 0; seed < 30; seed++) {
    const simulation = createSimulation({ seed });
    const { clock, rng } = simulation;
    const server = createMemoryServer<Line, Line>({
      async onStream(peer) {
        await clock.sleep(rng.int(0, 40_000));
        peer.send("welcome");
        await clock.sleep(rng.int(0, 2_000));
        if (rng.float() < 0.3) peer.end();
        else if (rng.float() < 0.8) peer.fail(new LineError(rng.pick(["fast", "slow"])));
      },
    });
    const reconnector = new StreamReconnector(lineProtocol(server), { clock, rng, silenceTimeoutMs: 5_000 });
    reconnector.start();
    for (let n = 0; n < 20; n++) {
      await simulation.advance(rng.int(0, 30_000));
      if (rng.float() < 0.3) reconnector.current?.fail(new LineError("fast", "ours"));
      if (rng.float() < 0.2) void reconnector.current?.close();
    }
    await simulation.run(() => reconnector.close());
    expect(server.maxOpen, `seed ${seed}`).toBe(1);
    expect(server.open, `seed ${seed}`).toBe(0);
    expect(server.started, `seed ${seed}`).toBeGreaterThan(5);
  }
});

test("P3: nobody sees a connection whose handshake is not done, or failed", async () => {
  const simulation = createSimulation({ seed: 5 });
  const { clock, rng } = simulation;
  const server = createMemoryServer<Line, Line>({
    async onStream(peer) {
      await clock.sleep(100);
      if (peer.id <= 3) peer.fail(new LineError("fast"));
      else peer.send("welcome");
    },
  });
  const shaken: unknown[] = [];
  const protocol = lineProtocol(server);
  const { handshake } = protocol;
  protocol.handshake = async (stream) => {
    const session = await handshake(stream);
    shaken.push(session);
    return session;
  };
  const reconnector = new StreamReconnector(protocol, { clock, rng });
  reconnector.start();
  const connected = reconnector.connected();
  while (shaken.length === 0) {
    expect(reconnector.current).toBeUndefined();
    await simulation.advance(1);
  }
  const connection = await connected;
  expect(connection).toBe(reconnector.current);
  expect(connection).toMatchObject({ id: 4, session: "welcome", isLive: true });
  await simulation.run(() => reconnector.close());
});

test("P4: attempts grow across failures of every kind, and so does the bound of the wait", async () => {
  const failing: ((peer: LinePeer) => void)[] = [
    (peer) => peer.fail(new LineError("fast", "in the handshake")),
    (peer) => peer.end(),
    () => {},
    (peer) => {
      peer.send("welcome");
      peer.fail(new LineError("fast", "after the handshake"));
    },
  ];
  const server = createMemoryServer<Line, Line>({ onStream: (peer) => failing[peer.id % failing.length]?.(peer) });
  const attempts: number[] = [];
  const waits: number[] = [];
  let opened = 0;
  const { simulation, reconnector } = scene(
    {
      ...server,
      openTransport() {
        if (++opened % 5 === 0) throw new LineError("fast", "cannot even be made");
        return server.openTransport();
      },
    } as LineServer,
    {
      options: {
        initialDelayMs: 100,
        maxDelayMs: 10_000,
        onDisconnected: ({ attempt, delayMs }) => {
          attempts.push(attempt);
          waits.push(delayMs ?? -1);
        },
      },
    },
  );
  reconnector.start();
  await simulation.advance(300_000);
  reconnector.destroy();
  expect(attempts.length).toBeGreaterThan(12);
  expect(attempts).toEqual(attempts.map((_, index) => index + 1));
  waits.forEach((waitMs, index) => {
    expect(waitMs).toBeGreaterThanOrEqual(0);
    expect(waitMs).toBeLessThan(Math.min(10_000, 100 * 2 ** index));
  });
});

test("P5: a stable period resets the attempts, and nothing shorter does", async () => {
  const attempts: number[] = [];
  const server = lineServer();
  const { simulation, reconnector } = scene(server, {
    options: { stableAfterMs: 60_000, onDisconnected: ({ attempt }) => attempts.push(attempt) },
  });
  reconnector.start();
  for (const livesMs of [10, 10, 59_999, 60_000, 10]) {
    await simulation.runUntil(() => reconnector.current !== undefined);
    await simulation.advance(livesMs);
    server.peers[0]?.fail(new LineError("fast"));
    await simulation.settle();
  }
  expect(attempts).toEqual([1, 2, 3, 1, 2]);
  reconnector.destroy();
});

test("X1: a server that accepts and drops, again and again, meets a growing wait", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const server = lineServer((peer) => peer.fail(new LineError("fast")));
    const { simulation, reconnector } = scene(server, { seed });
    reconnector.start();
    await simulation.advance(10_000);
    expect(server.started, `seed ${seed}`).toBeLessThanOrEqual(20);
    expect(server.started, `seed ${seed}`).toBeGreaterThan(3);
    reconnector.destroy();
  }
});

test("X1: progress resets the attempts at once", async () => {
  const attempts: number[] = [];
  const server = lineServer((peer) => {
    if (peer.id === 3) peer.send("progress");
    peer.fail(new LineError("fast"));
  });
  const { simulation, reconnector } = scene(server, {
    options: { onDisconnected: ({ attempt }) => attempts.push(attempt) },
  });
  reconnector.start();
  await simulation.runUntil(() => attempts.length === 5);
  expect(attempts).toEqual([1, 2, 1, 2, 3]);
  reconnector.destroy();
});

test("X2: the dead stream is closed before the wait begins", async () => {
  for (const how of ["handshake hangs", "handshake fails", "dropped", "ours"] as const) {
    const openAtWait: number[] = [];
    const server = createMemoryServer<Line, Line>({
      onStream(peer) {
        if (how === "handshake hangs") return;
        peer.send("welcome");
        if (how === "dropped") peer.fail(new LineError("fast"));
      },
    });
    const { simulation, reconnector } = scene(server, {
      options: { onDisconnected: () => openAtWait.push(server.open) },
      ...(how === "handshake fails" && { handshake: () => Promise.reject(new LineError("fast")) }),
      ...(how === "ours" && {
        onMessage: () => {
          throw new LineError("fast");
        },
      }),
    });
    reconnector.start();
    await simulation.advance(31_000);
    if (how === "ours") server.peers[0]?.send("provoke");
    await simulation.advance(0);
    expect(openAtWait.length, how).toBeGreaterThan(0);
    expect(new Set(openAtWait), how).toEqual(new Set([0]));
    reconnector.destroy();
  }
});

test("slow failures wait in their own class", async () => {
  const delays: number[] = [];
  const server = lineServer((peer) => peer.fail(new LineError("slow")));
  const { simulation, reconnector } = scene(server, {
    options: {
      slowInitialDelayMs: 1_000,
      slowMaxDelayMs: 4_000,
      onDisconnected: ({ delayMs }) => delays.push(delayMs ?? -1),
    },
  });
  reconnector.start();
  await simulation.runUntil(() => delays.length === 40);
  reconnector.destroy();
  expect(delays[0]).toBeLessThan(1_000);
  expect(Math.max(...delays)).toBeLessThan(4_000);
  expect(Math.max(...delays)).toBeGreaterThan(3_000);
});

test("P13: an error that is fatal ends it, with no attempt after it", async () => {
  const failure = new LineError("fatal");
  const server = lineServer((peer) => peer.fail(failure));
  const { simulation, reconnector, events } = scene(server);
  const waiter = reconnector.connected();
  waiter.catch(() => {});
  reconnector.start();
  await simulation.advance(600_000);
  expect(reconnector.state).toBe("failed");
  expect(await reconnector.done).toEqual({ error: failure });
  expect(server.started).toBe(1);
  expect(types(events).filter((type) => type === "failed")).toHaveLength(1);
  await expect(reconnector.connected()).rejects.toMatchObject({ code: "FAILED", cause: failure });
  await reconnector.close();
  await expect(reconnector.close({ flush: async () => {} })).rejects.toMatchObject({ code: "FAILED" });
});

test("P13: maxAttempts 1 never tries again", async () => {
  const server = lineServer((peer) => peer.fail(new LineError("fast")));
  const { simulation, reconnector } = scene(server, { options: { maxAttempts: 1 } });
  reconnector.start();
  await simulation.advance(600_000);
  expect((await reconnector.done).error).toMatchObject({ code: "GAVE_UP", cause: { message: "fast" } });
  expect(server.started).toBe(1);
});

test("P6: close with a flush still reconnects until everything is acknowledged", async () => {
  const outbox = ["a", "b", "c"];
  const acked: string[] = [];
  let onAcked = () => {};
  const server = lineServer(async (peer) => {
    if (peer.id === 1) {
      await peer.receive();
      return peer.fail(new LineError("slow", "dropped before any ack"));
    }
    for await (const line of peer.received) peer.send(`ack ${line}`);
    peer.end();
  });
  const { simulation, reconnector } = scene(server, {
    onMessage(message) {
      acked.push(message);
      if (acked.length === outbox.length) onAcked();
    },
    options: {
      onConnected: (connection) => outbox.forEach((line) => (connection as { send(line: Line): boolean }).send(line)),
    },
  });
  reconnector.start();
  await simulation.settle();
  await simulation.run(() =>
    reconnector.close({ flush: () => new Promise<void>((resolve) => (onAcked = resolve)), closeTimeoutMs: 60_000 }),
  );
  expect(acked).toEqual(["ack a", "ack b", "ack c"]);
  expect(server).toMatchObject({ started: 2, open: 0, maxOpen: 1 });
  expect(await reconnector.done).toEqual({});
});

test("P7: close marks closed, flushes, closes the stream, and only then wakes those who wait", async () => {
  const log: string[] = [];
  const server = lineServer(async (peer) => {
    for await (const line of peer.received) log.push(`server got ${line}`);
    log.push("server saw the end");
    peer.end();
  });
  const { simulation, reconnector } = scene(server);
  reconnector.start();
  await simulation.settle();
  const flush = async () => {
    log.push(`flush while ${reconnector.state}, open: ${server.open}`);
    (await reconnector.connected()).send("last words");
  };
  reconnector.done.then(
    () => log.push("done"),
    () => {},
  );
  await simulation.run(() => reconnector.close({ flush }));
  expect(log).toEqual(["flush while closing, open: 1", "server got last words", "server saw the end", "done"]);
});

test("P8: close works before start, with no connection ever made, and settles for everybody", async () => {
  const idle = scene(lineServer());
  await idle.reconnector.close();
  expect(idle.reconnector.state).toBe("closed");
  idle.reconnector.start();
  expect(idle.reconnector.state).toBe("closed");

  const flushed: string[] = [];
  const unstarted = scene(lineServer());
  await unstarted.simulation.run(() =>
    unstarted.reconnector.close({ flush: async () => void flushed.push("flushed") }),
  );
  expect(flushed).toEqual(["flushed"]);

  const server = createMemoryServer<Line, Line>({ onStream: (peer) => peer.fail(new LineError("slow")) });
  const { simulation, reconnector } = scene(server);
  reconnector.start();
  await simulation.advance(5_000);
  const closes = [
    reconnector.close(),
    reconnector.close(),
    reconnector.close({ flush: () => Promise.reject(Error()) }),
  ];
  await simulation.run(() => Promise.all(closes));
  expect(reconnector.state).toBe("closed");
  await reconnector.close();
  await reconnector[Symbol.asyncDispose]();
});

test("close is bounded, and says so when the flush did not finish", async () => {
  for (const serves of [true, false]) {
    const server = createMemoryServer<Line, Line>({
      onStream(peer) {
        if (serves) peer.send("welcome");
        else peer.fail(new LineError("fast"));
      },
    });
    const { simulation, clock, reconnector } = scene(server);
    reconnector.start();
    await simulation.advance(1_000);
    const closing = reconnector.close({ flush: () => new Promise(() => {}), closeTimeoutMs: 7_000 });
    const waiter = reconnector.connected().then(
      () => "live",
      (error: unknown) => error,
    );
    await simulation.run(() => expect(closing).rejects.toMatchObject({ code: "CLOSE_TIMEOUT" }));
    expect(clock.monotonic()).toBe(8_000);
    expect(await waiter).toEqual(serves ? "live" : expect.objectContaining({ code: "CLOSED" }));
    expect(server.open).toBe(0);
    expect((await reconnector.done).error).toMatchObject({ code: "CLOSE_TIMEOUT" });
    expect(simulation.pending()).toEqual([]);
  }
});

test("a flush that fails or throws is told, and the stream is closed all the same", async () => {
  const failure = new Error("no");
  for (const flush of [
    () => Promise.reject(failure),
    () => {
      throw failure;
    },
  ]) {
    const server = lineServer();
    const { simulation, reconnector } = scene(server);
    reconnector.start();
    await simulation.settle();
    await simulation.run(() =>
      expect(reconnector.close({ flush })).rejects.toMatchObject({ code: "FLUSH_FAILED", cause: failure }),
    );
    expect(server.open).toBe(0);
  }
});

test("a fatal error while closing settles the close at once", async () => {
  const failure = new LineError("fatal");
  const server = lineServer(() => {});
  const { simulation, clock, reconnector } = scene(server);
  reconnector.start();
  await simulation.settle();
  const closing = reconnector.close({ flush: () => new Promise(() => {}) });
  server.peers[0]?.fail(failure);
  await simulation.run(() => expect(closing).rejects.toMatchObject({ code: "FAILED", cause: failure }));
  expect(clock.monotonic()).toBe(0);
});

test("destroy cuts a close that is under way", async () => {
  const server = lineServer();
  const { simulation, reconnector } = scene(server);
  reconnector.start();
  await simulation.settle();
  const closing = reconnector.close({ flush: () => new Promise(() => {}) });
  reconnector.destroy(new Error("now"));
  expect(server.open).toBe(0);
  await simulation.run(() => expect(closing).rejects.toMatchObject({ code: "CLOSED", cause: { message: "now" } }));
  reconnector.destroy();
  expect(await reconnector.done).toMatchObject({ error: { message: "now" } });
});

test("P9: everybody who waits is settled by destroy, close, a fatal error and giving up", async () => {
  const ways: Record<string, (reconnector: StreamReconnector<Line, Line, string>, peer: LinePeer) => unknown> = {
    destroy: (reconnector) => reconnector.destroy(),
    close: (reconnector) => void reconnector.close(),
    fatal: (_, peer) => peer.fail(new LineError("fatal")),
    "give up": (_, peer) => peer.fail(new LineError("fast")),
  };
  for (const [how, end] of Object.entries(ways)) {
    const server = createMemoryServer<Line, Line>({ onStream() {} });
    const { simulation, reconnector } = scene(server, { options: { maxAttempts: 1 } });
    const outcomes: unknown[] = [];
    for (let n = 0; n < 5; n++) {
      reconnector.connected().then(
        () => outcomes.push("live"),
        (error: { code?: string }) => outcomes.push(error.code),
      );
    }
    reconnector.start();
    await simulation.settle();
    end(reconnector, server.peers[0] as LinePeer);
    await simulation.advance(0);
    const code = how === "fatal" ? "FAILED" : how === "give up" ? "GAVE_UP" : "CLOSED";
    expect(outcomes, how).toEqual(Array.from({ length: 5 }, () => code));
  }
});

test("connected resolves for everybody who waits, and heeds a signal", async () => {
  const server = lineServer();
  const { simulation, reconnector } = scene(server);
  const controller = new AbortController();
  const aborted = reconnector.connected({ signal: controller.signal });
  const waiting = [reconnector.connected(), reconnector.connected()];
  controller.abort(new Error("enough"));
  await expect(aborted).rejects.toThrow("enough");
  reconnector.start();
  await simulation.settle();
  const [first, second] = await Promise.all(waiting);
  expect(first).toBe(second);
  await expect(reconnector.connected({ signal: AbortSignal.abort(new Error("early")) })).rejects.toThrow("early");
  expect(await reconnector.connected()).toBe(first);
  reconnector.destroy();
});

test("P12: an abort from outside is a lost connection, and during close it is not", async () => {
  const server = lineServer(() => {});
  const { simulation, reconnector } = scene(server, { classify: () => "fatal" });
  reconnector.start();
  await simulation.settle();
  server.peers[0]?.fail(new DOMException("aborted", "AbortError"));
  await simulation.advance(1_000);
  expect(server.started).toBe(2);
  expect(reconnector.state).toBe("live");
  const closing = reconnector.close();
  server.peers[0]?.fail(new DOMException("aborted", "AbortError"));
  await simulation.run(() => closing);
  await simulation.advance(60_000);
  expect(server.started).toBe(2);
});

test("P11: a stop in the middle of an end starts no new stream", async () => {
  const server = lineServer((peer) => peer.fail(new LineError("fast")));
  const { simulation, reconnector } = scene(server, {
    options: { onDisconnected: () => reconnector.destroy() },
  });
  reconnector.start();
  await simulation.advance(60_000);
  expect(server.started).toBe(1);
  expect(simulation.pending()).toEqual([]);
});

test("X10: a hung handshake is tried again", async () => {
  const server = createMemoryServer<Line, Line>({
    onStream(peer) {
      if (peer.id === 3) peer.send("welcome");
    },
  });
  const { simulation, clock, reconnector } = scene(server, { options: { handshakeTimeoutMs: 2_000 } });
  reconnector.start();
  await simulation.run(() => reconnector.connected());
  expect(clock.monotonic()).toBeGreaterThan(4_000);
  expect(clock.monotonic()).toBeLessThan(4_200);
  expect(server.maxOpen).toBe(1);
  reconnector.destroy();
});

test("X11: a black-holed server is left for a new connection", async () => {
  const server = lineServer(() => {}, { onPing: () => new Promise(() => {}) });
  const { simulation, reconnector } = scene(server);
  reconnector.start();
  await simulation.advance(15_100);
  expect(server.started).toBe(2);
  expect(server.maxOpen).toBe(1);
  reconnector.destroy();
});

test("X12, X22: whatever throws among the hooks ends it visibly, never silently", async () => {
  const failure = new Error("mine");
  const boom = () => {
    throw failure;
  };
  const onStream = (peer: LinePeer) => {
    peer.send("message");
    peer.fail(new LineError("fast"));
  };
  const cases: Record<string, Parameters<typeof scene>[1]> = {
    classify: { classify: boom },
    "classify answering nonsense": { classify: () => "soon" as "fast" },
    isProgress: { isProgress: boom },
    onConnected: { options: { onConnected: boom } },
    onDisconnected: { options: { onDisconnected: boom } },
    "onConnected, later": { options: { onConnected: (async () => boom()) as () => void } },
    "onDisconnected, later": { options: { onDisconnected: (async () => boom()) as () => void } },
    limiter: { options: { limiter: { acquire: boom } as never } },
    "limiter, later": { options: { limiter: { acquire: () => Promise.reject(failure) } as never } },
  };
  for (const [name, overrides] of Object.entries(cases)) {
    const server = lineServer(onStream);
    const { simulation, reconnector, events } = scene(server, overrides);
    const waiter = reconnector.connected().then(
      () => "live",
      (error: unknown) => error,
    );
    reconnector.start();
    const { error } = await simulation.run(() => reconnector.done);
    await simulation.advance(600_000);
    expect(error, name).toMatchObject({ code: "HOOK_FAILED", retryable: false });
    expect(reconnector.state, name).toBe("failed");
    expect(events.at(-1), name).toMatchObject({ type: "failed", error: { code: "HOOK_FAILED" } });
    expect(server.open, name).toBe(0);
    expect(server.started, name).toBeLessThanOrEqual(1);
    expect(simulation.pending(), name).toEqual([]);
    await waiter;
  }
});

test("X12: hooks that hang keep nobody waiting", async () => {
  const server = lineServer((peer) => {
    if (peer.id === 1) peer.fail(new LineError("fast"));
  });
  const hang = (() => new Promise<void>(() => {})) as () => void;
  const { simulation, reconnector } = scene(server, { options: { onConnected: hang, onDisconnected: hang } });
  reconnector.start();
  await simulation.advance(1_000);
  expect(reconnector.state).toBe("live");
  await simulation.run(() => reconnector.close());
});

test("X12: hooks that call back in are safe, and what they ask for is done afterwards", async () => {
  const asks: Record<string, (reconnector: StreamReconnector<Line, Line, string>) => unknown> = {
    close: (reconnector) => reconnector.close().catch(() => {}),
    "close with a flush": (reconnector) => reconnector.close({ flush: async () => {} }).catch(() => {}),
    destroy: (reconnector) => reconnector.destroy(),
    start: (reconnector) => reconnector.start(),
    connected: (reconnector) => reconnector.connected().catch(() => {}),
    "fail the connection": (reconnector) => reconnector.current?.fail(new LineError("fast")),
    "close the connection": (reconnector) => reconnector.current?.close(),
  };
  for (const [name, ask] of Object.entries(asks)) {
    for (const where of ["onConnected", "onDisconnected", "openTransport", "handshake", "onMessage", "classify"]) {
      const server = lineServer((peer) => {
        peer.send("message");
        peer.fail(new LineError("fast"));
      });
      const { simulation, reconnector } = scene(server, {
        openTransport() {
          if (where === "openTransport") void ask(reconnector);
          return server.openTransport();
        },
        async handshake(stream) {
          if (where === "handshake") void ask(reconnector);
          stream.send("hello");
          return await stream.receive();
        },
        onMessage() {
          if (where === "onMessage") void ask(reconnector);
        },
        classify() {
          if (where === "classify") void ask(reconnector);
          return "fast";
        },
        options: {
          maxAttempts: 4,
          onConnected: () => void (where === "onConnected" && ask(reconnector)),
          onDisconnected: () => void (where === "onDisconnected" && ask(reconnector)),
        },
      });
      reconnector.start();
      const { error } = await simulation.run(() => reconnector.done);
      if (error !== undefined) expect(error, `${name} in ${where}`).toMatchObject({ code: "GAVE_UP" });
      await simulation.advance(600_000);
      expect(server.open, `${name} in ${where}`).toBe(0);
      expect(server.maxOpen, `${name} in ${where}`).toBeLessThanOrEqual(1);
      expect(simulation.pending(), `${name} in ${where}`).toEqual([]);
    }
  }
});

test("X12: a stop inside openTransport opens nothing", async () => {
  const server = lineServer();
  const { simulation, reconnector } = scene(server, {
    openTransport() {
      reconnector.destroy();
      return server.openTransport();
    },
  });
  reconnector.start();
  await simulation.advance(60_000);
  expect(server).toMatchObject({ transports: 1, started: 0 });
});

test("P9: who waits does not get a connection that its hook has ended, but the next", async () => {
  const server = lineServer();
  const { simulation, reconnector } = scene(server, {
    options: {
      onConnected(connection) {
        if (connection.id === 1) connection.fail(new LineError("fast"));
      },
    },
  });
  const waiting = reconnector.connected();
  reconnector.start();
  await simulation.advance(1_000);
  expect((await waiting).id).toBe(2);
  reconnector.destroy();
});

test("a hook that hears of the end finds it over already", async () => {
  const heard: unknown[] = [];
  const failure = new LineError("fatal");
  const server = lineServer((peer) => peer.fail(failure));
  const { simulation, reconnector } = scene(server, {
    options: {
      onDisconnected() {
        for (const ask of [reconnector.connected(), reconnector.close({ flush: async () => {} })]) {
          ask.catch((error: unknown) => heard.push(error));
        }
      },
    },
  });
  reconnector.start();
  await simulation.advance(1_000);
  expect(heard).toMatchObject([
    { code: "FAILED", cause: failure },
    { code: "FAILED", cause: failure },
  ]);
});

test("P16: what belongs to a stream dies with it; what belongs to the protocol survives", async () => {
  const outbox = ["one", "two", "three"];
  const sessions: string[] = [];
  const server = lineServer(async (peer) => {
    const line = await peer.receive();
    peer.send(`ack ${line}`);
    await peer.receive();
    peer.fail(new LineError("fast"));
  });
  const { simulation, reconnector } = scene(server, {
    onMessage(message, connection) {
      sessions.push(`${connection.session} ${message}`);
      if (message === `ack ${outbox[0]}`) outbox.shift();
      connection.send("next");
    },
    options: { onConnected: (connection) => void (connection as { send(line: Line): boolean }).send(outbox[0] ?? "-") },
  });
  reconnector.start();
  await simulation.runUntil(() => outbox.length === 0);
  reconnector.destroy();
  expect(sessions).toEqual(["welcome 1 ack one", "welcome 2 ack two", "welcome 3 ack three"]);
});

test("reports reading that is held back for long", async () => {
  const server = lineServer((peer) => void peer.send("slow"));
  const { simulation, clock, reconnector, events } = scene(server, { onMessage: () => clock.sleep(45_000) });
  reconnector.start();
  await simulation.advance(60_000);
  expect(events.filter((event) => event.type === "held")).toEqual([
    { type: "held", connectionId: 1, heldMs: 30_000 },
    { type: "held", connectionId: 1, heldMs: 0 },
  ]);
  reconnector.destroy();
});

test("events starts now, skips what a slow reader cannot take, and lets go of those who leave", async () => {
  const server = lineServer((peer) => peer.fail(new LineError("fast")));
  const { simulation, reconnector } = scene(server, { options: { maxDelayMs: 50 } });
  const slow = reconnector.events()[Symbol.asyncIterator]();
  const leaver = (async () => {
    for await (const event of reconnector.events()) if (event.type === "connected") return event;
    return undefined;
  })();
  reconnector.start();
  await simulation.runUntil(() => server.started > 400);
  expect(await leaver).toEqual({ type: "connected", connectionId: 1 });
  expect((await slow.next()).value).toMatchObject({ type: "skipped", count: expect.any(Number) as number });
  reconnector.destroy();
  const late: unknown[] = [];
  for await (const event of reconnector.events()) late.push(event);
  expect(late).toEqual([]);
});

test("options are checked", () => {
  const make = (options: Options) => () => new StreamReconnector(lineProtocol(lineServer()), options);
  expect(make({ initialDelayMs: -1 })).toThrow("initialDelayMs must be above 0, got -1");
  expect(make({ maxDelayMs: 10 })).toThrow("maxDelayMs must be at least 50, got 10");
  expect(make({ maxAttempts: 0 })).toThrow("maxAttempts must be at least 1, got 0");
  expect(make({ stableAfterMs: Number.NaN })).toThrow("stableAfterMs must be above 0, got NaN");
});
