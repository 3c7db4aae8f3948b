import { request as httpRequest } from "node:http";
import * as http2 from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { seededRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { createFrameHandler, createFrameServer, type FrameCall, FrameChannel } from "@tidemark/connect-transport";
import { expect, onTestFinished, test } from "vitest";
import { decode, echoFrames, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, listen, of, Seen, source, Test, testRoutes, text, textOf } from "./support/service.ts";

const never = new AbortController().signal;

function openSession(url: string): http2.ClientHttp2Session {
  const session = http2.connect(url);
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

const grpc = { ":method": "POST", "content-type": "application/grpc" };

/** Sends bytes to the bidirectional method and tells how it ended. */
function call(session: http2.ClientHttp2Session, body: Buffer, headers: http2.OutgoingHttpHeaders = {}) {
  return new Promise<{ readonly status: string; readonly message: string; readonly bytes: number }>((resolve) => {
    const stream = session.request({ ...grpc, ":path": both, ...headers });
    let status: http2.IncomingHttpHeaders = {};
    let bytes = 0;
    stream.on("error", () => {});
    stream.on("response", (answer) => (status = { ...status, ...answer }));
    stream.on("trailers", (trailers) => (status = { ...status, ...trailers }));
    stream.on("data", (data: Buffer) => (bytes += data.length));
    stream.on("close", () =>
      resolve({
        status: String(status["grpc-status"] ?? `HTTP ${String(status[":status"])}`),
        message: decodeURIComponent(String(status["grpc-message"] ?? "")),
        bytes,
      }),
    );
    stream.end(body);
  });
}

async function worksStill(url: string): Promise<void> {
  const channel = openChannel({ baseUrl: url });
  expect((await collect(channel.stream(both).start(of(encode("still here"))))).map(decode)).toEqual(["still here"]);
}

test("what breaks the protocol ends its own call with a clear status, and no other", async () => {
  const { url } = await startFrameServer({ readMaxBytes: 1000 });
  const session = openSession(url);
  const other = openChannel({ baseUrl: url }).stream(both).start(source<Uint8Array>());
  const frame = (flags: number, size: number, body: number) =>
    Buffer.concat([Buffer.from([flags, 0, 0, size >> 8, size & 255]), Buffer.alloc(body)]);
  expect(await call(session, frame(0, 2000, 2000))).toMatchObject({
    status: String(Code.ResourceExhausted),
    message: "Received message larger than max (2000 vs. 1000)",
  });
  expect(await call(session, frame(1, 10, 10), { "grpc-encoding": "gzip" })).toMatchObject({
    status: String(Code.Unimplemented),
    message: expect.stringContaining("compression"),
  });
  expect(await call(session, frame(0, 10, 9))).toMatchObject({
    status: String(Code.InvalidArgument),
    message: expect.stringContaining("within a message"),
  });
  expect(await call(session, Buffer.from([0, 0, 0]))).toMatchObject({ status: String(Code.InvalidArgument) });
  expect(await call(session, frame(0, 0, 0), { "grpc-timeout": "soon" })).toMatchObject({
    status: String(Code.InvalidArgument),
    message: expect.stringContaining("grpc-timeout"),
  });
  // No valid message of the service: the handler's own decoder throws, which tells the client nothing.
  expect(await call(session, frame(0, 3, 3))).toMatchObject({
    status: String(Code.Internal),
    message: "internal error",
  });
  expect(await call(session, frame(0, 0, 0))).toMatchObject({ status: "0", bytes: 5 });
  expect(await call(session, frame(0, 0, 0), { ":path": "/test.Test/Nothing" })).toMatchObject({
    status: String(Code.Unimplemented),
    message: "/test.Test/Nothing is not served here",
  });
  expect(await call(session, Buffer.from("{}"), { "content-type": "text/plain" })).toMatchObject({
    status: "HTTP 415",
  });
  expect(await call(session, Buffer.from(""), { ":path": "/", "content-type": "text/html" })).toMatchObject({
    status: "HTTP 404",
  });
  void other.return?.();
  await worksStill(url);
});

test("deadlines longer than any timer of Node's do not end a call", async () => {
  const { url, seen } = await startFrameServer();
  const session = openSession(url);
  for (const timeout of ["8761H", "99999999H"]) {
    const body = Buffer.concat([Buffer.from([0, 0, 0, 0, encode("a").length]), encode("a")]);
    expect(await call(session, body, { "grpc-timeout": timeout })).toMatchObject({ status: "0" });
    expect(await call(session, body, { "grpc-timeout": timeout, ":path": "/test.Test/Once" })).toMatchObject({
      status: "0",
    });
  }
  const client = createClient(Test, openChannel({ baseUrl: url }).transport);
  const timeoutMs = 8761 * 3_600_000;
  expect(textOf(await client.once(text("a"), { timeoutMs }))).toBe("a");
  expect(await collect(client.both(of(text("a")), { timeoutMs }))).toHaveLength(1);
  expect(seen.headers.at(-1)?.get("grpc-timeout")).toMatch(/^\d{1,8}[HMS]$/);
});

test("garbage on the port, idle connections and half a preface end nothing but themselves", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const { url, port, server } = await startFrameServer({ handshakeTimeoutMs: 10_000, clock });
  const sockets = new Set<Socket>();
  const knock = (bytes: Uint8Array | string) =>
    new Promise<void>((resolve) => {
      const socket = connectTcp(port, "127.0.0.1", () => socket.write(bytes, () => resolve()));
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
      socket.resume();
    });
  const rng = seededRng(7);
  const garbage = (length: number) => Uint8Array.from({ length }, () => rng.int(0, 256));
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (let n = 0; n < 20; n++) await knock(garbage(200));
  for (let n = 0; n < 20; n++) await knock(Buffer.concat([Buffer.from(preface), garbage(200)]));
  for (const start of ["P", "PR", "PRI", "PRI * HTTP/2.0", preface, "POST / HTTP/1.1\r\n", "\u0016\u0003\u0001"])
    await knock(start);
  for (let n = 0; n < 1000; n++) await knock("");
  await worksStill(url);
  expect(server.connections).toBeGreaterThan(900);
  const gone = () => sockets.size === 0 || [...sockets].every((socket) => socket.destroyed);
  const waiting = [...sockets].map((socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())));
  // Those that spoke HTTP/2 are kept as long as they answer pings, which these do not.
  await simulation.advance(10_000);
  await Promise.all(waiting.slice(-1000));
  expect(gone() || sockets.size < 30).toBe(true);
  for (const socket of sockets) socket.destroy();
  await worksStill(url);
});

