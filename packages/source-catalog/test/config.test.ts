import { expect, test } from "vitest";
import { CatalogServer, folder, follow, status } from "./support.ts";

test("details that are asked for from now on, or elsewhere, come for entries that are known already", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a", v: 1 });
  server.put("other", { id: "a" });
  server.details.set("a", { text: "long" });
  const home = folder();
  const url = `${server.url}/list/apps`;
  const listOnly = { name: "apps", url, versionField: "v" };
  const first = await follow(home, { catalogs: [listOnly] });
  expect(await first.now()).toMatchObject({ "/default/apps/a": { entry: { id: "a" } } });
  await first.close();

  const second = await follow(home, { catalogs: [{ ...listOnly, detailUrl: `${server.url}/detail/apps/{id}` }] });
  expect(await second.now()).toMatchObject({ "/default/apps/a": { detail: { text: "long" } } });
  await second.close();

  server.details.set("a", { text: "longer" });
  const third = await follow(home, { catalogs: [{ ...listOnly, detailUrl: `${server.url}/detail/other/{id}` }] });
  expect(await third.now()).toMatchObject({ "/default/apps/a": { detail: { text: "longer" } } });
  await third.close();

  const fourth = await follow(home, { catalogs: [listOnly] });
  expect(await fourth.now()).not.toHaveProperty(["/default/apps/a", "detail"]);
});

test("an entry that was given up is asked for at once where its detailUrl was corrected", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" });
  const home = folder();
  const apps = { name: "apps", url: `${server.url}/list/apps` };
  const mistyped = { catalogs: [{ ...apps, detailUrl: `${server.url}/detials/apps/{id}` }], quarantineAfter: 1 };
  const first = await follow(home, mistyped);
  expect(await first.source.failures()).toMatchObject([{ key: "apps/a", isQuarantined: true }]);
  await first.close();
  const second = await follow(home, { catalogs: [{ ...apps, detailUrl: `${server.url}/detail/apps/{id}` }] });
  expect(await second.now()).toMatchObject({ "/default/apps/a": { detail: { of: "a" } } });
  expect(await second.source.failures()).toEqual([]);
});

test.each([true, false])("a status goes away with its statusUrl (details: %s)", async (hasDetails) => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" });
  server.statuses.set("a", "running");
  const home = folder();
  const plain = {
    name: "apps",
    url: `${server.url}/list/apps`,
    ...(hasDetails && { detailUrl: `${server.url}/detail/apps/{id}` }),
  };
  const first = await follow(home, { catalogs: [{ ...plain, statusUrl: `${server.url}/status` }] });
  expect(await first.now()).toMatchObject({ "/default/apps/a": { status: "running" } });
  await first.close();
  const second = await follow(home, { catalogs: [plain] });
  expect(await second.now()).not.toHaveProperty(["/default/apps/a", "status"]);
});

test("a tenant that is left without a catalogue has nothing any more", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a" });
  const home = folder();
  const apps = { name: "apps", url: `${server.url}/list/apps` };
  const first = await follow(home, { catalogs: [apps], tenants: ["red", "blue"] });
  expect(await first.now()).toHaveProperty(["/red/apps/a"]);
  await first.close();
  const second = await follow(home, { catalogs: [{ ...apps, tenants: ["blue"] }], tenants: ["red", "blue"] });
  expect(Object.keys(await second.now()).toSorted()).toEqual(["/blue/@digest", "/blue/apps/a", "/red/@digest"]);
  expect(await second.now()).toMatchObject({ "/red/@digest": { entries: 0 } });
  // And nobody is finalised for it again.
  expect((await second.cycle()).finalized.keys).toBe(0);
});

test("a status stays what it was while it cannot be had, also for an entry that changed", async () => {
  const server = await new CatalogServer().listen();
  server.put("apps", { id: "a", name: "A" });
  server.statuses.set("a", "running");
  const { cycle, now } = await follow(folder(), {
    catalogs: [{ name: "apps", url: `${server.url}/list/apps`, statusUrl: `${server.url}/status` }],
  });
  server.faults.set("/status", status(500));
  server.put("apps", { id: "a", name: "B" });
  await cycle();
  expect(await now()).toMatchObject({ "/default/apps/a": { entry: { name: "B" }, status: "running" } });
});
