import { Code, ConnectError } from "@connectrpc/connect";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { TokenSource } from "../src/client/credentials.ts";
import { DescribeTopicResultSchema } from "../src/gen/ydb/topic_admin_pb.ts";
import { createTopicClient, TopicError } from "../src/index.ts";
import { Authority } from "@tidemark/tooling/certificates";
import { done, startNode, type TestNodeOptions } from "./support/database.ts";
import { Outgoing, roundTrip } from "./support/stream.ts";

const describing: TestNodeOptions = {
  topics: { describeTopic: () => done(DescribeTopicResultSchema, { self: { name: "orders" } }) },
};

function jwt(expiresAtSeconds: number, name = ""): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ exp: expiresAtSeconds, name })}.x`;
}

const noLogin = () => Promise.reject(new Error("nobody logs in here"));

test("logs in once, renews before the token expires, and waits only for the first", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  let logins = 0;
  const wanted: (() => void)[] = [];
  const login = async () => {
    const token = jwt(clock.now() / 1000 + 1000, String(++logins));
    if (logins > 1) await new Promise<void>((resolve) => wanted.push(resolve));
    return token;
  };
  const source = new TokenSource({ user: "root", password: "1234" }, clock, login);
  const [first, same] = await Promise.all([source.get(), source.get()]);
  expect(same).toBe(first);
  expect(logins).toBe(1);
  await simulation.advance(790_000);
  expect(await source.get()).toBe(first);
  expect(logins).toBe(1);
  await simulation.advance(20_000);
  expect(await source.get()).toBe(first);
  expect(logins).toBe(2);
  for (const resolve of wanted) resolve();
  await simulation.advance(1);
  expect(await source.get()).not.toBe(first);
  expect(logins).toBe(2);
});

test("asks a provider each time, shares an answer under way, and takes no longer than it may", async () => {
  const simulation = createSimulation({ seed: 1 });
  let asked = 0;
  const source = new TokenSource({ provider: async () => `token-${++asked}` }, simulation.clock, noLogin);
  expect(await Promise.all([source.get(), source.get()])).toEqual(["token-1", "token-1"]);
  expect(await source.get()).toBe("token-2");
  const hanging = new TokenSource({ provider: () => new Promise(() => {}) }, simulation.clock, noLogin);
  const waiting = hanging.get().catch((error: unknown) => error);
  await simulation.advance(15_000);
  expect(await waiting).toMatchObject({ code: "TIMEOUT" });
  const controller = new AbortController();
  const aborted = hanging.get(controller.signal);
  const reason = new Error("no more");
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
});

test("renews a refused token once, then gives up until one is accepted (X17)", async () => {
  const simulation = createSimulation({ seed: 1 });
  const forced: boolean[] = [];
  const provider = ({ isForced }: { isForced: boolean }) => `token-${forced.push(isForced)}`;
  const source = new TokenSource({ provider }, simulation.clock, noLogin);
  const first = await source.get();
  source.refused(first);
  source.refused(first);
  expect(source.isHopeless).toBe(false);
  const second = await source.get();
  expect(forced).toEqual([false, true]);
  source.refused(second);
  expect(source.isHopeless).toBe(true);
  source.accepted();
  expect(source.isHopeless).toBe(false);
});

test("gets a new token and goes on when the old one is refused, for calls and for streams (X17)", async () => {
  let good = "token-1";
  await using node = await startNode({ ...describing, accepts: (token) => token === good });
  let made = 1;
  const provider = ({ isForced }: { isForced: boolean }) => `token-${isForced ? ++made : made}`;
  await using client = createTopicClient(`grpc://127.0.0.1:${node.port}/local`, { credentials: { provider } });
  await client.describeTopic("orders");
  good = "token-2";
  await client.describeTopic("orders");
  expect(node.calls.at(-1)?.token).toBe("token-2");
  good = "token-3";
  const broken = client.stream("write").start(new Outgoing())[Symbol.asyncIterator]();
  const error: unknown = await broken.next().catch((reason: unknown) => reason);
  expect(client.classify(error)).toBe("fast");
  await roundTrip(client.stream("write"), Uint8Array.of(1));
  expect(node.calls.at(-1)?.token).toBe("token-3");
});

