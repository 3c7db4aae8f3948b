import { createSimulation } from "@tidemark/clock/testing";
import { StreamConnection, StreamError } from "@tidemark/stream";
import { expect, test } from "vitest";
import { LineError, lineProtocol, lineServer } from "./support/line-protocol.ts";

test("P2: the constructor is synchronous, does no I/O and owns one transport", async () => {
  const server = lineServer();
  const connection = new StreamConnection(lineProtocol(server));
  expect(server).toMatchObject({ transports: 1, started: 0 });
  await connection.close();
  expect(server).toMatchObject({ transports: 1, started: 0, open: 0 });
});

test("P15: a connection allocates exactly one transport from its first to its last moment", async () => {
  const server = lineServer();
  const connection = new StreamConnection(lineProtocol(server));
  expect(await connection.open()).toBe("welcome 1");
  await connection.close();
  await connection.close();
  expect(server).toMatchObject({ transports: 1, started: 1, open: 0 });
});

test("hands messages over in order and after the handshake", async () => {
  const server = lineServer((peer) => {
    for (let n = 0; n < 100; n++) peer.send(`message ${n}`);
    peer.end();
  });
  const protocol = lineProtocol(server);
  const connection = new StreamConnection(protocol);
  const session = await connection.open();
  expect([session, connection.session]).toEqual(["welcome 1", "welcome 1"]);
  const { error } = await connection.closed;
  expect(protocol.messages).toEqual(Array.from({ length: 100 }, (_, n) => `message ${n}`));
  expect(error).toMatchObject({ code: "CONNECTION_LOST", retryable: true });
});

test("sends what was queued, in order, and tells when there is too much", async () => {
  const got: string[] = [];
  const server = lineServer(async (peer) => {
    for await (const line of peer.received) got.push(line);
    peer.end();
  });
  const connection = new StreamConnection(lineProtocol(server), { maxOutgoing: 3 });
  expect(connection.send("too early")).toBe(false);
  await expect(connection.drained()).rejects.toMatchObject({ code: "NOT_LIVE" });
  await connection.open();
  expect([1, 2, 3, 4].map((n) => connection.send(`line ${n}`))).toEqual([true, true, false, false]);
  await connection.drained();
  await connection.close();
  expect(got).toEqual(["line 1", "line 2", "line 3", "line 4"]);
  expect(connection.send("too late")).toBe(false);
  await expect(connection.drained()).rejects.toMatchObject({ code: "CLOSED" });
});

test("takes the peer's last messages after close", async () => {
  const server = lineServer(async (peer) => {
    for await (const _ of peer.received);
    peer.send("goodbye");
    peer.end();
  });
  const protocol = lineProtocol(server);
  const connection = new StreamConnection(protocol);
  await connection.open();
  await connection.close();
  expect(protocol.messages).toEqual(["goodbye"]);
  expect(await connection.closed).toEqual({});
});

test("cuts a peer that does not end within the grace of close", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer(() => {});
  const connection = new StreamConnection(lineProtocol(server), { clock, closeGraceMs: 700 });
  await simulation.run(async () => {
    await connection.open();
    await connection.close();
  });
  expect(clock.monotonic()).toBe(700);
  expect(server.open).toBe(0);
  expect(simulation.pending()).toEqual([]);
});

test("P10: the first error wins, and the observer hears of one end", async () => {
  const ends: unknown[] = [];
  const server = lineServer();
  const connection = new StreamConnection(lineProtocol(server), {
    observer: { onDead: (_, info) => ends.push(info.error) },
  });
  await connection.open();
  const first = new Error("first");
  connection.fail(first);
  connection.fail(new Error("second"));
  server.peers[0]?.fail(new Error("third"));
  await connection.close(new Error("fourth"));
  expect(await connection.closed).toEqual({ error: first });
  expect(ends).toEqual([first]);
  expect(connection.signal.reason).toBe(first);
});

test("P11: what the transport throws when it is cancelled is ignored", async () => {
  const server = lineServer();
  const protocol = lineProtocol({
    openTransport() {
      const transport = server.openTransport();
      return {
        start: (outgoing) => transport.start(outgoing),
        cancel(reason) {
          transport.cancel(reason);
          throw new Error("cannot even cancel");
        },
      };
    },
  });
  const connection = new StreamConnection(protocol);
  await connection.open();
  const failure = new LineError("fast");
  connection.fail(failure);
  expect(await connection.closed).toEqual({ error: failure });
  expect(server.open).toBe(0);
});

