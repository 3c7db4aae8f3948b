import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Authority, type Issued } from "@tidemark/tooling/certificates";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { decode, encode, openChannel, startFrameServer } from "./support/frame-service.ts";
import { both, collect, of, Test, text, textOf } from "./support/service.ts";

let authority: Authority;
let stranger: Authority;
const issued: Record<string, Issued> = {};

beforeAll(async () => {
  [authority, stranger] = await Promise.all([Authority.create(), Authority.create()]);
  for (const name of ["server", "client"]) issued[name] = await authority.issue(name, "IP:127.0.0.1");
  issued["elsewhere"] = await authority.issue("elsewhere", "DNS:elsewhere.example");
  issued["foreign"] = await stranger.issue("foreign", "IP:127.0.0.1");
});

afterAll(() => Promise.all([authority.remove(), stranger.remove()]));

const ca = () => authority.ca;
const own = (name: string) => {
  const { cert, key } = issued[name] as Issued;
  return { cert, key };
};

test("frames, routes and connect's own client work over TLS", async () => {
  const { url } = await startFrameServer({ tls: own("server") });
  expect(url).toMatch(/^https:/);
  const channel = openChannel({ baseUrl: url, tls: { ca: ca() } });
  const large = encode("x".repeat(300_000));
  expect((await collect(channel.stream(both).start(of(encode("a"), large)))).map((frame) => frame.length)).toEqual([
    3,
    large.length,
  ]);
  expect(textOf(await createClient(Test, channel.transport).once(text("a")))).toBe("a");
  const sessionManager = new Http2SessionManager(url, {}, { ca: ca() });
  onTestFinished(() => sessionManager.abort());
  const stock = createClient(Test, createGrpcTransport({ baseUrl: url, sessionManager }));
  expect((await collect(stock.both(of(text("a"))))).map(textOf)).toEqual(["a"]);
});

test("a server that nobody vouches for is refused", async () => {
  const { url, server } = await startFrameServer({ tls: own("server") });
  const channel = openChannel({ baseUrl: url });
  await expect(collect(channel.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
  expect(server.openCalls).toBe(0);
});

// Who is let in, by what the server asks for and what the client has.
test.each([
  { server: "server", client: undefined, isMutual: false, name: undefined, isIn: true },
  { server: "server", client: "client", isMutual: false, name: undefined, isIn: true },
  { server: "server", client: "client", isMutual: true, name: undefined, isIn: true },
  { server: "server", client: undefined, isMutual: true, name: undefined, isIn: false },
  { server: "server", client: "foreign", isMutual: true, name: undefined, isIn: false },
  { server: "foreign", client: "client", isMutual: true, name: undefined, isIn: false },
  { server: "elsewhere", client: undefined, isMutual: false, name: undefined, isIn: false },
  { server: "elsewhere", client: undefined, isMutual: false, name: "elsewhere.example", isIn: true },
])("TLS: $server to $client, mutual $isMutual, as $name: let in $isIn", async (row) => {
  const { url, server } = await startFrameServer({
    tls: { ...own(row.server), ...(row.isMutual && { ca: ca(), requestCert: true }) },
  });
  const channel = openChannel({
    baseUrl: url,
    tls: {
      ca: ca(),
      ...(row.client !== undefined && own(row.client)),
      ...(row.name !== undefined && { servername: row.name }),
    },
  });
  const answers = collect(channel.stream(both).start(of(encode("a"))));
  const unary = createClient(Test, channel.transport).once(text("a"));
  if (row.isIn) {
    expect((await answers).map(decode)).toEqual(["a"]);
    expect(textOf(await unary)).toBe("a");
  } else {
    await expect(answers).rejects.toMatchObject({ code: Code.Unavailable });
    await expect(unary).rejects.toMatchObject({ code: Code.Unavailable });
    expect(server.openCalls).toBe(0);
  }
});

test("plain text on a port with TLS is refused", async () => {
  const { port, url } = await startFrameServer({ tls: own("server") });
  const plain = openChannel({ baseUrl: `http://127.0.0.1:${port}` });
  await expect(collect(plain.stream(both).start(of()))).rejects.toMatchObject({ code: Code.Unavailable });
  const channel = openChannel({ baseUrl: url, tls: { ca: ca() } });
  expect(await collect(channel.stream(both).start(of(encode("a"))))).toHaveLength(1);
});
