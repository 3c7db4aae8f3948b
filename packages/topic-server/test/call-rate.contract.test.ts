// How many calls somebody may begin, counted by a clock that stands until it is set forward.
import { createClient } from "@connectrpc/connect";
import { systemClock } from "@tidemark/clock";
import { AuthService, StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { openTestServer, openWrite, rawClient } from "./support.ts";

const path = "/local/t";
const auth = {
  users: [
    { name: "a", tokens: ["token-of-a"], password: "word-of-a", rights: "all" as const },
    { name: "b", tokens: ["token-of-b"], rights: "all" as const },
  ],
};
const as = (name: string) => ({ "x-ydb-auth-ticket": `token-of-${name}` });

function standingClock() {
  let nowMs = 1000;
  const clock = {
    now: () => systemClock.now(),
    monotonic: () => nowMs,
    setTimer: systemClock.setTimer.bind(systemClock),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: systemClock.sleep.bind(systemClock),
  };
  return { clock, forward: (ms: number) => void (nowMs += ms) };
}

test("each user may begin so many calls a second, and is OVERLOADED above; who asks too often holds up nobody else", async () => {
  const { clock, forward } = standingClock();
  const server = await openTestServer({ auth, clock, maxCallsPerSecond: 3 });
  const [a, b] = [rawClient(server, as("a")), rawClient(server, as("b"))];
  expect(await a.createTopic(path)).toBe("SUCCESS");
  // A call counts once, however often it is looked at who makes it.
  await a.describe(path);
  await openWrite(a, path);
  await expect(a.describe(path)).rejects.toThrow(/OVERLOADED: "a" begins more than 3 calls a second/);
  const stream = a.write();
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId: "p" } } });
  expect((await stream.next()).status).toBe(StatusCode.OVERLOADED);
  await b.describe(path);
  forward(400);
  await a.describe(path);
  await expect(a.describe(path)).rejects.toThrow(/OVERLOADED/);
});

test("logging in counts for all who do it together, right or wrong", async () => {
  const { clock, forward } = standingClock();
  const server = await openTestServer({ auth, clock, maxCallsPerSecond: 2 });
  const login = createClient(AuthService, rawClient(server).transport);
  const status = async (password: string) => (await login.login({ user: "a", password })).operation?.status;
  expect(await status("wrong")).toBe(StatusCode.UNAUTHORIZED);
  expect(await status("wrong")).toBe(StatusCode.UNAUTHORIZED);
  expect(await status("word-of-a")).toBe(StatusCode.OVERLOADED);
  forward(1000);
  expect(await status("word-of-a")).toBe(StatusCode.SUCCESS);
});

test("another rate holds from now on, and streams that are open go on", async () => {
  const { clock } = standingClock();
  const server = await openTestServer({ clock });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream } = await openWrite(client, path);
  server.update({ maxCallsPerSecond: 1 });
  await client.describe(path);
  await expect(client.describe(path)).rejects.toThrow(/OVERLOADED/);
  const value = { messages: [{ seqNo: 1n, data: new Uint8Array(1), uncompressedSize: 1n }], codec: 1 };
  stream.send({ clientMessage: { case: "writeRequest", value } });
  expect((await stream.next()).serverMessage.case).toBe("writeResponse");
});

test("a rate that is none is refused", async () => {
  for (const maxCallsPerSecond of [0, -1, Number.NaN]) {
    await expect(openTestServer({ maxCallsPerSecond })).rejects.toThrow(/OPTIONS_INVALID.*maxCallsPerSecond/);
  }
});
