import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { catalogSource } from "@tidemark/source-catalog";
import { expect, test } from "vitest";
import { body, CatalogServer, folder, follow, hang, status } from "./support.ts";

const key = (text: string) => Buffer.from(text);

/** A catalogue with everything that one can have. */
const complete = (url: string) => ({
  name: "apps",
  url: `${url}/list/apps`,
  detailUrl: `${url}/detail/apps/{id}`,
  statusUrl: `${url}/status`,
  eventsUrl: `${url}/events?after={after}&limit={limit}`,
});

test("entries are listed, hydrated, changed and removed, each with its history", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a", name: "A" }, { id: "b", name: "B" });
  const followed = await follow(folder(), { catalogs: [complete(server.url)] });
  const { now, cycle, history } = followed;
  expect(await now()).toMatchObject({
    "/default/apps/a": { entry: { id: "a", name: "A" }, detail: { of: "a" } },
    "/default/apps/b": { entry: { id: "b", name: "B" }, detail: { of: "b" } },
  });
  server.put("apps", { id: "a", name: "A2" });
  server.entries.get("apps")?.delete("b");
  server.put("apps", { id: "c", name: "C" });
  await cycle();
  expect(Object.keys(await now()).toSorted()).toEqual(["/default/@digest", "/default/apps/a", "/default/apps/c"]);
  const log = await history.log("catalogs", key("/default/apps/a"));
  expect(log.items.map(({ value }) => JSON.parse(Buffer.from(value ?? []).toString()).entry.name)).toEqual(["A2", "A"]);
  expect((await history.log("catalogs", key("/default/apps/b"))).items[0]?.value).toBeUndefined();
  expect((await history.fsck()).isClean).toBe(true);
});

test("a list is fetched when its hash changed, or its ETag, and otherwise not", async () => {
  const server = await new CatalogServer().listen();
  server.put("hashed", { id: 1 });
  server.put("tagged", { id: 1 });
  server.put("plain", { id: 1 });
  const { cycle, now } = await follow(folder(), {
    catalogs: [
      { name: "hashed", url: `${server.url}/list/hashed`, hashUrl: `${server.url}/hash/hashed` },
      { name: "tagged", url: `${server.url}/list/tagged` },
    ],
  });
  const before = server.count("/list/tagged");
  await cycle();
  await cycle();
  expect(server.count("/list/hashed")).toBe(1);
  expect(server.count("/hash/hashed")).toBe(before + 2);
  // Asked for in every cycle, and answered without a body.
  expect(server.count("/list/tagged")).toBe(before + 2);
  server.put("hashed", { id: 2 });
  server.put("tagged", { id: 2 });
  await cycle();
  expect(server.count("/list/hashed")).toBe(2);
  expect(await now()).toMatchObject({
    "/default/hashed/2": { entry: { id: 2 } },
    "/default/tagged/2": { entry: { id: 2 } },
  });
});

test("a hash that lies is found out after refetchMs, and one that cannot be had forces nothing", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: 1 });
  server.hash = "always the same";
  const { cycle, now } = await follow(folder(), {
    refetchMs: 1,
    catalogs: [{ name: "apps", url: `${server.url}/list/apps`, hashUrl: `${server.url}/hash/apps` }],
  });
  server.put("apps", { id: 2 });
  await cycle();
  expect(await now()).toHaveProperty(["/default/apps/2"]);

  server.faults.set("/hash/apps", status(500));
  const other = await follow(folder(), {
    catalogs: [{ name: "apps", url: `${server.url}/list/apps`, hashUrl: `${server.url}/hash/apps` }],
  });
  const fetches = server.count("/list/apps");
  expect((await other.cycle()).phases.find((each) => each.phase === "fetch")?.outcome).toBe("done");
  expect(server.count("/list/apps")).toBe(fetches);
});

