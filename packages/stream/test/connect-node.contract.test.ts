// The same lifecycle against a real connect-node server over HTTP/2: what counts is what the server saw.

import { Code, ConnectError } from "@connectrpc/connect";
import {
  ReconnectLimiter,
  type StreamConnection,
  type StreamEvent,
  type StreamProtocol,
  StreamReconnector,
  type StreamReconnectorOptions,
} from "@tidemark/stream";
import { systemClock } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { freePorts } from "@tidemark/tooling/ports";
import { expect, onTestFinished, test } from "vitest";
import {
  type ChatHandler,
  type ChatServer,
  openChatTransport,
  startBlackHole,
  startChatServer,
} from "./support/chat-service.ts";

type ChatProtocol = StreamProtocol<string, string, string>;
type ChatConnection = StreamConnection<string, string, string>;

/** Greets, then sends back what it gets. */
const echo: ChatHandler = async function* (lines) {
  for await (const line of lines) yield line === "hello" ? "welcome" : `re: ${line}`;
};

async function serve(handler: ChatHandler = echo, port = 0): Promise<ChatServer> {
  const server = await startChatServer(handler, port);
  onTestFinished(() => server.kill());
  return server;
}

function follow(
  url: string,
  options: StreamReconnectorOptions<string, string, string> = {},
  overrides: Partial<ChatProtocol> = {},
) {
  const messages: string[] = [];
  const arrived = new Set<() => void>();
  const protocol: ChatProtocol = {
    name: "chat",
    openTransport: () => openChatTransport(url),
    async handshake(stream) {
      stream.send("hello");
      return await stream.receive();
    },
    onMessage(message) {
      messages.push(message);
      for (const look of arrived) look();
    },
    classify: (error) => (ConnectError.from(error).code === Code.PermissionDenied ? "fatal" : "fast"),
    ...overrides,
  };
  const reconnector = new StreamReconnector(protocol, {
    limiter: new ReconnectLimiter({ burst: 1_000 }),
    initialDelayMs: 20,
    maxDelayMs: 40,
    ...options,
  });
  const events: StreamEvent[] = [];
  void (async () => {
    for await (const event of reconnector.events()) events.push(event);
  })();
  onTestFinished(() => reconnector.destroy());
  reconnector.start();
  /** Resolves when the message is there. */
  const got = (message: string) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!messages.includes(message)) return;
        arrived.delete(look);
        resolve();
      };
      arrived.add(look);
      look();
    });
  return { reconnector, messages, events, got };
}

/** The connection after this one. */
async function after(reconnector: StreamReconnector<string, string, string>, old: ChatConnection) {
  await old.closed;
  return await reconnector.connected();
}

/** Lets time pass a little with every turn of the event loop, in which real sockets move. */
async function passUntil(simulation: Simulation, isThere: () => boolean): Promise<void> {
  while (!isThere()) {
    await new Promise<void>((resolve) => systemClock.setImmediate(resolve));
    await simulation.advance(1);
  }
}

test("speaks to a real server and closes in good order", async () => {
  const server = await serve();
  const { reconnector, messages, got } = follow(server.url);
  const connection = await reconnector.connected();
  expect(connection.session).toBe("welcome");
  for (let n = 0; n < 1_000; n++) connection.send(`${n}`);
  await got("re: 999");
  expect(messages).toEqual(Array.from({ length: 1_000 }, (_, n) => `re: ${n}`));
  connection.send("last words");
  await reconnector.close();
  await server.reached(0);
  expect(messages.at(-1)).toBe("re: last words");
  expect(await connection.closed).toEqual({});
  expect(server).toMatchObject({ opened: 1, maxOpen: 1 });
});

test("P2: a close in the middle of the handshake is seen by the server", async () => {
  for (const how of ["close", "destroy"] as const) {
    const server = await serve(async function* (lines) {
      for await (const line of lines) if (line === "never") yield line;
    });
    const { reconnector } = follow(server.url);
    const waiter = expect(reconnector.connected()).rejects.toMatchObject({ code: "CLOSED" });
    await server.reached(1);
    if (how === "close") await reconnector.close();
    else reconnector.destroy();
    await waiter;
    await server.reached(0);
    expect(server).toMatchObject({ opened: 1, maxOpen: 1 });
  }
});

test("X10: a handshake that the server never answers is cancelled there and tried again", async () => {
  const server = await serve(async function* (lines, _, stream) {
    for await (const line of lines) if (stream === 2) yield line;
  });
  const simulation = createSimulation({ seed: 1 });
  const { reconnector, events } = follow(server.url, { handshakeTimeoutMs: 5000, clock: simulation.clock });
  await server.reached(1);
  await simulation.advance(5000);
  await passUntil(simulation, () => reconnector.current !== undefined);
  await server.reached(1);
  expect(server).toMatchObject({ opened: 2, maxOpen: 1 });
  expect(events.find((event) => event.type === "disconnected")).toMatchObject({ error: { code: "HANDSHAKE_TIMEOUT" } });
  await reconnector.close();
});