test("X10: a handshake that hangs ends with a retryable error when its time is up", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer();
  const protocol = lineProtocol(server, { handshake: () => new Promise<string>(() => {}) });
  const connection = new StreamConnection(protocol, { clock, handshakeTimeoutMs: 5000 });
  await simulation.run(async () => {
    await expect(connection.open()).rejects.toMatchObject({ code: "HANDSHAKE_TIMEOUT", retryable: true });
  });
  expect(clock.monotonic()).toBe(5000);
  expect(server.open).toBe(0);
});

test("a handshake whose peer ends the stream fails with a retryable error", async () => {
  const server = lineServer();
  const protocol = lineProtocol(server, {
    async handshake(stream) {
      server.peers[0]?.end();
      return await stream.receive();
    },
  });
  await expect(new StreamConnection(protocol).open()).rejects.toMatchObject({ code: "PROTOCOL", retryable: true });
});

test("a handshake's stream is of no use afterwards, and two receives at once are refused", async () => {
  const server = lineServer((peer) => {
    peer.send("more");
    peer.end();
  });
  let leaked: Parameters<ReturnType<typeof lineProtocol>["handshake"]>[0] | undefined;
  const protocol = lineProtocol(server, {
    async handshake(stream) {
      leaked = stream;
      stream.send("hello");
      const first = stream.receive();
      await expect(stream.receive()).rejects.toMatchObject({ code: "PROTOCOL" });
      return await first;
    },
  });
  const connection = new StreamConnection(protocol);
  await connection.open();
  expect(() => leaked?.send("late")).toThrow(StreamError);
  await expect(leaked?.receive()).rejects.toMatchObject({ code: "PROTOCOL" });
  await connection.close();
  expect(protocol.messages).toEqual(["more"]);
});

test("a handshake that leaves a receive behind is refused: it would swallow a message", async () => {
  const server = lineServer();
  const protocol = lineProtocol(server, {
    async handshake(stream) {
      stream.receive().catch(() => {});
      return "done";
    },
  });
  await expect(new StreamConnection(protocol).open()).rejects.toMatchObject({ code: "PROTOCOL", retryable: false });
  expect(server.open).toBe(0);
});

test("a promise of onMessage holds back reading", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer((peer) => {
    for (let n = 0; n < 3; n++) peer.send(`${n}`);
    peer.end();
  });
  const seen: string[] = [];
  const protocol = lineProtocol(server, {
    async onMessage(message) {
      seen.push(`${message} at ${clock.monotonic()}`);
      await clock.sleep(1000);
    },
  });
  const connection = new StreamConnection(protocol, { clock });
  await simulation.run(async () => {
    await connection.open();
    await connection.closed;
  });
  expect(seen).toEqual(["0 at 0", "1 at 1000", "2 at 2000"]);
});

test("a throw of onMessage ends the stream with that error, and nothing after it is delivered", async () => {
  const failure = new LineError("fatal");
  const seen: string[] = [];
  const server = lineServer((peer) => {
    for (const line of ["a", "b", "c"]) peer.send(line);
  });
  const protocol = lineProtocol(server, {
    onMessage(message) {
      seen.push(message);
      if (message === "b") throw failure;
    },
  });
  const connection = new StreamConnection(protocol);
  await connection.open();
  expect(await connection.closed).toEqual({ error: failure });
  expect(seen).toEqual(["a", "b"]);
  expect(server.open).toBe(0);
});

test("the silence watchdog fires for a silent peer, and not for one that speaks", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer(async (peer) => {
    for (let n = 0; n < 10; n++) {
      await clock.sleep(900);
      peer.send(`${n}`);
    }
  });
  const protocol = lineProtocol(server);
  const connection = new StreamConnection(protocol, { clock, silenceTimeoutMs: 1000 });
  const info = await simulation.run(async () => {
    await connection.open();
    return await connection.closed;
  });
  expect(info.error).toMatchObject({ code: "SILENT", retryable: true });
  expect(protocol.messages).toHaveLength(10);
  expect(clock.monotonic()).toBe(10 * 900 + 1000);
  expect(simulation.pending()).toEqual([]);
});

