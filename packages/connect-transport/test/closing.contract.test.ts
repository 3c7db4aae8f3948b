// On a clock that stands still: whoever waits for time here waits for ever.

import * as http2 from "node:http2";
import { connect as connectTcp } from "node:net";
import { Code, createClient } from "@connectrpc/connect";
import { createSimulation } from "@tidemark/clock/testing";
import type { FrameCall } from "@tidemark/connect-transport";
import { expect, onTestFinished, test } from "vitest";
import { echoFrames, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, of, Seen, source, Test, text, textOf } from "./support/service.ts";

const never = new AbortController().signal;
const grpc = { ":method": "POST", "content-type": "application/grpc" };

function framed(word: string): Buffer {
  const body = encode(word);
  return Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]);
}

/** A client that does nothing by itself: it neither half-closes nor resets. */
function openSession(url: string, options: http2.ClientSessionOptions = {}): http2.ClientHttp2Session {
  const session = http2.connect(url, options);
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  return session;
}

/** A call whose request stays open. `status` resolves with what comes last. */
function openCall(session: http2.ClientHttp2Session, path: string, word: string) {
  const stream = session.request({ ...grpc, ":path": path }, { endStream: false });
  stream.on("error", () => {});
  stream.write(framed(word));
  const answered = new Promise<void>((resolve) => stream.once("data", () => resolve()));
  const status = new Promise<string>((resolve) => {
    stream.once("trailers", (trailers) => resolve(String(trailers["grpc-status"])));
  });
  const closed = new Promise<void>((resolve) => stream.once("close", () => resolve()));
  return { stream, answered, status, closed };
}

test("close does not wait for a client that keeps its half of a hot call open", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const { server, url } = await startFrameServer({ clock });
  const call = openCall(openSession(url), both, "a");
  await call.answered;
  await server.close();
  expect(await call.status).toBe(String(Code.Unavailable));
  expect(server).toMatchObject({ connections: 0, openCalls: 0 });
});

test("close does not wait for a client that keeps its half open after connect's handler has ended", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const { server, url } = await startFrameServer({ clock, frames: {} });
  const call = openCall(openSession(url), both, "enough");
  call.stream.resume();
  expect(await call.status).toBe("0");
  await server.close();
  await call.closed;
  expect(server.connections).toBe(0);
});

test("close ends what is idle at once: sessions, plain HTTP, half a preface, not a word", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const { server, url, port } = await startFrameServer({ clock });
  await openChannel({ baseUrl: url }).ping(never);
  for (const start of ["", "PR", "POST / HTTP/1.1\r\n"]) {
    const socket = connectTcp(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    socket.write(start);
  }
  // It speaks HTTP/2, and is frozen or gone since.
  const frozen = connectTcp(port, "127.0.0.1");
  onTestFinished(() => void frozen.destroy());
  frozen.on("error", () => {});
  frozen.write(
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]),
  );
  await new Promise<void>((resolve) => frozen.once("data", () => resolve()));
  frozen.pause();
  // Answered after the others were accepted.
  await openChannel({ baseUrl: url }).ping(never);
  expect(server.connections).toBe(6);
  await server.close();
  expect(server.connections).toBe(0);
});

test("close gives the time to calls whose handler still runs, and to nobody else", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { server, url, seen } = await startFrameServer({ clock: simulation.clock, closeTimeoutMs: 5000 });
  const idle = openSession(url);
  const idleClosed = new Promise<void>((resolve) => idle.once("close", () => resolve()));
  await new Promise<void>((resolve) => idle.once("connect", () => resolve()));
  const client = createClient(Test, openChannel({ baseUrl: url }).transport);
  const hangs = client.once(text("hang")).catch((error: unknown) => error);
  await seen.until(() => seen.headers.length === 1);
  let isClosed = false;
  const closing = server.close().then(() => (isClosed = true));
  await idleClosed;
  await simulation.advance(4999);
  expect(isClosed).toBe(false);
  expect(seen.aborts).toEqual([]);
  await simulation.advance(1);
  await closing;
  expect(await hangs).toMatchObject({ code: Code.Unavailable });
});

