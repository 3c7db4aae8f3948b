import { connect as connectTcp, createServer, type Socket } from "node:net";
import { type AddressInfo } from "node:net";
import { createServer as createHttp2 } from "node:http2";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createSimulation } from "@tidemark/clock/testing";
import {
  type FrameCall,
  type FrameChannel,
  isConnectionError,
  type MessageSplitter,
} from "@tidemark/connect-transport";
import { expect, onTestFinished, test } from "vitest";
import { decode, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, listen, of, Seen, source, Test, text, textOf } from "./support/service.ts";

const never = new AbortController().signal;

/** Resolves when nothing has moved for two round trips: it is held back. */
async function standsStill(channel: FrameChannel, progress: () => number): Promise<void> {
  for (let before = -1, still = 0; still < 2; before = progress()) {
    await channel.ping(never);
    still = progress() === before ? still + 1 : 0;
  }
}

/** A TCP relay that can stop to pass anything on, and counts who came. */
async function startRelay(port: number) {
  const pairs: (readonly [Socket, Socket])[] = [];
  const server = createServer((client) => {
    const upstream = connectTcp(port, "127.0.0.1");
    pairs.push([client, upstream]);
    for (const socket of [client, upstream]) {
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pairs,
    /** Half-open from now on: both ends live, nothing gets through. */
    swallow() {
      for (const [client, upstream] of pairs) {
        client.unpipe(upstream).resume();
        upstream.unpipe(client).resume();
      }
    },
  };
}

test("P2: nothing happens before start, and a stream that was canceled before does no I/O at all", async () => {
  const { url, server } = await startFrameServer();
  const channel = openChannel({ baseUrl: url });
  let asked = 0;
  const stream = channel.stream(both, {
    headers: () => {
      asked++;
      return {};
    },
  });
  const reason = new Error("changed my mind");
  stream.cancel(reason);
  stream.cancel(new Error("again"));
  const outgoing = source<Uint8Array>();
  await expect(collect(stream.start(outgoing))).rejects.toBe(reason);
  expect(asked).toBe(0);
  expect(server.connections).toBe(0);
});

test("a stream is started once", async () => {
  const { url } = await startFrameServer();
  const stream = openChannel({ baseUrl: url }).stream(both);
  await collect(stream.start(of()));
  expect(() => stream.start(of())).toThrow(/once/);
});

test("P11: cancel resets the stream with CANCEL at once, and the call fails with its reason", async () => {
  const { url, seen } = await startFrameServer();
  const stream = openChannel({ baseUrl: url }).stream(both);
  const outgoing = source<Uint8Array>();
  outgoing.push(encode("a"));
  const answers = stream.start(outgoing);
  await answers.next();
  const reason = new Error("enough of it");
  stream.cancel(reason);
  await expect(answers.next()).rejects.toBe(reason);
  await seen.until(() => seen.aborts.length === 1);
  expect(seen.aborts[0]).toMatchObject({ code: Code.Canceled, rawMessage: expect.stringContaining("CANCEL") });
  expect(outgoing.state.isLeft || outgoing.state.pulled === 1).toBe(true);
});

test("leaving the loop cancels the call and lets go of its source", async () => {
  const { url, seen } = await startFrameServer();
  const outgoing = source<Uint8Array>();
  outgoing.push(encode("a"));
  for await (const _ of openChannel({ baseUrl: url }).stream(both).start(outgoing)) break;
  await seen.until(() => seen.aborts.length === 1);
});

test("headers may come late, and their failure is the call's", async () => {
  const { url, seen } = await startFrameServer();
  const channel = openChannel({ baseUrl: url });
  const late = channel.stream(both, { headers: async () => ({ "x-ticket": "secret" }) });
  await collect(late.start(of(encode("a"))));
  expect(seen.headers[0]?.get("x-ticket")).toBe("secret");
  const reason = new Error("no ticket today");
  const failing = channel.stream(both, { headers: () => Promise.reject(reason) });
  await expect(collect(failing.start(of()))).rejects.toBe(reason);
  let aborted = false;
  const hanging = channel.stream(both, {
    headers: (signal) =>
      new Promise(() => {
        signal.addEventListener("abort", () => (aborted = true));
      }),
  });
  const answers = hanging.start(of());
  hanging.cancel(reason);
  await expect(answers.next()).rejects.toBe(reason);
  expect(aborted).toBe(true);
});

test("batches arrive together, and the status comes last", async () => {
  const { url } = await startFrameServer();
  const got: string[] = [];
  let batches = 0;
  await new Promise<void>((resolve, reject) => {
    const stream = openChannel({ baseUrl: url }).stream(both);
    const sender = stream.open({
      headers: () => got.push("headers"),
      frames(frames) {
        batches++;
        got.push(...frames.map(decode));
      },
      end: (error, trailers) => (
        error === undefined ? resolve() : reject(error as Error), got.push(trailers.get("grpc-status") ?? "")
      ),
    });
    for (let n = 0; n < 1000; n++) sender.send(encode(String(n)));
    // In pieces, which are one frame.
    const whole = encode("in pieces");
    sender.send([whole.subarray(0, 3), whole.subarray(3)]);
    sender.end();
  });
  expect(got).toEqual(["headers", ...Array.from({ length: 1000 }, (_, n) => String(n)), "in pieces", "0"]);
  expect(batches).toBeLessThan(50);
});

test("a peer that never reads holds back the writer within bounds", async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let received = 0;
  const window = 65_535;
  const { url } = await startFrameServer({
    streamWindowBytes: window,
    frames: {
      [both]: (call) => ({
        frames(frames) {
          received += frames.length;
          return held;
        },
        end: () => call.end(),
      }),
    },
  });
  const sendBufferBytes = 100_000;
  let pulled = 0;
  async function* endless() {
    for (; pulled < 200; pulled++) yield new Uint8Array(10_000);
  }
  const channel = openChannel({ baseUrl: url, sendBufferBytes });
  const answers = channel.stream(both).start(endless());
  const done = answers.next();
  await standsStill(channel, () => pulled);
  expect(pulled * 10_000).toBeLessThanOrEqual(sendBufferBytes + 2 * window + 20_000);
  release();
  expect(await done).toEqual({ done: true, value: undefined });
  expect(received).toBe(200);
});

test("a reader that does not read holds back the server within bounds", async () => {
  let call: FrameCall | undefined;
  let sent = 0;
  const { url } = await startFrameServer({
    sendBufferBytes: 100_000,
    frames: {
      [both]: (it) => {
        call = it;
        const pour = async () => {
          for (; sent < 1000; sent++) if (!it.send(new Uint8Array(10_000))) await it.drained();
          it.end();
        };
        void pour();
        return { frames() {} };
      },
    },
  });
  const channel = openChannel({ baseUrl: url, streamWindowBytes: 200_000 });
  const answers = channel.stream(both).start(source<Uint8Array>());
  await answers.next();
  await standsStill(channel, () => sent);
  // What the reader's side buffers, the window, what the server's side buffers.
  expect(sent * 10_000).toBeLessThan(1024 * 1024 + 200_000 + 100_000 + 500_000);
  expect(call?.signal.aborted).toBe(false);
  let count = 1;
  for await (const frame of answers) {
    expect(frame.length).toBe(10_000);
    count++;
  }
  expect(count).toBe(1000);
});

test("drained rejects when the call is over, so that no loop waits or spins for ever", async () => {
  let call: FrameCall | undefined;
  const seen = new Seen();
  const { url } = await startFrameServer({
    frames: {
      [both]: (it) => {
        call = it;
        seen.note();
        return { frames() {} };
      },
    },
  });
  const stream = openChannel({ baseUrl: url, streamWindowBytes: 65_535 }).stream(both);
  const sender = stream.open({ frames: () => new Promise(() => {}), end() {} });
  await seen.until(() => call !== undefined);
  while (call?.send(new Uint8Array(1_000_000)) === true);
  const waiting = expect(call?.drained()).rejects.toMatchObject({ code: Code.Canceled });
  stream.cancel(new Error("gone"));
  await waiting;
  await expect(sender.drained()).rejects.toThrow("gone");
  expect(call?.send(new Uint8Array(1))).toBe(false);
  expect(sender.send(new Uint8Array(1))).toBe(false);
});

test("X11: a half-open connection does not answer pings, and cutting it frees the call", async () => {
  const { port, server } = await startFrameServer();
  const relay = await startRelay(port);
  const channel = openChannel({ baseUrl: relay.url });
  const stream = channel.stream(both);
  const outgoing = source<Uint8Array>();
  outgoing.push(encode("a"));
  const answers = stream.start(outgoing);
  await answers.next();
  await stream.ping(never);
  relay.swallow();
  const limit = new AbortController();
  const ping = stream.ping(limit.signal);
  limit.abort(new Error("no answer"));
  await expect(ping).rejects.toThrow("no answer");
  const reason = new Error("half-open");
  channel.destroy(reason);
  await expect(answers.next()).rejects.toThrow();
  expect(server.connections).toBe(1);
});

test("X11: a channel that pings finds a half-open connection by itself, and the next call opens another one", async () => {
  const { port } = await startFrameServer();
  const relay = await startRelay(port);
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const channel = openChannel({ baseUrl: relay.url, pingIntervalMs: 1000, clock });
  const answers = channel.stream(both).start(source<Uint8Array>());
  const lost = answers.next();
  // As long as they are answered, nothing happens.
  for (let n = 0; n < 5; n++) {
    await channel.ping(never);
    await simulation.advance(1000);
  }
  await channel.ping(never);
  relay.swallow();
  await simulation.advance(1000);
  await Promise.all([
    expect(lost).rejects.toMatchObject({
      code: Code.Unavailable,
      rawMessage: expect.stringContaining("did not answer a ping within 1000 ms"),
    }),
    simulation.advance(1000),
  ]);
  expect((await collect(channel.stream(both).start(of(encode("a"))))).map(decode)).toEqual(["a"]);
  expect(relay.pairs).toHaveLength(2);
});

test("P12: a connection that breaks ends its calls as unavailable, and the next call opens it anew", async () => {
  const { port } = await startFrameServer();
  const relay = await startRelay(port);
  const channel = openChannel({ baseUrl: relay.url });
  const outgoing = source<Uint8Array>();
  outgoing.push(encode("a"));
  const answers = channel.stream(both).start(outgoing);
  await answers.next();
  for (const socket of relay.pairs[0] ?? []) socket.destroy();
  await expect(answers.next()).rejects.toMatchObject({ code: Code.Unavailable });
  expect(await collect(channel.stream(both).start(of(encode("b"))))).toHaveLength(1);
});

test("a channel that does not reopen fails every call after its end with what ended it", async () => {
  const { port } = await startFrameServer();
  const relay = await startRelay(port);
  const channel = openChannel({ baseUrl: relay.url, reopens: false });
  await collect(channel.stream(both).start(of()));
  for (const socket of relay.pairs[0] ?? []) socket.destroy();
  await expect(channel.ping(never)).rejects.toMatchObject({ code: Code.Unavailable });
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
  expect(relay.pairs).toHaveLength(1);
});

test("a peer that goes away gets no more calls, and those it has finish", async () => {
  const http2 = createHttp2();
  http2.on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.resume();
    stream.on("end", () => stream.end());
  });
  const { url, sessions } = await listen(http2);
  const channel = openChannel({ baseUrl: url });
  const outgoing = source<Uint8Array>();
  const answers = channel.stream(both).start(outgoing);
  const end = answers.next();
  await channel.ping(never);
  const [session] = sessions;
  session?.goaway(0);
  // Over the same connection, and thus after the farewell.
  await new Promise<void>((resolve) => session?.ping(() => resolve()));
  expect(await collect(channel.stream(both).start(of()))).toEqual([]);
  expect(sessions.size).toBe(2);
  outgoing.end();
  expect(await end).toEqual({ done: true, value: undefined });
});