test("the silence watchdog does not blame the peer while onMessage holds back reading", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const held: number[] = [];
  const server = lineServer((peer) => {
    peer.send("slow");
    peer.send("quick");
  });
  const protocol = lineProtocol(server, {
    onMessage: (message) => (message === "slow" ? clock.sleep(3_600_000) : undefined),
  });
  const connection = new StreamConnection(protocol, {
    clock,
    silenceTimeoutMs: 1000,
    heldNoticeMs: 60_000,
    observer: { onHeld: (_, heldMs) => held.push(heldMs) },
  });
  const info = await simulation.run(async () => {
    await connection.open();
    return await connection.closed;
  });
  expect(info.error).toMatchObject({ code: "SILENT" });
  expect(clock.monotonic()).toBe(3_600_000 + 1000);
  expect(held).toEqual([60_000, 0]);
});

test("X12: an onMessage that hangs is reported, and fatal where a limit is set", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer((peer) => void peer.send("never"));
  const protocol = lineProtocol(server, { onMessage: () => new Promise<void>(() => {}) });
  const connection = new StreamConnection(protocol, { clock, holdTimeoutMs: 10_000 });
  const info = await simulation.run(async () => {
    await connection.open();
    return await connection.closed;
  });
  expect(info.error).toMatchObject({ code: "HOOK_FAILED", retryable: false });
  expect(clock.monotonic()).toBe(10_000);
});

test("X12: an onMessage that hangs keeps neither close nor the end waiting", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer((peer) => void peer.send("never"));
  const protocol = lineProtocol(server, { onMessage: () => new Promise<void>(() => {}) });
  const connection = new StreamConnection(protocol, { clock });
  await simulation.run(async () => {
    await connection.open();
    await clock.sleep(10);
    await connection.close();
  });
  expect(clock.monotonic()).toBe(1010);
  expect(server.open).toBe(0);
});

test("X12: an onMessage that closes, fails and sends on its own connection is safe", async () => {
  const failure = new LineError("slow");
  const server = lineServer((peer) => {
    peer.send("go");
    peer.send("not seen");
  });
  const seen: string[] = [];
  const protocol = lineProtocol(server, {
    onMessage(message, connection) {
      seen.push(message);
      connection.send("answer");
      connection.fail(failure);
      void connection.close();
      void connection.open().catch(() => {});
    },
  });
  const connection = new StreamConnection(protocol);
  await connection.open();
  expect(await connection.closed).toEqual({ error: failure });
  expect(seen).toEqual(["go"]);
});

test("X11: a ping that is not answered ends the stream although nothing else is wrong", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  let pings = 0;
  const server = lineServer(undefined, {
    onPing: () => (++pings < 4 ? clock.sleep(20) : new Promise<void>(() => {})),
  });
  const connection = new StreamConnection(lineProtocol(server), { clock, pingIntervalMs: 1000, pingTimeoutMs: 300 });
  const info = await simulation.run(async () => {
    await connection.open();
    return await connection.closed;
  });
  expect(info.error).toMatchObject({ code: "PING_TIMEOUT", retryable: true });
  expect(clock.monotonic()).toBe(3 * 1020 + 1000 + 300);
  expect(server.open).toBe(0);
  expect(simulation.pending()).toEqual([]);
});

test("X11: a peer that is gone is found while onMessage holds back reading", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer((peer) => void peer.send("held"), { onPing: () => new Promise(() => {}) });
  const protocol = lineProtocol(server, { onMessage: () => clock.sleep(3_600_000) });
  const connection = new StreamConnection(protocol, { clock });
  const info = await simulation.run(async () => {
    await connection.open();
    return await connection.closed;
  });
  expect(info.error).toMatchObject({ code: "PING_TIMEOUT" });
  expect(clock.monotonic()).toBe(15_000);
});

test("P12: an abort that nobody here asked for is a lost connection", async () => {
  const server = lineServer((peer) => peer.fail(new DOMException("This operation was aborted", "AbortError")));
  const connection = new StreamConnection(lineProtocol(server));
  await connection.open();
  expect((await connection.closed).error).toMatchObject({ code: "CONNECTION_LOST", retryable: true });
});

test("a transport that throws undefined is a lost connection all the same", async () => {
  const server = lineServer((peer) => peer.fail(undefined));
  const connection = new StreamConnection(lineProtocol(server));
  await connection.open();
  expect((await connection.closed).error).toMatchObject({ code: "CONNECTION_LOST" });
});