test("a handler that ends while the server closes gets its answer through, and the server closes then", async () => {
  const { clock } = createSimulation({ seed: 1 });
  let finish = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const seen = new Seen();
  const { server, url } = await startFrameServer({
    clock,
    routes: (router) =>
      router.service(Test, {
        async once(request) {
          seen.headers.push(new Headers());
          seen.note();
          await finished;
          return request;
        },
      }),
  });
  const client = createClient(Test, openChannel({ baseUrl: url }).transport);
  const answer = client.once(text("x".repeat(3_000_000)));
  await seen.until(() => seen.headers.length === 1);
  const closing = server.close();
  finish();
  expect(textOf(await answer)).toHaveLength(3_000_000);
  await closing;
});

test("close does not wait for a client that never reads, and that one learns that the server is gone", async () => {
  const { clock } = createSimulation({ seed: 1 });
  let call: FrameCall | undefined;
  const seen = new Seen();
  const { server, url } = await startFrameServer({
    clock,
    frames: {
      [both]: (it) => {
        call = it;
        while (it.send(new Uint8Array(100_000)));
        seen.note();
        return { frames() {} };
      },
    },
  });
  const channel = openChannel({ baseUrl: url, streamWindowBytes: 65_535 });
  const ended = new Promise<unknown>((resolve) =>
    channel.stream(both).open({ frames: () => new Promise(() => {}), end: resolve }),
  );
  await seen.until(() => call !== undefined);
  await channel.ping(never);
  await server.close();
  expect(await ended).toMatchObject({ code: Code.Unavailable });
});

test("an answer that was finished before is fetched to its end, however slowly", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const seen = new Seen();
  let isEnded = false;
  const { server, url } = await startFrameServer({
    clock,
    frames: {
      [both]: (it) => {
        for (let n = 0; n < 20; n++) it.send(new Uint8Array(100_000));
        it.end();
        isEnded = true;
        seen.note();
        return { frames() {} };
      },
    },
  });
  const channel = openChannel({ baseUrl: url, streamWindowBytes: 65_535 });
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let bytes = 0;
  const ended = new Promise<unknown>((resolve) =>
    channel.stream(both).open({
      frames(frames) {
        for (const frame of frames) bytes += frame.length;
        return held;
      },
      end: resolve,
    }),
  );
  await seen.until(() => isEnded);
  await channel.ping(never);
  const closing = server.close();
  await channel.ping(never);
  release();
  expect(await ended).toBeUndefined();
  expect(bytes).toBe(2_000_000);
  await closing;
});

test("close does not wait for a client that has its answer and does not read it, and takes nothing of it away", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const { server, url } = await startFrameServer({
    clock,
    frames: {
      [both]: (it) => {
        for (let n = 0; n < 6; n++) it.send(new Uint8Array(10_000));
        it.end();
        return { frames() {} };
      },
    },
  });
  const stream = openSession(url).request({ ...grpc, ":path": both }, { endStream: false });
  stream.on("error", () => {});
  const trailers = new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once("trailers", resolve));
  stream.pause();
  await new Promise<void>((resolve) => stream.once("response", () => resolve()));
  await server.close();
  expect((await trailers)["grpc-status"]).toBe("0");
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
  const ended = new Promise<void>((resolve) => stream.once("end", resolve));
  stream.resume();
  await ended;
  expect(bytes).toBe(6 * 10_005);
});

test("clients that end their calls by themselves see the same as ever", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const { server, url } = await startFrameServer({ clock, frames: { [both]: echoFrames() } });
  const outgoing = source<Uint8Array>();
  outgoing.push(encode("a"));
  const answers = openChannel({ baseUrl: url }).stream(both).start(outgoing);
  await answers.next();
  const closing = server.close();
  await expect(answers.next()).rejects.toMatchObject({ code: Code.Unavailable, rawMessage: "the server is closing" });
  await closing;
  await expect(collect(openChannel({ baseUrl: url }).stream(both).start(of()))).rejects.toMatchObject({
    code: Code.Unavailable,
  });
});
