import { expect, test } from "vitest";
import { differencesFrom } from "../src/drift.ts";
import type { GnmiDrift, Json } from "../src/index.ts";
import { changesOf, follow, quickSource, returningDevice, testDevice } from "./support.ts";

const known = (leaves: Readonly<Record<string, string>>) =>
  Object.entries(leaves).map(([path, text]) => [path, { text }] as const);

test("compares leaf by leaf, and calls a number the same in either of its forms", () => {
  const leaves = known({ "/a/x": "1", "/a/y": '"18446744073709551615"', "/a/z": "3", "/b": "1" });
  const tree = { x: 1, y: "18446744073709551615", w: true };
  expect(differencesFrom(tree, { path: "/a" }, leaves)).toEqual([
    { path: "/a/w", desired: "true", running: undefined },
  ]);
  expect(differencesFrom(tree, { path: "/a", isWhole: true }, leaves)).toEqual([
    { path: "/a/z", desired: undefined, running: "3" },
    { path: "/a/w", desired: "true", running: undefined },
  ]);
  expect(differencesFrom({ x: 2 }, { path: "/a" }, leaves)).toEqual([{ path: "/a/x", desired: "2", running: "1" }]);
});

test("a whole tree says nothing of other origins and targets", () => {
  const leaves = known({
    "/a": "1",
    "openconfig:/a": "1",
    "openconfig:/b": "1",
    "//router2/a": "1",
    "//router2/b": "1",
  });
  expect(differencesFrom({ a: 1 }, { isWhole: true }, leaves)).toEqual([]);
  expect(differencesFrom({ a: 1 }, { path: "openconfig:/", isWhole: true }, leaves)).toEqual([
    { path: "openconfig:/b", desired: undefined, running: "1" },
  ]);
});

test("drift is said, and nothing else happens", async () => {
  const device = await testDevice();
  device.set("/", { config: { mtu: 1500, name: "r1" } });
  const drifts: GnmiDrift[] = [];
  const tree: Json = { config: { mtu: 9000, name: "r1" } };
  const desired = { read: () => tree, onDrift: (drift: GnmiDrift) => void drifts.push(drift), intervalMs: 10 };
  follow(quickSource(device, { desired }));
  await expect.poll(() => drifts.length).toBeGreaterThan(1);
  expect(drifts[0]).toEqual({
    differences: [{ path: "/config/mtu", desired: "9000", running: "1500" }],
    isCorrected: false,
    error: undefined,
  });
  expect(device.json()).toEqual({ config: { mtu: 1500, name: "r1" } });
});

test("drift is corrected in one transaction, and what comes of it is in the history", async () => {
  const device = await testDevice();
  device.set("/", { config: { mtu: 1500, extra: 1 } });
  const drifts: GnmiDrift[] = [];
  const desired = {
    path: "/config",
    isWhole: true,
    correct: true,
    intervalMs: 10,
    read: async () => ({ mtu: 9000, name: "r1" }),
    onDrift: (drift: GnmiDrift) => void drifts.push(drift),
  };
  const probe = follow(quickSource(device, { desired }));
  await probe.until("the correction", () => probe.groups.length > 0);
  expect(device.json()).toEqual({ config: { mtu: 9000, name: "r1" } });
  expect(changesOf(probe).toSorted()).toEqual(["/config/extra=gone", "/config/mtu=9000", '/config/name="r1"']);
  await expect.poll(() => drifts[0]).toMatchObject({ isCorrected: true, error: undefined });
  device.set("/config/mtu", 1);
  await probe.until("the next correction", () => changesOf(probe).length > 4);
  expect(changesOf(probe).slice(3)).toEqual(["/config/mtu=1", "/config/mtu=9000"]);
});

test("a desired tree that cannot be read, or that never comes, holds up nothing", async () => {
  const device = await testDevice();
  device.set("/a", 0);
  const drifts: GnmiDrift[] = [];
  let isFirst = true;
  const desired = {
    intervalMs: 1,
    read() {
      if (!isFirst) return new Promise<Json>(() => {});
      isFirst = false;
      throw new Error("no such file");
    },
    onDrift: (drift: GnmiDrift) => void drifts.push(drift),
  };
  const probe = follow(quickSource(device, { desired }));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  await expect.poll(() => drifts).toHaveLength(1);
  expect(drifts[0]?.error?.message).toBe("no such file");
  for (let value = 1; value <= 20; value++) device.set("/a", value);
  await probe.until("all changes", () => changesOf(probe).length === 20);
});

test("a tree that took long to read is compared with the device as it is then", async () => {
  const device = await returningDevice();
  device.set("/a", 1);
  const reading = Promise.withResolvers<void>();
  const tree = Promise.withResolvers<Json>();
  const drifts: GnmiDrift[] = [];
  let reads = 0;
  const desired = {
    intervalMs: 1,
    read() {
      reads++;
      reading.resolve();
      return tree.promise;
    },
    onDrift: (drift: GnmiDrift) => void drifts.push(drift),
  };
  const probe = follow(quickSource(device, { desired }));
  await reading.promise;
  await device.restart(() => device.set("/a", 2));
  await probe.until("the next snapshot", () => probe.snapshots === 2);
  tree.resolve({ a: 2 });
  await expect.poll(() => reads).toBeGreaterThan(3);
  expect(drifts).toEqual([]);
});