test("P1: a server that is killed in the middle of a stream is found again, with one stream open", async () => {
  const [port = 0] = await freePorts(1);
  const first = await serve(echo, port);
  const { reconnector, got } = follow(first.url);
  const connection = await reconnector.connected();
  connection.send("before");
  await got("re: before");
  await first.kill();
  await connection.closed;
  expect(reconnector.current).toBeUndefined();
  const second = await serve(echo, port);
  const next = await reconnector.connected();
  next.send("after");
  await got("re: after");
  expect(second).toMatchObject({ open: 1, maxOpen: 1 });
  await reconnector.close();
  await second.reached(0);
});

test("a server that goes away (GOAWAY) and ends its streams is left for a new connection", async () => {
  const ends = new Set<() => void>();
  const server = await serve(async function* (lines, _, stream) {
    for await (const line of lines) {
      yield line;
      if (stream === 1) {
        await new Promise<void>((resolve) => ends.add(resolve));
        return;
      }
    }
  });
  const { reconnector, got } = follow(server.url);
  const connection = await reconnector.connected();
  server.goAway();
  for (const end of ends) end();
  const next = await after(reconnector, connection);
  next.send("after");
  await got("after");
  expect(server).toMatchObject({ opened: 2, open: 1, maxOpen: 1 });
  await reconnector.close();
});

test("X11: a half-open connection is found by pings and left for a new one", async () => {
  const server = await serve();
  const hole = await startBlackHole(server.port);
  onTestFinished(() => hole.close());
  const simulation = createSimulation({ seed: 1 });
  const times = { pingIntervalMs: 30_000, pingTimeoutMs: 20_000 };
  const { reconnector, got } = follow(hole.url, { ...times, clock: simulation.clock });
  const connection = await reconnector.connected();
  connection.send("before");
  await got("re: before");
  hole.swallow();
  await simulation.advance(50_000);
  const { error } = await connection.closed;
  expect(error).toMatchObject({ code: "PING_TIMEOUT" });
  await passUntil(simulation, () => reconnector.current !== undefined);
  const next = await reconnector.connected();
  next.send("after");
  await got("re: after");
  await reconnector.close();
});

test("P12: a stream that the server cancels is a lost connection", async () => {
  const server = await serve(async function* (lines, _, stream) {
    for await (const line of lines) {
      yield line;
      if (stream === 1) throw new ConnectError("your turn is over", Code.Canceled);
    }
  });
  const { reconnector } = follow(server.url);
  const connection = await reconnector.connected();
  expect(await after(reconnector, connection)).toMatchObject({ id: 2, isLive: true });
  await reconnector.close();
  await server.reached(0);
});

test("P13: what the protocol calls fatal ends it after one attempt", async () => {
  const server = await serve(async function* () {
    yield* [];
    throw new ConnectError("not you", Code.PermissionDenied);
  });
  const { reconnector } = follow(server.url);
  expect((await reconnector.done).error).toMatchObject({ code: Code.PermissionDenied });
  expect(server).toMatchObject({ opened: 1, open: 0 });
});

test("P6: close still reconnects to have everything acknowledged", async () => {
  const server = await serve(async function* (lines, _, stream) {
    for await (const line of lines) {
      if (line === "hello") yield "welcome";
      else if (stream === 1) throw new ConnectError("dropped before the ack", Code.Unavailable);
      else yield `ack ${line}`;
    }
  });
  const { reconnector, messages, got } = follow(server.url, {
    onConnected(connection) {
      for (const line of ["a", "b"]) connection.send(line);
    },
  });
  await reconnector.connected();
  await reconnector.close({ flush: () => got("ack b") });
  expect(messages).toEqual(["ack a", "ack b"]);
  expect(server).toMatchObject({ opened: 2, maxOpen: 1 });
  await server.reached(0);
});

test("a promise of onMessage pushes back all the way to the server", async () => {
  let sent = 0;
  let isFull = () => {};
  const full = new Promise<void>((resolve) => (isFull = resolve));
  const server = await serve(async function* (lines) {
    for await (const line of lines) {
      yield line;
      const chunk = "x".repeat(16 * 1024);
      for (; sent < 1_000; sent++) {
        const wait = setTimeout(isFull, 500);
        yield chunk;
        clearTimeout(wait);
      }
      yield "end";
    }
  });
  let letGo = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  let received = 0;
  let onEnd = () => {};
  const end = new Promise<void>((resolve) => (onEnd = resolve));
  const { reconnector } = follow(
    server.url,
    {},
    {
      onMessage(message) {
        received++;
        if (message === "end") onEnd();
        return received === 1 ? held : undefined;
      },
    },
  );
  await full;
  expect(received).toBe(1);
  expect(sent).toBeLessThan(200);
  letGo();
  await end;
  expect(received).toBe(1_001);
  await reconnector.close();
});