test("nobody there, no such host and a silent port are unavailable in bounded time", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void silent.close());
  const { port } = silent.address() as AddressInfo;
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port: nobody } = closed.address() as AddressInfo;
  await new Promise<void>((resolve) => closed.close(() => resolve()));
  const refused = collect(
    openChannel({ baseUrl: `http://127.0.0.1:${nobody}` })
      .stream(both)
      .start(of()),
  );
  await expect(refused).rejects.toMatchObject({ code: Code.Unavailable, cause: { code: "ECONNREFUSED" } });
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const tls = openChannel({ baseUrl: `https://127.0.0.1:${port}`, clock });
  const waiting = expect(collect(tls.stream(both).start(of()))).rejects.toMatchObject({
    code: Code.Unavailable,
    rawMessage: expect.stringContaining("within 10000 ms"),
  });
  await simulation.advance(10_000);
  await waiting;
});

test("what no gRPC server says ends the call with a clear error", async () => {
  const answers: Record<string, Record<string, string | number>> = {
    "/html": { ":status": 200, "content-type": "text/html" },
    "/502": { ":status": 502 },
    "/missing": { ":status": 200, "content-type": "application/grpc" },
    "/only": { ":status": 200, "content-type": "application/grpc", "grpc-status": "8", "grpc-message": "full" },
    "/truncated": { ":status": 200, "content-type": "application/grpc+proto" },
    "/compressed": { ":status": 200, "content-type": "application/grpc+proto", "grpc-encoding": "gzip" },
    "/large": { ":status": 200, "content-type": "application/grpc+proto" },
    "/reset": { ":status": 200, "content-type": "application/grpc+proto" },
  };
  const bodies: Record<string, readonly number[]> = {
    "/truncated": [0, 0, 0, 0, 9, 1],
    "/compressed": [1, 0, 0, 0, 1, 1],
    "/large": [0, 0xff, 0, 0, 0, 1],
  };
  const http2 = createHttp2();
  http2.on("stream", (stream, headers) => {
    const path = String(headers[":path"]);
    const body = bodies[path];
    stream.on("error", () => {});
    if (path === "/only") return stream.respond(answers[path], { endStream: true });
    stream.respond(answers[path], { waitForTrailers: true });
    stream.on("wantTrailers", () =>
      body === undefined ? stream.close(0) : stream.sendTrailers({ "grpc-status": "0" }),
    );
    if (path === "/reset") return stream.close(11);
    return stream.end(body === undefined ? undefined : Buffer.from(body));
  });
  const channel = openChannel({ baseUrl: (await listen(http2)).url, readMaxBytes: 1000 });
  const codes: Record<string, string> = {};
  for (const path of Object.keys(answers)) {
    const error = await collect(channel.stream(path).start(source<Uint8Array>())).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConnectError);
    codes[path] = `${Code[(error as ConnectError).code]}: ${(error as ConnectError).rawMessage}`;
  }
  expect(codes).toEqual({
    "/html": "Unknown: expected an answer in application/grpc+proto, got text/html",
    "/502": "Unavailable: HTTP 502",
    "/missing": "Internal: protocol error: the answer ended without a grpc-status",
    "/only": "ResourceExhausted: full",
    "/truncated": "Internal: protocol error: the answer ended within a message",
    "/compressed": expect.stringContaining("compression of the transport off"),
    "/large": "ResourceExhausted: Received message larger than max (4278190080 vs. 1000)",
    "/reset": "ResourceExhausted: the peer reset the HTTP/2 stream with ENHANCE_YOUR_CALM",
  });
});

