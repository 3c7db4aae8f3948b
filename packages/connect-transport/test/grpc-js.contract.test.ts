// Both directions with @grpc/grpc-js, of which there are more clients and servers than of any other gRPC on Node.

import { once } from "node:events";
import * as grpc from "@grpc/grpc-js";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { createSimulation } from "@tidemark/clock/testing";
import type { FrameCall } from "@tidemark/connect-transport";
import { expect, test } from "vitest";
import { decode, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { message, openGrpcJsClient, startGrpcJsServer } from "./support/grpc-js.ts";
import { both, collect, of, Seen, source, Test, text, textOf } from "./support/service.ts";

const never = new AbortController().signal;
const hourMs = 3_600_000;

const failureOf = (call: Promise<unknown>): Promise<ConnectError> =>
  call.then(
    () => Promise.reject(new Error("expected the call to fail")),
    (error: unknown) => error as ConnectError,
  );

test("their client, our server: unary calls, their errors, headers and trailers", async () => {
  const { url, seen } = await startFrameServer();
  const client = openGrpcJsClient(url);
  const metadata = new grpc.Metadata();
  metadata.set("x-mine", "1");
  metadata.set("x-bytes-bin", Buffer.from([0, 1, 2]));
  const good = await client.once("a", metadata).answer;
  expect(good.messages.map(decode)).toEqual(["a"]);
  expect(good.status.code).toBe(grpc.status.OK);
  expect([good.header.get("x-header"), good.status.metadata.get("x-trailer")]).toEqual([["above"], ["below"]]);
  expect([seen.headers[0]?.get("x-mine"), seen.headers[0]?.get("x-bytes-bin")]).toEqual(["1", "AAEC"]);
  const { status } = await client.once("fail").answer;
  // Connect escapes the comma, too, which grpc-js does not undo. In frames it is as gRPC has it.
  expect(status).toMatchObject({ code: grpc.status.PERMISSION_DENIED, details: "nicht für dich%2C 100%" });
  expect(status.metadata.get("x-hint")).toEqual(["ask first"]);
  expect(Buffer.concat(status.metadata.get("grpc-status-details-bin") as Buffer[]).includes("the detail")).toBe(true);
});

test("their client, our frames: order, half close, an error after answers, an end before the request's", async () => {
  const { url } = await startFrameServer();
  const client = openGrpcJsClient(url);
  const echo = client.both();
  for (const word of ["a", "", "b"]) echo.write(message(word));
  echo.end();
  const all = await echo.answer;
  expect(all.messages.map(decode)).toEqual(["a", "", "b"]);
  expect(all.status.code).toBe(grpc.status.OK);
  const failing = client.both();
  for (const word of ["a", "b", "fail"]) failing.write(message(word));
  const failed = await failing.answer;
  expect(failed.messages.map(decode)).toEqual(["a", "b"]);
  expect(failed.status).toMatchObject({ code: grpc.status.PERMISSION_DENIED, details: "nicht für dich, 100%" });
  const left = client.both();
  for (const word of ["a", "enough"]) left.write(message(word));
  const ended = await left.answer;
  expect(ended.messages.map(decode)).toEqual(["a"]);
  expect(ended.status.code).toBe(grpc.status.OK);
});

test("their client, our frames: messages of 5 MB, and thousands of small ones", async () => {
  const { url } = await startFrameServer();
  const call = openGrpcJsClient(url).both();
  const sizes = [5_000_000, 0, 16_379, 16_380, 70_000, ...Array.from({ length: 3000 }, (_, n) => n % 200)];
  for (const size of sizes) call.write(message("x".repeat(size)));
  call.end();
  const { messages, status } = await call.answer;
  expect(status.code).toBe(grpc.status.OK);
  expect(messages.map((bytes) => decode(bytes).length)).toEqual(sizes);
});

test("their client, our server: its cancellation is one, and its deadline ends the call on our side as well", async () => {
  const simulation = createSimulation({ seed: 1 });
  const calls: FrameCall[] = [];
  const seen = new Seen();
  const { url } = await startFrameServer({
    clock: simulation.clock,
    // In no time it would miss all answers.
    pingIntervalMs: 2 * hourMs,
    frames: {
      [both]: (call) => {
        calls.push(call);
        call.signal.addEventListener("abort", () => {
          seen.aborts.push(call.signal.reason);
          seen.note();
        });
        seen.note();
        return { frames() {} };
      },
    },
  });
  const client = openGrpcJsClient(url);
  const canceled = client.both();
  await seen.until(() => calls.length === 1);
  expect(calls[0]?.deadlineMs).toBeUndefined();
  canceled.cancel();
  expect((await canceled.answer).status.code).toBe(grpc.status.CANCELLED);
  await seen.until(() => seen.aborts.length === 1);
  expect(seen.aborts[0]).toMatchObject({ code: Code.Canceled });
  const late = client.both(new grpc.Metadata(), { deadline: Date.now() + hourMs });
  await seen.until(() => calls.length === 2);
  expect(calls[1]?.deadlineMs).toBeGreaterThan(hourMs - 60_000);
  await simulation.advance(hourMs);
  expect((await late.answer).status.code).toBe(grpc.status.DEADLINE_EXCEEDED);
  await seen.until(() => seen.aborts.length === 2);
  expect(seen.aborts[1]).toMatchObject({ code: Code.DeadlineExceeded });
});

test("their client, our server: what it compresses, and what nobody serves, is refused with a reason", async () => {
  const { url } = await startFrameServer();
  const gzip = openGrpcJsClient(url, {
    "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
  }).both();
  gzip.write(message("x".repeat(1000)));
  const { status } = await gzip.answer;
  expect(status).toMatchObject({ code: grpc.status.UNIMPLEMENTED, details: expect.stringContaining("compression") });
  const { url: elsewhere } = await startFrameServer({ frames: {}, routes: () => {} });
  expect((await openGrpcJsClient(elsewhere).once("a").answer).status.code).toBe(grpc.status.UNIMPLEMENTED);
});

test("their client, our server: a farewell lets its call finish, and streams hear that the server closes", async () => {
  const { clock } = createSimulation({ seed: 1 });
  let finish = () => {};
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const seen = new Seen();
  const { url, server } = await startFrameServer(
    {
      clock,
      routes: (router) =>
        router.service(Test, {
          async once(request) {
            seen.timeouts.push(undefined);
            seen.note();
            await finished;
            return request;
          },
        }),
    },
    seen,
  );
  const client = openGrpcJsClient(url);
  const unary = client.once("last");
  const stream = client.both();
  await seen.until(() => seen.timeouts.length === 1 && seen.headers.length === 1);
  const closing = server.close();
  expect((await stream.answer).status).toMatchObject({
    code: grpc.status.UNAVAILABLE,
    details: "the server is closing",
  });
  finish();
  expect((await unary.answer).messages.map(decode)).toEqual(["last"]);
  await closing;
  expect((await client.once("late").answer).status.code).toBe(grpc.status.UNAVAILABLE);
});

test("their client, our server: it answers our pings, however many", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { url, server } = await startFrameServer({ clock: simulation.clock, pingIntervalMs: 1000 });
  const call = openGrpcJsClient(url).both();
  for (let n = 0; n < 20; n++) {
    call.write(message(String(n)));
    await once(call, "data");
    await simulation.advance(1000);
  }
  expect(server.connections).toBe(1);
  call.end();
  expect((await call.answer).messages).toHaveLength(20);
});