test("X22: an observer or a progress check that throws ends the stream visibly", async () => {
  const failure = new Error("mine");
  const onLive = new StreamConnection(lineProtocol(lineServer()), {
    observer: {
      onLive() {
        throw failure;
      },
    },
  });
  await expect(onLive.open()).rejects.toMatchObject({ code: "HOOK_FAILED", cause: failure });
  const protocol = lineProtocol(
    lineServer((peer) => void peer.send("x")),
    {
      isProgress() {
        throw failure;
      },
    },
  );
  const connection = new StreamConnection(protocol);
  await connection.open();
  expect((await connection.closed).error).toMatchObject({ code: "HOOK_FAILED", cause: failure });
});

test("open, session and options complain about misuse", async () => {
  const connection = new StreamConnection(lineProtocol(lineServer()), { closeGraceMs: 0 });
  expect(() => connection.session).toThrow(expect.objectContaining({ code: "NOT_LIVE" }));
  const opening = connection.open();
  await expect(connection.open()).rejects.toMatchObject({ code: "PROTOCOL" });
  await opening;
  await connection.close("enough");
  await expect(connection.open()).rejects.toMatchObject({ code: "CLOSED", cause: "enough" });
  expect(() => new StreamConnection(lineProtocol(lineServer()), { handshakeTimeoutMs: 0 })).toThrow(
    "handshakeTimeoutMs must be above 0, got 0",
  );
});

test("P9: drained settles when the stream is over", async () => {
  const connection = new StreamConnection(
    lineProtocol(lineServer(), {
      openTransport: () => ({
        start: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }),
        cancel() {},
      }),
      handshake: async () => "no questions",
    }),
    { maxOutgoing: 1 },
  );
  await connection.open();
  connection.send("stuck");
  const failure = new Error("gone");
  const drained = connection.drained();
  connection.fail(failure);
  await expect(drained).rejects.toMatchObject({ code: "CONNECTION_LOST", cause: failure });
});

/** A transport that hears nothing of a cancel and goes on as it likes. */
function deafTransport(start: () => AsyncIterable<string>) {
  return { openTransport: () => ({ start, cancel() {} }) };
}

test("P2: a receive of the handshake fails with its connection although the transport hangs", async () => {
  const failures: unknown[] = [];
  const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  const protocol = lineProtocol(
    deafTransport(() => never),
    {
      async handshake(stream) {
        await stream.receive().catch((error: unknown) => failures.push(error));
        expect(() => stream.send("late")).toThrow();
        throw new Error("never heard");
      },
    },
  );
  const connection = new StreamConnection(protocol);
  const opening = connection.open();
  const failure = new Error("gone");
  connection.fail(failure);
  await expect(opening).rejects.toBe(failure);
  expect(failures).toEqual([failure]);
});

test("nothing is delivered after the end, although the transport goes on", async () => {
  const { promise: next, resolve } = Promise.withResolvers<IteratorResult<string>>();
  let asked = 0;
  const deaf = {
    [Symbol.asyncIterator]: () => ({
      next: async () => (++asked === 1 ? { done: false, value: "welcome" } : await next),
    }),
  };
  const protocol = lineProtocol(deafTransport(() => deaf));
  const connection = new StreamConnection(protocol);
  await connection.open();
  connection.fail(new Error("over"));
  resolve({ done: false, value: "too late" });
  await new Promise((turn) => setImmediate(turn));
  expect(protocol.messages).toEqual([]);
  expect(asked).toBe(2);
});

test("X20: pings, refreshes and watchdogs end with their stream", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const server = lineServer((peer) => void peer.send("held"), { onPing: async () => {} });
  const protocol = {
    ...lineProtocol(server, { onMessage: () => new Promise<void>(() => {}) }),
    tokenRefresh: {
      intervalMs: 1_000,
      token: () => "token",
      toMessage: (token: string) => token,
      isReply: () => false,
    },
  };
  const connection = new StreamConnection(protocol, {
    clock,
    silenceTimeoutMs: 5_000,
    holdTimeoutMs: 1e9,
  });
  await simulation.run(() => connection.open());
  await simulation.advance(500);
  expect(simulation.pending().length).toBeGreaterThan(2);
  connection.fail(new Error("over"));
  expect(simulation.pending()).toEqual([]);
});
