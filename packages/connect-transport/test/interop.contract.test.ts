// Everybody with everybody: connect's own client and server are the measure of ours.

import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { expect, onTestFinished, test } from "vitest";
import { openChannel, startFrameServer } from "./support/frame-service.ts";
import { collect, of, Seen, source, startStockServer, Test, text, textOf } from "./support/service.ts";

interface Pair {
  readonly transport: Transport;
  readonly seen: Seen;
  /** A transport that applies these to the same server. */
  with(...interceptors: Interceptor[]): Transport;
}

const servers = {
  "connect's server": async (seen: Seen) => (await startStockServer(seen)).url,
  "our server, through routes": async (seen: Seen) => (await startFrameServer({ frames: {} }, seen)).url,
  "our server, in frames": async (seen: Seen) => (await startFrameServer({}, seen)).url,
};

const clients = {
  "connect's client"(url: string, interceptors: Interceptor[] = []): Transport {
    const sessionManager = new Http2SessionManager(url);
    onTestFinished(() => sessionManager.abort());
    return createGrpcTransport({ baseUrl: url, sessionManager, interceptors });
  },
  "our client": (url: string, interceptors: Interceptor[] = []): Transport =>
    openChannel({ baseUrl: url, interceptors }).transport,
};

function between(name: string, run: (pair: Pair, server: string) => Promise<void>): void {
  for (const [clientName, openClient] of Object.entries(clients)) {
    for (const [serverName, start] of Object.entries(servers)) {
      test(`${name} (${clientName}, ${serverName})`, async () => {
        const seen = new Seen();
        const url = await start(seen);
        const pair = {
          transport: openClient(url),
          seen,
          with: (...interceptors: Interceptor[]) => openClient(url, interceptors),
        };
        await run(pair, serverName);
      });
    }
  }
}

const thrownBy = async (call: Promise<unknown>): Promise<ConnectError> => {
  try {
    await call;
  } catch (error) {
    return error as ConnectError;
  }
  throw new Error("expected the call to fail");
};

between("calls of every kind get their answers", async ({ transport }) => {
  const client = createClient(Test, transport);
  expect(textOf(await client.once(text("one")))).toBe("one");
  expect((await collect(client.down(text("3")))).map(textOf)).toEqual(["0", "1", "2"]);
  expect(textOf(await client.up(of(text("a"), text("b"))))).toBe("2");
  expect((await collect(client.both(of(text("a"), text("b"), text(""))))).map(textOf)).toEqual(["a", "b", ""]);
  expect(await collect(client.both(of()))).toEqual([]);
});

between("answers come while the request goes on", async ({ transport }) => {
  const client = createClient(Test, transport);
  const requests = source<ReturnType<typeof text>>();
  requests.push(text("first"));
  const answers = client.both(requests)[Symbol.asyncIterator]();
  for (const word of ["first", "second", "third"]) {
    if (word !== "first") requests.push(text(word));
    expect(textOf((await answers.next()).value)).toBe(word);
  }
  requests.end();
  expect((await answers.next()).done).toBe(true);
});

between("large and many messages arrive whole and in order", async ({ transport }) => {
  const client = createClient(Test, transport);
  const sizes = [3_000_000, 0, 1, 16_379, 16_380, 70_000, ...Array.from({ length: 3000 }, (_, n) => n % 200)];
  const requests = sizes.map((size, n) => ({ value: Buffer.alloc(size, n) }));
  const answers = await collect(client.both(of(...requests)));
  expect(answers.length).toBe(requests.length);
  for (const [n, { value }] of answers.entries()) {
    expect(Buffer.compare(value, requests[n]?.value as Buffer)).toBe(0);
  }
});

between("errors arrive with code, message, details and metadata", async ({ transport }) => {
  const client = createClient(Test, transport);
  const calls = [
    () => client.once(text("fail")),
    () => client.up(of(text("fail"))),
    () => collect(client.both(of(text("fail")))),
  ];
  for (const call of calls) {
    const error = await thrownBy(call());
    expect(error).toMatchObject({ code: Code.PermissionDenied, rawMessage: "nicht für dich, 100%" });
    expect(error.findDetails(BytesValueSchema).map(textOf)).toEqual(["the detail"]);
    expect(error.metadata.get("x-hint")).toBe("ask first");
  }
});