test("close lets calls finish, cuts what does not end, and refuses new ones", async () => {
  const { url } = await startFrameServer();
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const channel = openChannel({ baseUrl: url, closeTimeoutMs: 5000, clock });
  const finishing = channel.stream(both).start(of(encode("a")));
  const hanging = channel.stream(both).start(source<Uint8Array>());
  const cut = expect(hanging.next()).rejects.toMatchObject({ code: Code.Unavailable });
  await channel.ping(never);
  const closing = channel.close();
  expect(await collect(finishing)).toHaveLength(1);
  await Promise.all([closing, cut, simulation.advance(5000)]);
  await channel.close();
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
});

/** Hands on a large message in the pieces that it came in. */
function pieces(seen: string[]): MessageSplitter {
  return {
    fromBytes: 1_000_000,
    begin: (size) => seen.push(`begins: ${size}`),
    push: (bytes) => {
      seen.push("pushed");
      return [encode(`${bytes.length}`)];
    },
  };
}

test("a splitter gets large messages while they arrive, above readMaxBytes as well, on either kind of stream", async () => {
  let call: FrameCall | undefined;
  const seen = new Seen();
  const { url } = await startFrameServer({
    frames: {
      [both]: (it) => {
        call = it;
        it.send(encode("small"));
        it.send(new Uint8Array(3_000_000));
        it.send(encode("after"));
        seen.note();
        return { frames() {}, end: () => it.end() };
      },
    },
  });
  const noted: string[] = [];
  const channel = openChannel({ baseUrl: url, readMaxBytes: 2_000_000 });
  const words = (await collect(channel.stream(both, { splitter: pieces(noted) }).start(of()))).map(decode);
  expect(call?.signal.aborted).toBe(true);
  expect([words[0], words.at(-1)]).toEqual(["small", "after"]);
  expect(words.slice(1, -1).reduce((sum, word) => sum + Number(word), 0)).toBe(3_000_000);
  expect(words.length).toBeGreaterThan(20);
  expect(noted[0]).toBe("begins: 3000000");
  const asked: string[] = [];
  const transport = channel.createTransport({
    splitterOf: (method) => {
      asked.push(method.name);
      return pieces([]);
    },
  });
  const messages = await collect(createClient(Test, transport).both(of()));
  expect(messages.map(textOf).at(-1)).toBe("after");
  expect(messages.length).toBeGreaterThan(20);
  expect(asked).toEqual(["Both"]);
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.ResourceExhausted });
});

test("fields of bytes are plain views, as connect's own transport has them", async () => {
  const { url } = await startFrameServer();
  const [message] = await collect(createClient(Test, openChannel({ baseUrl: url }).transport).both(of(text("a"))));
  expect(message?.value).toStrictEqual(new Uint8Array([97]));
});

test("what the peer calls unavailable is no error of the connection, and what the connection does is one", async () => {
  const { url, server } = await startFrameServer({
    frames: {
      "/refuses": () => {
        throw new ConnectError("come back later", Code.Unavailable);
      },
      [both]: () => ({ frames() {} }),
    },
  });
  const channel = openChannel({ baseUrl: url });
  const refused = await collect(channel.stream("/refuses").start(of())).catch((error: unknown) => error);
  expect([refused, isConnectionError(refused)]).toMatchObject([{ code: Code.Unavailable }, false]);
  await server.close();
  const gone = await collect(channel.stream(both).start(of())).catch((error: unknown) => error);
  expect([gone, isConnectionError(gone)]).toMatchObject([{ code: Code.Unavailable }, true]);
});
