import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { CompactionGuard } from "../src/compaction-guard.ts";
import { Gate } from "../src/gate.ts";
import { Heartbeat } from "../src/heartbeat.ts";
import { nextPageLimit, smallerPageLimit } from "../src/page-limit.ts";
import { ProgressSeeker } from "../src/progress-seeker.ts";
import { serverTraits } from "../src/server-version.ts";
import { formatEpoch, parseEpoch, replacedBecause } from "../src/store-identity.ts";
import { TokenSource } from "../src/token-source.ts";

function heart() {
  const simulation = createSimulation({ seed: 1 });
  const said: string[] = [];
  const say = (what: string) => said.push(`${what} ${simulation.clock.monotonic()}`);
  const heartbeat = new Heartbeat({
    clock: simulation.clock,
    intervalMs: 5_000,
    silenceMs: 15_000,
    ask: () => say("ask"),
    onSilent: () => say("silent"),
  });
  return { simulation, said, heartbeat };
}

test("H12: asks when it is silent, and gives up once when asking does not help", async () => {
  const { simulation, said } = heart();
  await simulation.advance(60_000);
  expect(said).toEqual(["ask 5000", "ask 10000", "silent 15000"]);
});

test("H12: nothing is asked while there is something to hear", async () => {
  const { simulation, said, heartbeat } = heart();
  for (let second = 0; second < 30; second++) {
    await simulation.advance(1_000);
    heartbeat.seen();
  }
  expect(said).toEqual([]);
  await simulation.advance(14_999);
  expect(said).toEqual(["ask 35000", "ask 40000"]);
  heartbeat.stop();
  await simulation.advance(60_000);
  expect(said).toHaveLength(2);
});

test("H12: while we do not listen nobody is silent", async () => {
  const { simulation, said, heartbeat } = heart();
  heartbeat.hold();
  await simulation.advance(600_000);
  expect(said).toEqual([]);
  heartbeat.release();
  await simulation.advance(14_999);
  expect(said.filter((each) => each.startsWith("silent"))).toEqual([]);
  await simulation.advance(1);
  expect(said.at(-1)).toBe("silent 615000");
});

test("seeks soon, then ever slower, and is not put off by those who ask often", async () => {
  const simulation = createSimulation({ seed: 1 });
  const soughtAt: number[] = [];
  let isReached = false;
  const seeker = new ProgressSeeker({
    clock: simulation.clock,
    isReached: () => isReached,
    seek: () => void soughtAt.push(simulation.clock.monotonic()),
  });
  seeker.start();
  await simulation.advance(5_000);
  expect(soughtAt).toEqual([10, 40, 130, 400, 1_210, 2_210, 3_210, 4_210]);
  for (let ms = 0; ms < 1_000; ms += 5) {
    seeker.start();
    await simulation.advance(5);
  }
  expect(soughtAt.length).toBeGreaterThan(60);
  isReached = true;
  await simulation.advance(10_000);
  const count = soughtAt.length;
  seeker.start();
  await simulation.advance(10_000);
  expect(soughtAt).toHaveLength(count);
});

test("a seeker that fails goes on, and one that is stopped does not", async () => {
  const simulation = createSimulation({ seed: 1 });
  let seeks = 0;
  const seeker = new ProgressSeeker({
    clock: simulation.clock,
    isReached: () => false,
    seek: () => Promise.reject(new Error(`no ${++seeks}`)),
  });
  seeker.start();
  await simulation.advance(100);
  expect(seeks).toBe(2);
  seeker.stop();
  seeker.start();
  await simulation.advance(10_000);
  expect(seeks).toBe(2);
});

test("a server's traits follow its version, and an unknown one gets the careful answer", () => {
  const traits = (version?: string) => {
    const { hasOrderedProgress, mayIgnoreProgress, mayLoseOnCompaction } = serverTraits(version);
    return [hasOrderedProgress, mayIgnoreProgress, mayLoseOnCompaction];
  };
  for (const version of [undefined, "", "weird", "3.3.27", "3.4.23", "3.4.24", "3.5.7", "2.3.8"]) {
    expect(traits(version), version).toEqual([false, false, true]);
  }
  for (const version of ["3.4.25", "3.4.30", "3.5.8", "3.5.12"])
    expect(traits(version), version).toEqual([true, true, true]);
  for (const version of ["3.4.31", "3.4.45", "3.5.13", "3.6.0", "3.6.0-rc.1", "4.0.0"]) {
    expect(traits(version), version).toEqual([true, false, false]);
  }
});