test("connections above the limit are refused at once", async () => {
  const { url, server } = await startFrameServer({ maxConnections: 2 });
  const first = openChannel({ baseUrl: url });
  const second = openChannel({ baseUrl: url });
  await first.ping(never);
  await second.ping(never);
  const third = openChannel({ baseUrl: url });
  await expect(third.ping(never)).rejects.toMatchObject({ code: Code.Unavailable });
  await first.ping(never);
  expect(server.connections).toBe(2);
});

test("a client that no longer answers pings is cut, and those that do stay", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const { url, port, server, seen } = await startFrameServer({ pingIntervalMs: 30_000, clock });
  const live = openChannel({ baseUrl: url });
  const answers = live.stream(both).start(source<Uint8Array>());
  const pending = answers.next();
  await seen.until(() => seen.headers.length === 1);
  const raw = connectTcp(port, "127.0.0.1");
  raw.on("error", () => {});
  // A preface and empty settings, and then nothing any more.
  raw.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]));
  const closed = new Promise<void>((resolve) => raw.once("close", () => resolve()));
  // The server's own settings: it knows what this connection speaks.
  await new Promise<void>((resolve) => raw.once("data", () => resolve()));
  raw.resume();
  for (let n = 0; n < 3; n++) {
    await simulation.advance(30_000);
    await live.ping(never);
  }
  await closed;
  expect(server).toMatchObject({ connections: 1, openCalls: 1 });
  await answers.return?.();
  expect(await pending).toMatchObject({ done: true });
});

test("a client that never reads the end of its answer is cut off after a while", async () => {
  const seen = new Seen();
  let ended: FrameCall | undefined;
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const { url, server } = await startFrameServer({
    clock,
    frames: {
      [both]: (it) => {
        for (let n = 0; n < 10; n++) it.send(new Uint8Array(100_000));
        it.end();
        ended = it;
        seen.note();
        return { frames() {} };
      },
    },
  });
  const session = openSession(url);
  const stream = session.request({ ...grpc, ":path": both });
  stream.on("error", () => {});
  stream.pause();
  const closed = new Promise<void>((resolve) => stream.once("close", () => resolve()));
  await seen.until(() => ended !== undefined);
  await simulation.advance(30_000);
  await closed;
  expect(stream.rstCode).toBe(http2.constants.NGHTTP2_CANCEL);
  expect(server.openCalls).toBe(0);
});