test("our client, their server: unary calls, their errors, headers and trailers", async () => {
  const seen = new Seen();
  const { url } = await startGrpcJsServer(seen);
  const client = createClient(Test, openChannel({ baseUrl: url }).transport);
  const got: (string | null)[] = [];
  const options = {
    headers: { "x-mine": "1" },
    onHeader: (headers: Headers) => got.push(headers.get("x-header")),
    onTrailer: (trailers: Headers) => got.push(trailers.get("x-trailer")),
  };
  expect(textOf(await client.once(text("a"), options))).toBe("a");
  expect((await collect(client.both(of(text("a"), text("b")), options))).map(textOf)).toEqual(["a", "b"]);
  expect(got).toEqual(["above", "below", "above", "below"]);
  expect(seen.headers.map((headers) => headers.get("x-mine"))).toEqual(["1", "1"]);
  for (const call of [() => client.once(text("fail")), () => collect(client.both(of(text("fail"))))]) {
    const error = await failureOf(call());
    expect(error).toMatchObject({ code: Code.PermissionDenied, rawMessage: "nicht für dich, 100%" });
    expect(error.metadata.get("x-hint")).toBe("ask first");
    expect(error.findDetails(BytesValueSchema)).toEqual([]);
  }
});

test("our client, their server: order, half close, an error after answers, an end before the request's", async () => {
  const { url } = await startGrpcJsServer(new Seen());
  const channel = openChannel({ baseUrl: url });
  expect((await collect(channel.stream(both).start(of(encode("a"), encode(""), encode("b"))))).map(decode)).toEqual([
    "a",
    "",
    "b",
  ]);
  const requests = source<Uint8Array>();
  requests.push(encode("a"));
  const answers = channel.stream(both).start(requests);
  expect(decode((await answers.next()).value as Uint8Array)).toBe("a");
  requests.push(encode("fail"));
  await expect(answers.next()).rejects.toMatchObject({ code: Code.PermissionDenied });
  const endless = source<Uint8Array>();
  for (const word of ["a", "enough"]) endless.push(encode(word));
  expect((await collect(channel.stream(both).start(endless))).map(decode)).toEqual(["a"]);
});