test("an epoch is text and back", () => {
  for (const idleEntries of [3n, -47n, undefined]) {
    const identity = { clusterId: 0xcdf818194e3a8c32n, generation: 2, idleEntries };
    expect(parseEpoch(formatEpoch(identity))).toEqual(identity);
  }
  expect(formatEpoch({ clusterId: 0xabcn, generation: 0, idleEntries: 4n })).toBe("abc.0.4");
  for (const text of ["", "abc", "abc.0", "xyz.0.1", "abc.0.1.2"]) expect(parseEpoch(text)).toBeUndefined();
});

test("a store is another one when its id, its revision or its log contradicts what we know", () => {
  const known = { clusterId: 1n, generation: 0, idleEntries: 5n };
  const judge = (seen: Partial<Parameters<typeof replacedBecause>[2]>) =>
    replacedBecause(known, 100n, { clusterId: 1n, revision: 200n, idleEntries: 7n, ...seen });
  expect(judge({})).toBeUndefined();
  expect(judge({ revision: 100n, idleEntries: 5n })).toBeUndefined();
  expect(judge({ idleEntries: undefined })).toBeUndefined();
  expect(judge({ clusterId: 2n })).toContain("cluster's id is 2 now");
  expect(judge({ revision: 99n })).toContain("at revision 99, but we have followed it to 100");
  expect(judge({ idleEntries: 4n })).toContain("4 entries without a revision, and had 5 before");
});

test("pages grow slowly, shrink at once, and never ask for nothing", () => {
  const limits = { firstKeys: 200, maxKeys: 8_192, targetBytes: 2 << 20 };
  expect(nextPageLimit(limits, 200, 200, 200 * 100)).toBe(800);
  expect(nextPageLimit(limits, 8_000, 8_000, 8_000 * 100)).toBe(8_192);
  expect(nextPageLimit(limits, 800, 800, 800 * 1_000_000)).toBe(2);
  expect(nextPageLimit(limits, 1, 1, 100_000_000)).toBe(1);
  expect(nextPageLimit(limits, 200, 0, 0)).toBe(200);
  expect([smallerPageLimit(800), smallerPageLimit(3)]).toEqual([100, 1]);
});

test("the guard asks before something live while the watch may be behind, and at the end of the past", () => {
  const guard = new CompactionGuard();
  expect(guard.mustAskBefore(true)).toBe(false);
  expect(guard.mustAskAfter(true, false)).toBe(false);
  // A full batch of the past needs no question, what is live after it does.
  expect([guard.mustAskBefore(false), guard.mustAskAfter(false, true)]).toEqual([false, false]);
  expect(guard.mustAskBefore(true)).toBe(true);
  guard.cleared();
  expect(guard.mustAskBefore(true)).toBe(false);
  expect(guard.mustAskAfter(false, false)).toBe(true);
  guard.cleared();
  guard.held();
  expect(guard.mustAskBefore(true)).toBe(true);
});

test("P9: everybody who waits at a gate settles, and nobody leaves a listener behind", async () => {
  const gate = new Gate<number>();
  const controller = new AbortController();
  const reason = new Error("enough");
  const waiting = gate.pass(controller.signal);
  const patient = gate.pass(new AbortController().signal);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  gate.open(1);
  expect(await patient).toBe(1);
  expect(await gate.pass(new AbortController().signal)).toBe(1);
  gate.shut();
  const later = gate.pass(new AbortController().signal);
  gate.open(2);
  expect(await later).toBe(2);
});

test("a token is asked for once, kept, and replaced when it is called invalid", async () => {
  const tokens = new TokenSource({ user: "u", password: "p" });
  let asked = 0;
  const authenticate = () => Promise.resolve(`token ${++asked}`);
  expect(await Promise.all([tokens.token(authenticate), tokens.token(authenticate)])).toEqual(["token 1", "token 1"]);
  tokens.invalidate("token 1");
  expect(await tokens.token(authenticate)).toBe("token 2");
  // Somebody is late to notice.
  tokens.invalidate("token 1");
  expect(await tokens.token(authenticate)).toBe("token 2");
});

test("a token that could not be had is asked for again", async () => {
  const tokens = new TokenSource({ user: "u", password: "p" });
  await expect(tokens.token(() => Promise.reject(new Error("down")))).rejects.toThrow("down");
  expect(await tokens.token(() => Promise.resolve("up"))).toBe("up");
});
