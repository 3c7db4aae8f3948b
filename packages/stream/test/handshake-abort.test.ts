// P2: an abort at every await point of a handshake. Await points are counted, then each is aborted in every way there is.

import { createSimulation } from "@tidemark/clock/testing";
import { ReconnectLimiter, StreamConnection, StreamReconnector } from "@tidemark/stream";
import { createMemoryServer } from "@tidemark/stream/testing";
import { expect, test } from "vitest";
import type { Line, LineConnection } from "./support/line-protocol.ts";
import { lineProtocol } from "./support/line-protocol.ts";

/** Where the code under test gives up control: each call is one await point, and at the chosen one something happens. */
class AwaitPoints {
  readonly names: string[] = [];
  readonly #at: number | undefined;
  readonly #act: () => void;
  readonly #pause: () => Promise<void>;

  constructor(at: number | undefined, act: () => void, pause: () => Promise<void>) {
    this.#at = at;
    this.#act = act;
    this.#pause = pause;
  }

  async reach(name: string): Promise<void> {
    this.names.push(name);
    const isHere = this.names.length === this.#at;
    // Once before control is given up and once while somebody waits for it to come back.
    if (isHere && this.#isSync) this.#act();
    const back = this.#pause();
    if (isHere && !this.#isSync) this.#act();
    await back;
  }

  #isSync = false;
  abortBeforeWaiting(): this {
    this.#isSync = true;
    return this;
  }
}

/** Three messages there and back, with an await point wherever the transport, the server or the handshake waits. */
function scene(points: AwaitPoints) {
  const server = createMemoryServer<Line, Line>({
    async onStream(peer) {
      for (;;) {
        await points.reach("server receives");
        const line = await peer.receive();
        if (line === undefined) return peer.end();
        await points.reach("server answers");
        peer.send(`re: ${line}`);
      }
    },
  });
  const protocol = lineProtocol({
    openTransport() {
      const transport = server.openTransport();
      return {
        async *start(outgoing) {
          await points.reach("transport connects");
          for await (const message of transport.start(outgoing)) {
            await points.reach("transport delivers");
            yield message;
          }
        },
        cancel: (reason) => transport.cancel(reason),
      };
    },
  });
  protocol.handshake = async (stream) => {
    for (const line of ["version?", "token", "hello"]) {
      await points.reach("before send");
      stream.send(line);
      await points.reach("before receive");
      const answer = await stream.receive();
      expect(answer).toBe(`re: ${line}`);
    }
    await points.reach("before the end");
    return "session";
  };
  return { server, protocol };
}

const failure = new Error("aborted");

async function runConnection(seed: number, at: number | undefined, how: string) {
  const simulation = createSimulation({ seed });
  const { clock } = simulation;
  let connection: LineConnection | undefined;
  let ending: Promise<unknown> | undefined;
  const points = new AwaitPoints(
    at,
    () => {
      if (how.startsWith("fail")) connection?.fail(failure);
      else ending = connection?.close(failure);
    },
    () => clock.sleep(1),
  );
  if (how.endsWith("first")) points.abortBeforeWaiting();
  const { server, protocol } = scene(points);
  connection = new StreamConnection(protocol, { clock });
  const opened = await simulation.run(() =>
    (connection as LineConnection).open().then(
      () => "live",
      (error: unknown) => error,
    ),
  );
  if (at !== undefined) {
    await simulation.settle();
    expect(opened, `aborted at ${points.names[at - 1]}`).not.toBe("live");
    if (how.startsWith("fail")) expect(opened).toBe(failure);
    else expect(opened).toMatchObject({ code: "CLOSED", cause: failure });
    await ending;
    // Observed at the server, at the very instant at which close() resolved.
    expect(server.open).toBe(0);
    expect(connection.isLive).toBe(false);
    // Whatever the handshake still does then harms nobody.
    await simulation.advance(60_000);
    expect(server).toMatchObject({ open: 0, transports: 1 });
    expect(simulation.pending()).toEqual([]);
  }
  return points.names.length;
}

for (const how of ["close", "close, synchronously first", "fail", "fail, synchronously first"]) {
  test(`P2: a connection can be aborted at every await point of its handshake (${how})`, async () => {
    const count = await runConnection(1, undefined, how);
    expect(count).toBeGreaterThan(10);
    for (let at = 1; at <= count; at++) await runConnection(at, at, how);
  });
}

async function runReconnector(seed: number, at: number | undefined, how: string) {
  const simulation = createSimulation({ seed });
  const { clock } = simulation;
  let isStopped = false;
  let ending: Promise<unknown> | undefined;
  const points = new AwaitPoints(
    at,
    () => {
      isStopped = true;
      if (how === "destroy") reconnector.destroy(failure);
      else ending = reconnector.close();
    },
    () => clock.sleep(1),
  );
  const { server, protocol } = scene(points);
  const published: unknown[] = [];
  const reconnector = new StreamReconnector(protocol, {
    clock,
    rng: simulation.rng,
    onConnected: (connection) => published.push(connection),
  });
  const waiter = reconnector.connected().then(
    () => "live",
    (error: unknown) => error,
  );
  reconnector.start();
  const outcome = await simulation.run(() => waiter);
  if (at !== undefined) {
    expect(isStopped).toBe(true);
    await simulation.settle();
    expect(outcome).toMatchObject({ code: "CLOSED" });
    await ending;
    expect(await reconnector.done).toEqual(how === "destroy" ? { error: failure } : {});
    expect(server.open).toBe(0);
    expect(published).toEqual([]);
    await simulation.advance(600_000);
    expect(server.transports, "no further attempt").toBe(1);
    expect(simulation.pending()).toEqual([]);
  }
  return points.names.length;
}

for (const how of ["close", "destroy"]) {
  test(`P2, P3: a reconnector can be stopped at every await point of its handshake (${how})`, async () => {
    const count = await runReconnector(1, undefined, how);
    for (let at = 1; at <= count; at++) await runReconnector(at, at, how);
  });
}

test("P2: a reconnector can be stopped after any number of microtasks", async () => {
  // Without a single timer, so that this cuts between every two steps that the implementation itself takes.
  let longest = 0;
  const limiter = new ReconnectLimiter({ burst: 1_000 });
  for (let ticks = 0; ticks < 200; ticks++) {
    const server = createMemoryServer<Line, Line>({
      async onStream(peer) {
        await peer.receive();
        peer.send("welcome");
      },
    });
    const reconnector = new StreamReconnector(lineProtocol(server), { closeGraceMs: 0, limiter });
    const waiter = reconnector.connected().then(
      () => "live",
      () => "stopped",
    );
    reconnector.start();
    for (let n = 0; n < ticks; n++) await Promise.resolve();
    const isLive = reconnector.current !== undefined;
    if (!isLive) longest = ticks;
    await reconnector.close();
    expect(server.open, `after ${ticks} microtasks`).toBe(0);
    expect(await waiter, `after ${ticks} microtasks`).toBe(isLive ? "live" : "stopped");
    expect(server.transports).toBeLessThanOrEqual(1);
  }
  expect(longest).toBeGreaterThan(5);
  expect(longest).toBeLessThan(199);
});
