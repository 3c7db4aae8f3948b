import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { openTestServer, rawClient } from "./support.ts";
import { shiftedClock } from "./support/set-up.ts";

const minuteMs = 60_000;
type Query = ReturnType<typeof rawClient>["query"];

const begin = async (query: Query, sessionId: string) => (await query.beginTransaction({ sessionId })).status;

test("a session that nobody is attached to ends ten minutes after its last call, one with a client not at all", async () => {
  const { clock, forward } = shiftedClock();
  const server = await openTestServer({ clock, maintenanceIntervalMs: 3_600_000 });
  const { query } = rawClient(server);
  const [attached, used, unused] = await Promise.all(
    [1, 2, 3].map(async () => (await query.createSession({})).sessionId),
  );
  const states = query.attachSession({ sessionId: attached ?? "" })[Symbol.asyncIterator]();
  expect((await states.next()).value?.status).toBe(StatusCode.SUCCESS);
  const { txMeta } = await query.beginTransaction({ sessionId: used ?? "" });
  forward(9 * minuteMs);
  await server.store.maintain();
  expect((await query.rollbackTransaction({ sessionId: used ?? "", txId: txMeta?.id ?? "" })).status).toBe(
    StatusCode.SUCCESS,
  );
  forward(2 * minuteMs);
  await server.store.maintain();
  expect(await begin(query, unused ?? "")).toBe(StatusCode.BAD_SESSION);
  expect(await begin(query, used ?? "")).toBe(StatusCode.SUCCESS);
  forward(60 * minuteMs);
  await server.store.maintain();
  expect(await begin(query, used ?? "")).toBe(StatusCode.BAD_SESSION);
  expect(await begin(query, attached ?? "")).toBe(StatusCode.SUCCESS);
  await states.return?.();
});

test("of sessions that nobody is attached to there are a thousand at most", async () => {
  const { clock, forward } = shiftedClock();
  const server = await openTestServer({ clock, maintenanceIntervalMs: 3_600_000 });
  const { query } = rawClient(server);
  const open = async () => {
    const { sessionId, status, issues } = await query.createSession({});
    return { sessionId, status, text: issues[0]?.message };
  };
  const first = await open();
  for (let n = 1; n < 1_000; n++) await open();
  expect(await open()).toEqual({
    sessionId: "",
    status: StatusCode.OVERLOADED,
    text: expect.stringContaining("1000 sessions") as string,
  });
  // Whoever attaches makes room, and so does whoever leaves.
  const states = query.attachSession({ sessionId: first.sessionId })[Symbol.asyncIterator]();
  await states.next();
  const next = await open();
  expect([next.status, (await open()).status]).toEqual([StatusCode.SUCCESS, StatusCode.OVERLOADED]);
  await query.deleteSession({ sessionId: next.sessionId });
  expect([(await open()).status, (await open()).status]).toEqual([StatusCode.SUCCESS, StatusCode.OVERLOADED]);
  // Nor does anybody wait for the next look at those that are over.
  forward(11 * minuteMs);
  expect((await open()).status).toBe(StatusCode.SUCCESS);
  await states.return?.();
});