test("an entry that cannot be hydrated is quarantined alone, visible, and retried", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "good" }, { id: "bad" });
  server.faults.set("/detail/apps/bad", body('{"truncated": tr'));
  const { cycle, now, source, history } = await follow(folder(), {
    catalogs: [complete(server.url)],
    quarantineAfter: 2,
  });
  await cycle();
  expect(Object.keys(await now()).toSorted()).toEqual(["/default/@digest", "/default/apps/good"]);
  expect(await source.failures()).toMatchObject([
    {
      key: "apps/bad",
      failures: 2,
      isQuarantined: true,
      error: expect.stringMatching(/detail\/apps\/bad: expected JSON, got 16 characters/),
    },
  ]);
  const [held] = await history.quarantine("catalogs");
  expect(Buffer.from(held?.key ?? []).toString()).toBe("/default/apps/bad");
  const requests = server.count("/detail/apps/bad");
  await cycle();
  expect(server.count("/detail/apps/bad")).toBe(requests);

  server.faults.clear();
  expect(await source.retry("hydrate", "apps/bad")).toBe(true);
  await cycle();
  expect(await now()).toHaveProperty(["/default/apps/bad", "detail"], { of: "bad" });
  expect(await source.failures()).toEqual([]);
});

test("a call that hangs costs its time and nothing else", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "good" }, { id: "slow" });
  server.faults.set("/detail/apps/slow", hang);
  const { cycle, now, source } = await follow(folder(), {
    catalogs: [complete(server.url)],
    // Also for the one that does not hang.
    detailTimeoutMs: 5_000,
    quarantineAfter: 1,
  });
  expect(await now()).toHaveProperty(["/default/apps/good"]);
  expect((await source.failures())[0]?.error).toMatch(/detail\/apps\/slow: no answer within 5000 ms/);
  server.faults.clear();
  server.put("apps", { id: "slow", version: 2 });
  await cycle();
  expect(await now()).toHaveProperty(["/default/apps/slow"]);
});

test("events make entries be looked at again, in order, and one that fails is never passed unseen", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" }, { id: "b" });
  const { cycle, now, source } = await follow(folder(), { catalogs: [complete(server.url)] });
  server.details.set("a", { rating: 5 });
  server.events = [{ id: 7, entry: "a" }];
  await cycle();
  expect(await now()).toMatchObject({ "/default/apps/a": { detail: { rating: 5 } } });

  server.details.set("b", { rating: 1 });
  server.events = [{ id: 8 }, { id: 9, entry: "b" }];
  const blocked = (await cycle()).phases.find((each) => each.phase === "events apps");
  expect(blocked).toMatchObject({
    outcome: "partial",
    error: expect.stringMatching(/event 8: expected the id of an entry/),
  });
  expect(await now()).toMatchObject({ "/default/apps/b": { detail: { of: "b" } } });
  for (let count = 0; count < 5; count++) await cycle();
  // Set aside after five cycles, and those behind it went on.
  expect(await now()).toMatchObject({ "/default/apps/b": { detail: { rating: 1 } } });
  expect(await source.setAside()).toMatchObject([{ phase: "events apps", position: 8n, payload: '{"id":8}' }]);
});

test("an event of an entry that is not listed has the list fetched, whatever its hash says", async () => {
  const server = await new CatalogServer().listen();
  server.hash = "lies";
  server.put("apps", { id: "a" });
  const { cycle, now } = await follow(folder(), {
    catalogs: [{ ...complete(server.url), hashUrl: `${server.url}/hash/apps` }],
  });
  server.put("apps", { id: "new" });
  await cycle();
  expect(await now()).not.toHaveProperty(["/default/apps/new"]);
  server.events = [{ id: 1, entry: "new" }];
  await cycle();
  expect(await now()).toHaveProperty(["/default/apps/new"]);
});

test("statuses are corrected against what is really there", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" }, { id: "b" });
  server.statuses.set("a", "running");
  const { cycle, now } = await follow(folder(), { catalogs: [complete(server.url)] });
  expect(await now()).toMatchObject({ "/default/apps/a": { status: "running" } });
  expect(await now()).not.toHaveProperty(["/default/apps/b", "status"]);
  server.statuses.clear();
  server.statuses.set("b", { state: "stopped" });
  await cycle();
  expect(await now()).not.toHaveProperty(["/default/apps/a", "status"]);
  expect(await now()).toMatchObject({ "/default/apps/b": { status: { state: "stopped" } } });
});