test("does not insist on a fixed token that is refused", async () => {
  await using node = await startNode({ ...describing, accepts: () => false });
  await using client = createTopicClient(`grpc://127.0.0.1:${node.port}/local`, {
    credentials: { token: "stale-secret" },
  });
  const error: unknown = await client.describeTopic("orders").catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "TRANSPORT", cause: { code: Code.Unauthenticated } });
  expect(client.classify(error)).toBe("fatal");
  expect(node.calls.length).toBe(1);
  expect(client.classify(new ConnectError("no", Code.Unauthenticated))).toBe("fatal");
});

test("logs in over the wire, without a token, and says who could not", async () => {
  await using node = await startNode({
    ...describing,
    accepts: (token) => token?.split(".").length === 3,
    login: (user, password) => (password === "right" ? jwt(4e9, user) : undefined),
  });
  const url = `grpc://127.0.0.1:${node.port}/local`;
  await using client = createTopicClient(url, { credentials: { user: "root", password: "right" } });
  await client.describeTopic("orders");
  await client.describeTopic("orders");
  expect(node.count("login")).toBe(1);
  await using stranger = createTopicClient(url, { credentials: { user: "root", password: "wrong-secret" } });
  const error: unknown = await stranger.describeTopic("orders").catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "STATUS", status: "UNAUTHORIZED" });
  expect(String(error)).toContain("Login of root: UNAUTHORIZED: wrong password");
});

test("keeps secrets out of every error", async () => {
  const secret = "hunter2-very-secret";
  const url = "grpc://127.0.0.1:1/local";
  const attempts: (() => unknown)[] = [
    () => createTopicClient(url, { credentials: { token: `${secret}\n` } }),
    () =>
      createTopicClient(url, { credentials: { user: "root", password: secret }, callTimeoutMs: 1 }).describeTopic("a"),
    () => createTopicClient(url, { credentials: { token: secret }, callTimeoutMs: 20 }).describeTopic("a"),
    () => createTopicClient(url, { credentials: { secret } as never }),
  ];
  for (const attempt of attempts) {
    try {
      await attempt();
      expect.unreachable();
    } catch (error) {
      expect(TopicError.is(error)).toBe(true);
      for (let at: unknown = error; at instanceof Error; at = at.cause) {
        expect(`${at.stack}${JSON.stringify(at)}`).not.toContain("hunter2");
      }
    }
  }
});

test("trusts only whom it is told to, and shows its own certificate (TLS, mutual)", async () => {
  const authority = await Authority.create();
  try {
    const server = await authority.issue("server", "DNS:node.ydb.test,IP:127.0.0.1");
    const me = await authority.issue("client", "DNS:client");
    const tls = { ca: authority.ca, cert: server.cert, key: server.key, requestCert: true, rejectUnauthorized: true };
    await using node = await startNode({
      ...describing,
      server: { tls },
      endpoints: (self) => [{ ...self, sslTargetNameOverride: "node.ydb.test" }],
    });
    const url = `grpcs://127.0.0.1:${node.port}/local`;
    await using client = createTopicClient(url, { tls: { ca: authority.ca, cert: me.cert, key: me.key } });
    expect((await client.describeTopic("orders")).name).toBe("orders");
    expect(await roundTrip(client.stream("read"), Uint8Array.of(7))).toEqual(Buffer.of(7));
    await using anybody = createTopicClient(url, {
      tls: { ca: authority.ca },
      callTimeoutMs: 300,
      closeTimeoutMs: 100,
    });
    await expect(anybody.describeTopic("orders")).rejects.toThrow(TopicError);
    // It waits for its second try until its time is over, which is when it knows who is there.
    const simulation = createSimulation({ seed: 1, limitMs: 1e9 });
    const refused = Promise.withResolvers<void>();
    const { clock } = simulation;
    await using suspicious = createTopicClient(url, {
      clock: {
        now: () => clock.now(),
        monotonic: () => clock.monotonic(),
        setTimer: (ms, callback) => clock.setTimer(ms, callback),
        setImmediate: (callback) => clock.setImmediate(callback),
        sleep(_, options) {
          refused.resolve();
          return clock.sleep(1e8, options);
        },
      },
    });
    const failed = expect(suspicious.describeTopic("orders", { timeoutMs: 600_000 })).rejects.toThrow(
      /certificate|self-signed/,
    );
    await refused.promise;
    await simulation.advance(600_000);
    await failed;
  } finally {
    await authority.remove();
  }
  expect(() => createTopicClient("grpc://127.0.0.1/local", { tls: {} })).toThrow(/OPTIONS_INVALID.*grpcs/);
});