test("our client, their server: large messages, and what it does not take", async () => {
  const { url } = await startGrpcJsServer(new Seen());
  const channel = openChannel({ baseUrl: url });
  const sizes = [3_000_000, 0, 16_379, 16_380, 70_000, ...Array.from({ length: 3000 }, (_, n) => n % 200)];
  const frames = sizes.map((size) => encode("x".repeat(size)));
  expect((await collect(channel.stream(both).start(of(...frames)))).map((frame) => decode(frame).length)).toEqual(
    sizes,
  );
  // Its own limit is 4 MiB.
  await expect(collect(channel.stream(both).start(of(encode("x".repeat(5_000_000)))))).rejects.toMatchObject({
    code: Code.ResourceExhausted,
  });
  expect(await collect(channel.stream(both).start(of(encode("still here"))))).toHaveLength(1);
});

test("our client, their server: a cancellation is one, and a deadline travels and ends the call", async () => {
  const simulation = createSimulation({ seed: 1 });
  const seen = new Seen();
  const { url } = await startGrpcJsServer(seen);
  const channel = openChannel({ baseUrl: url, clock: simulation.clock });
  const stream = channel.stream(both);
  const answers = stream.start(source<Uint8Array>());
  await seen.until(() => seen.headers.length === 1);
  const reason = new Error("enough");
  stream.cancel(reason);
  await expect(answers.next()).rejects.toBe(reason);
  await seen.until(() => seen.aborts.length === 1);
  const late = channel.stream(both, { timeoutMs: hourMs }).start(source<Uint8Array>());
  const end = late.next();
  await seen.until(() => seen.headers.length === 2);
  expect(Math.abs((seen.timeouts[1] as number) - Date.now() - hourMs)).toBeLessThan(60_000);
  await Promise.all([expect(end).rejects.toMatchObject({ code: Code.DeadlineExceeded }), simulation.advance(hourMs)]);
  await seen.until(() => seen.aborts.length === 2);
});

test("our client, their server: a farewell lets our calls finish, and the next one goes elsewhere", async () => {
  const seen = new Seen();
  const { url, server } = await startGrpcJsServer(seen);
  const channel = openChannel({ baseUrl: url });
  const requests = source<Uint8Array>();
  const answers = channel.stream(both).start(requests);
  await seen.until(() => seen.headers.length === 1);
  const down = new Promise<void>((resolve, reject) =>
    server.tryShutdown((error) => (error === undefined ? resolve() : reject(error))),
  );
  requests.push(encode("still served"));
  expect(decode((await answers.next()).value as Uint8Array)).toBe("still served");
  requests.end();
  expect((await answers.next()).done).toBe(true);
  await down;
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
});

test("our client, their server: pings are answered both ways while a call is open", async () => {
  const simulation = createSimulation({ seed: 1 });
  const seen = new Seen();
  const keepalive = { "grpc.keepalive_time_ms": 1, "grpc.keepalive_timeout_ms": 60_000 };
  const { url } = await startGrpcJsServer(seen, keepalive);
  const channel = openChannel({ baseUrl: url, clock: simulation.clock, pingIntervalMs: 1000 });
  const requests = source<Uint8Array>();
  const answers = channel.stream(both).start(requests);
  for (let n = 0; n < 20; n++) {
    requests.push(encode(String(n)));
    expect(decode((await answers.next()).value as Uint8Array)).toBe(String(n));
    await channel.ping(never);
    await simulation.advance(1000);
  }
  requests.end();
  expect((await answers.next()).done).toBe(true);
});