test("tenants have what is theirs, a list of their own where the URL says so, and one digest a cycle", async () => {
  const server = await new CatalogServer().listen();
  server.put("shared", { id: 1 });
  server.put("own-red", { id: "r" });
  server.put("own-blue", { id: "b" });
  const home = folder();
  const catalogs = [
    { name: "shared", url: `${server.url}/list/shared` },
    { name: "own", url: `${server.url}/list/own-{tenant}` },
    { name: "secret", url: `${server.url}/list/shared`, tenants: ["blue"] },
  ];
  const first = await follow(home, { catalogs, tenants: ["red", "blue"] });
  expect(Object.keys(await first.now()).toSorted()).toEqual([
    "/blue/@digest",
    "/blue/own/b",
    "/blue/secret/1",
    "/blue/shared/1",
    "/red/@digest",
    "/red/own/r",
    "/red/shared/1",
  ]);
  // An idle cycle changes nothing, and finalises nobody.
  expect((await first.cycle()).finalized).toEqual({ keys: 0, failed: 0 });
  const digest = (tenant: string) => first.history.log("catalogs", key(`/${tenant}/@digest`));
  const before = [(await digest("red")).items.length, (await digest("blue")).items.length];
  server.put("own-red", { id: "r2" });
  await first.cycle();
  expect((await first.cycle()).finalized.keys).toBe(0);
  expect([(await digest("red")).items.length, (await digest("blue")).items.length]).toEqual([
    (before[0] ?? 0) + 1,
    before[1],
  ]);
  await first.close();

  // Another tenant and one less: both within the first cycle.
  server.put("own-green", { id: "g" });
  const second = await follow(home, { catalogs: catalogs.slice(0, 2), tenants: ["red", "green"] });
  expect(Object.keys(await second.now()).toSorted()).toEqual([
    "/green/@digest",
    "/green/own/g",
    "/green/shared/1",
    "/red/@digest",
    "/red/own/r",
    "/red/own/r2",
    "/red/shared/1",
  ]);
  expect(await second.history.gaps("catalogs")).toEqual([]);
});

test("a follower that was away gets what it missed, deletions too, without a gap", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" }, { id: "b" });
  const home = folder();
  const first = await follow(home, { catalogs: [complete(server.url)] });
  await first.close();
  server.entries.get("apps")?.delete("a");
  server.put("apps", { id: "c" });
  // Away: the state goes on into another history.
  const other = await follow(home, { catalogs: [complete(server.url)] }, "other.db");
  await other.close();
  const second = await follow(home, { catalogs: [complete(server.url)] });
  expect(Object.keys(await second.now()).toSorted()).toEqual([
    "/default/@digest",
    "/default/apps/b",
    "/default/apps/c",
  ]);
  expect(await second.history.gaps("catalogs")).toEqual([]);
  expect((await second.history.log("catalogs", key("/default/apps/a"))).items[0]?.value).toBeUndefined();
});

test("a state file that was lost is a gap and a snapshot, and what vanished meanwhile is pruned", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" }, { id: "b" });
  const home = folder();
  const first = await follow(home, { catalogs: [complete(server.url)] });
  await first.close();
  rmSync(join(home, "state.db"));
  server.entries.get("apps")?.delete("a");
  const second = await follow(home, { catalogs: [complete(server.url)] });
  expect(Object.keys(await second.now()).toSorted()).toEqual(["/default/@digest", "/default/apps/b"]);
  expect(await second.history.gaps("catalogs")).toMatchObject([{ reason: "epoch-changed" }]);
});

test("an older copy of the state file does not give one number to two things", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" });
  const home = folder();
  const first = await follow(home, { catalogs: [complete(server.url)] });
  await first.close();
  copyFileSync(join(home, "state.db"), join(home, "older.db"));
  // Ten changes that only the history will remember.
  for (let count = 0; count < 10; count++) server.put("apps", { id: `lost${count}` });
  const second = await follow(home, { catalogs: [complete(server.url)] });
  await second.close();
  copyFileSync(join(home, "older.db"), join(home, "state.db"));
  rmSync(join(home, "state.db-wal"), { force: true });
  for (let count = 0; count < 10; count++) server.entries.get("apps")?.delete(`lost${count}`);
  server.put("apps", { id: "z" });
  const third = await follow(home, { catalogs: [complete(server.url)] });
  expect(Object.keys(await third.now()).toSorted()).toEqual(["/default/@digest", "/default/apps/a", "/default/apps/z"]);
  expect(await third.history.gaps("catalogs")).toMatchObject([{ reason: "source-lost" }]);
});

test("two processes do not share a state file", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: 1 });
  const home = folder();
  await follow(home, { catalogs: [complete(server.url)] });
  const second = catalogSource({ catalogs: [complete(server.url)], stateFile: join(home, "state.db") });
  const sink = { write: () => true, ready: async () => {}, alive: () => {}, status: () => {} };
  await expect(second.run(undefined, sink, new AbortController().signal)).rejects.toThrow(/another process uses it/);
});