test("handlers that throw, reject, answer late or never end their own call only", async () => {
  let isLate = () => {};
  const late = new Promise<void>((resolve) => (isLate = resolve));
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const { url } = await startFrameServer({
    frames: {
      "/throws": () => {
        throw new Error("not for the client");
      },
      "/rejects": () => Promise.reject(new Error("not for the client")),
      "/late": async (it) => {
        await late;
        return {
          frames(frames) {
            for (const frame of frames) it.send(frame);
          },
          end: () => it.end(),
        };
      },
      "/never": () => new Promise(() => {}),
      "/frames-rejects": () => ({ frames: () => Promise.reject(new Error("not for the client")) }),
      "/end-throws": () => ({
        frames() {},
        end: () => {
          throw new Error("not for the client");
        },
      }),
      [both]: echoFrames(),
    },
  });
  const channel = openChannel({ baseUrl: url });
  for (const path of ["/throws", "/rejects", "/frames-rejects", "/end-throws"]) {
    await expect(collect(channel.stream(path).start(of(encode("a"))))).rejects.toMatchObject({
      code: Code.Internal,
      rawMessage: "internal error",
    });
  }
  const early = collect(channel.stream("/late").start(of(encode("a"), encode("b"))));
  // Everything has arrived by then.
  await channel.ping(never);
  isLate();
  expect(await early).toHaveLength(2);
  const timed = openChannel({ baseUrl: url, clock });
  const unanswered = collect(timed.stream("/never", { timeoutMs: 60_000 }).start(of(encode("a"))));
  await Promise.all([
    expect(unanswered).rejects.toMatchObject({ code: Code.DeadlineExceeded }),
    timed.ping(never).then(() => simulation.advance(60_000)),
  ]);
  await worksStill(url);
});

test("a call knows its peer, its deadline and its end", async () => {
  const calls: FrameCall[] = [];
  const { url } = await startFrameServer({
    frames: {
      [both]: (it) => {
        calls.push(it);
        return { frames() {}, end: () => it.end() };
      },
    },
  });
  await collect(openChannel({ baseUrl: url }).stream(both, { timeoutMs: 60_000 }).start(of()));
  expect(calls[0]).toMatchObject({ path: both, peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) });
  expect(calls[0]?.deadlineMs).toBeGreaterThan(0);
  expect(calls[0]?.signal).toMatchObject({ aborted: true, reason: { code: Code.Canceled } });
});

test("close ends hot calls as unavailable, cuts connect's after its time, and leaves nothing open", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const { server, url, seen } = await startFrameServer({ closeTimeoutMs: 2000, clock });
  const channel = openChannel({ baseUrl: url });
  const client = createClient(Test, channel.transport);
  const outgoing = source<Uint8Array>();
  const hot = channel.stream(both).start(outgoing);
  outgoing.push(encode("a"));
  await hot.next();
  const hangs = client.once(text("hang")).catch((error: unknown) => error);
  await seen.until(() => seen.headers.length === 2);
  const closing = server.close();
  await expect(hot.next()).rejects.toMatchObject({ code: Code.Unavailable, rawMessage: "the server is closing" });
  expect(server.connections).toBe(1);
  await simulation.advance(2000);
  expect(await hangs).toMatchObject({ code: Code.Unavailable });
  await closing;
  expect(server).toMatchObject({ connections: 0, openCalls: 0 });
  await expect(openChannel({ baseUrl: url }).ping(never)).rejects.toMatchObject({ code: Code.Unavailable });
});

test("Connect over HTTP/1.1 works on the same port, and pages in a browser are kept out", async () => {
  const { url, port } = await startFrameServer();
  const client = createClient(Test, createConnectTransport({ baseUrl: url, httpVersion: "1.1" }));
  expect(textOf(await client.once(text("plain")))).toBe("plain");
  const status = (headers: Record<string, string>) =>
    new Promise<number | undefined>((resolve) => {
      const path = "/test.Test/Once";
      const request = httpRequest({ port, host: "127.0.0.1", method: "POST", path, headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.end('""');
    });
  expect(await status({ "content-type": "application/json" })).toBe(200);
  expect(await status({ "content-type": "application/json", origin: "http://evil.example" })).toBe(403);
});

test("the handler serves a server of one's own, too", async () => {
  const handler = createFrameHandler({ frames: { [both]: echoFrames() }, routes: testRoutes() });
  const own = http2.createServer();
  own.on("stream", handler.onStream);
  const { url } = await listen(own);
  await worksStill(url);
  const client = createClient(Test, openChannel({ baseUrl: url }).transport);
  expect(textOf(await client.once(text("a")))).toBe("a");
});

test("options out of bounds are refused with what was expected", () => {
  expect(() => createFrameServer({ streamWindowBytes: 1 })).toThrow(/streamWindowBytes must be a whole number/);
  expect(() => createFrameServer({ maxConnections: 0 })).toThrow(/maxConnections/);
  expect(() => new FrameChannel({ baseUrl: "localhost:2136" })).toThrow(/baseUrl must look like/);
  expect(() => new FrameChannel({ baseUrl: "http://a", tls: {} })).toThrow(/https/);
  expect(() => new FrameChannel({ baseUrl: "http://user:secret@a" })).toThrow(/credentials as headers/);
  expect(() => new FrameChannel({ baseUrl: "http://a", readMaxBytes: 0 })).toThrow(/readMaxBytes/);
});

test("a port that is taken is told", async () => {
  const { port } = await startFrameServer();
  const server = createFrameServer({});
  await expect(server.listen({ port })).rejects.toMatchObject({ code: "EADDRINUSE" });
  await server.close();
});