between("an error after answers comes after them", async ({ transport }) => {
  const client = createClient(Test, transport);
  const got: string[] = [];
  const error = await thrownBy(
    (async () => {
      for await (const answer of client.both(of(text("a"), text("b"), text("fail")))) got.push(textOf(answer));
    })(),
  );
  expect(error.code).toBe(Code.PermissionDenied);
  expect(got).toEqual(["a", "b"]);
});

between("a server that has had enough ends a call that still sends", async ({ transport }) => {
  const client = createClient(Test, transport);
  const requests = source<ReturnType<typeof text>>();
  requests.push(text("a"));
  requests.push(text("enough"));
  expect((await collect(client.both(requests))).map(textOf)).toEqual(["a"]);
});

between("headers and trailers travel both ways", async ({ transport, seen }, server) => {
  const client = createClient(Test, transport);
  const got: string[] = [];
  const options = {
    headers: { "x-mine": "1", "x-bytes-bin": "AAEC" },
    onHeader: (headers: Headers) => got.push(headers.get("x-header") ?? ""),
    onTrailer: (trailers: Headers) => got.push(trailers.get("x-trailer") ?? ""),
  };
  await client.once(text("a"), options);
  await collect(client.both(of(text("a")), options));
  expect(got).toEqual(
    server === "our server, in frames" ? ["above", "below", "", ""] : ["above", "below", "above", "below"],
  );
  for (const headers of seen.headers) {
    expect(headers.get("x-mine")).toBe("1");
    expect(headers.get("x-bytes-bin")).toBe("AAEC");
  }
});

between("a canceled stream is seen as canceled on both sides", async ({ transport, seen }) => {
  const client = createClient(Test, transport);
  const controller = new AbortController();
  const requests = source<ReturnType<typeof text>>();
  requests.push(text("a"));
  const error = await thrownBy(
    (async () => {
      for await (const _ of client.both(requests, { signal: controller.signal }))
        controller.abort(new Error("no more"));
    })(),
  );
  expect(error).toMatchObject({ code: Code.Canceled, rawMessage: "no more" });
  await seen.until(() => seen.aborts.length > 0);
});

between("a deadline ends the call on both sides", async ({ transport, seen }) => {
  const client = createClient(Test, transport);
  const requests = source<ReturnType<typeof text>>();
  requests.push(text("hang"));
  const calls = [
    () => client.once(text("hang"), { timeoutMs: 100 }),
    () => collect(client.both(requests, { timeoutMs: 100 })),
  ];
  for (const call of calls) {
    const before = seen.aborts.length;
    // Where the machine is so busy that the deadline passes on the way, the server has heard nothing of the call.
    do expect(await thrownBy(call())).toMatchObject({ code: Code.DeadlineExceeded });
    while (seen.aborts.length === before);
  }
});

between("a method that nobody serves is unimplemented", async ({ transport }) => {
  const other = { ...Test.method.both, name: "Nowhere", parent: Test } as unknown as typeof Test.method.both;
  const call = async () => {
    const answer = await transport.stream(other, undefined, undefined, undefined, of(text("a")));
    await collect(answer.message);
  };
  expect(await thrownBy(call())).toMatchObject({ code: Code.Unimplemented });
});

between("interceptors see streams and unary calls, and can change both", async (pair) => {
  const saw: string[] = [];
  const transport = pair.with((next) => async (request) => {
    saw.push(`${request.method.name} ${request.stream} ${new URL(request.url).pathname}`);
    request.header.set("x-mine", "from the interceptor");
    const response = await next(request);
    saw.push(`answered ${response.stream}`);
    return response;
  });
  const client = createClient(Test, transport);
  await client.once(text("a"));
  expect((await collect(client.both(of(text("a"), text("b"))))).map(textOf)).toEqual(["a", "b"]);
  expect(saw).toEqual(["Once false /test.Test/Once", "answered false", "Both true /test.Test/Both", "answered true"]);
  expect(pair.seen.headers.map((headers) => headers.get("x-mine"))).toEqual(Array(2).fill("from the interceptor"));
});

between("an error in the source ends the call on both sides and comes out of it", async ({ transport, seen }) => {
  const client = createClient(Test, transport);
  let isAnswered = () => {};
  const answered = new Promise<void>((resolve) => (isAnswered = resolve));
  async function* broken() {
    yield text("a");
    await answered;
    throw new Error("the source broke");
  }
  const error = await thrownBy(
    (async () => {
      for await (const _ of client.both(broken())) isAnswered();
    })(),
  );
  expect(error).toBeInstanceOf(ConnectError);
  expect(error.rawMessage).toBe("the source broke");
  await seen.until(() => seen.aborts.length > 0);
});
