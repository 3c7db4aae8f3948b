import { systemClock } from "@tidemark/clock";
import { Code } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { GnmiError, type GnmiSourceOptions, gnmiSource } from "../src/index.ts";
import { changesOf, follow, leavesOf, quickSource, returningDevice, testDevice } from "./support.ts";

/** For what makes no frame. */
const waitOptions = { timeout: 45_000, interval: 5 };

const waiting = (probe: ReturnType<typeof follow>) =>
  probe.statuses.flatMap((status) => (status.state === "waiting" ? [status.error] : []));

test.each(["proto", "json_ietf", "json"] as const)("keeps every kind of value with %s", async (encoding) => {
  const device = await testDevice();
  device.apply({
    update: [
      { path: "/s", value: "up" },
      { path: "/n", value: -5 },
      { path: "/u", value: { case: "uintVal", value: 18446744073709551615n } },
      { path: "/b", value: true },
      { path: "/l", value: ["a", "b"] },
      { path: "/f", value: 0.5 },
      { path: "/o", value: Uint8Array.of(1, 2) },
    ],
  });
  const probe = follow(quickSource(device, { encoding }));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(leavesOf(probe)).toEqual({
    "/s": '"up"',
    "/n": "-5",
    "/u": encoding === "json_ietf" ? '"18446744073709551615"' : "18446744073709551615",
    "/b": "true",
    "/l": '["a","b"]',
    "/f": "0.5",
    "/o": '"AQI="',
  });
});

test("takes the best encoding that the device knows, and does without Capabilities", async () => {
  const json = await testDevice({ encodings: ["json_ietf", "ascii"] });
  const source = quickSource(json);
  const probe = follow(source);
  await probe.until("live", () => probe.statuses.at(-1)?.state === "live");
  expect(source.stats().encoding).toBe("json_ietf");
  const silent = await testDevice({ hasCapabilities: false });
  const other = quickSource(silent);
  const next = follow(other);
  await next.until("live", () => next.statuses.at(-1)?.state === "live");
  expect(other.stats().encoding).toBe("json");
});

test("JSON subtrees are leaves, and the tree is there again", async () => {
  const device = await testDevice({ subtrees: true });
  const tree = {
    interfaces: {
      interface: [
        { name: "e1", config: { mtu: 9000 } },
        { name: "e2", config: { mtu: 1500 } },
      ],
    },
  };
  device.set("/", tree);
  const source = quickSource(device, { encoding: "json_ietf", subscriptions: [{ path: "/interfaces" }] });
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(Object.keys(leavesOf(probe))).toContain("/interfaces/interface[name=e1]/config/mtu");
  device.set("/interfaces/interface[name=e1]/config/mtu", 1400);
  await probe.until("the change", () => probe.groups.length === 1);
  expect(changesOf(probe)).toEqual(["/interfaces/interface[name=e1]/config/mtu=1400"]);
  expect(source.trees().get("/")).toEqual({
    interfaces: {
      interface: [
        { name: "e1", config: { mtu: 1400 } },
        { name: "e2", config: { mtu: 1500 } },
      ],
    },
  });
});

test("a transaction of deletions and updates is one group, containers and wildcards included", async () => {
  const device = await testDevice({ deletesContainers: true });
  for (const name of ["e1", "e2"]) device.set(`/i/i[name=${name}]`, { name, a: 1, b: 2 });
  const probe = follow(quickSource(device));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  device.apply({ delete: ["/i/i[name=*]/a", "/i/i[name=e2]"], update: [{ path: "/i/i[name=e2]/b", value: 3 }] });
  await probe.until("the group", () => probe.groups.length === 1);
  expect(leavesOf(probe)).toEqual({ "/i/i[name=e1]/b": "2", "/i/i[name=e1]/name": '"e1"', "/i/i[name=e2]/b": "3" });
});

test("atomic parts are replaced whole", async () => {
  const device = await testDevice({ atomic: ["/acl"] });
  device.apply({
    update: [
      { path: "/acl/1", value: "permit" },
      { path: "/acl/2", value: "deny" },
      { path: "/x", value: 1 },
    ],
  });
  const probe = follow(quickSource(device));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  device.apply({ delete: ["/acl/1"], update: [{ path: "/acl/3", value: "permit" }] });
  await probe.until("the group", () => probe.groups.length === 1);
  expect(leavesOf(probe)).toEqual({ "/acl/2": '"deny"', "/acl/3": '"permit"', "/x": "1" });
});

test("H8: a reconnect is a gap, a new epoch and a snapshot that shows what vanished meanwhile", async () => {
  const device = await returningDevice();
  device.apply({
    update: [
      { path: "/stays", value: 1 },
      { path: "/goes", value: 1 },
    ],
  });
  const source = quickSource(device);
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(probe.epoch).toBe("c1");
  await device.restart((tree) => tree.apply({ delete: ["/goes"], update: [{ path: "/comes", value: 1 }] }, 1n));
  await probe.until("another snapshot", () => probe.snapshots === 2);
  expect(leavesOf(probe)).toEqual({ "/comes": "1", "/stays": "1" });
  expect(probe.epoch).toBe("c2");
  expect(probe.gaps).toMatchObject([{ reason: "disconnected", detail: expect.stringContaining("only how it is now") }]);
  await probe.stop();
  const next = follow(source, probe);
  await next.until("a snapshot", () => next.snapshots === 1);
  expect(next.epoch).toBe("c3");
  expect(next.gaps).toHaveLength(1);
});

test("a stream that the device ends with an error is a state with a reason, and is followed again", async () => {
  const device = await testDevice();
  const probe = follow(quickSource(device));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  device.fail("event history overflowed", Code.DataLoss);
  await probe.until("another snapshot", () => probe.snapshots === 2);
  expect(waiting(probe)).toEqual([
    expect.stringContaining("lost changes and ended the subscription (event history overflowed)"),
  ]);
});

test("attempts grow while a device keeps failing after its sync", async () => {
  const device = await testDevice();
  const probe = follow(quickSource(device));
  for (let round = 1; round <= 4; round++) {
    await probe.until("a snapshot", () => probe.snapshots === round);
    device.cut();
  }
  await probe.until("a snapshot", () => probe.snapshots === 5);
  const attempts = probe.statuses.flatMap((status) => (status.state === "waiting" ? [status.attempt] : []));
  expect(attempts).toEqual([1, 2, 3, 4]);
});

test("where on_change is refused it asks for less, says so, and is followed", async () => {
  const device = await testDevice({ faults: { refuseOnChange: true } });
  device.set("/a", 1);
  const source = quickSource(device);
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(waiting(probe)).toEqual([
    expect.stringMatching(/ON_CHANGE is not supported.*Asking for target_defined instead of on_change\.$/),
  ]);
  expect(source.stats().onChangeMode).toBe("target_defined");
  device.set("/a", 2);
  await probe.until("the change", () => leavesOf(probe)["/a"] === "2");

  const poor = await testDevice({ faults: { refuseOnChange: true, refuseTargetDefined: true } });
  poor.set("/a", 1);
  const other = quickSource(poor, { fallbackSampleIntervalMs: 20 });
  const next = follow(other);
  await next.until("the snapshot", () => next.snapshots === 1);
  expect(other.stats().onChangeMode).toBe("sample");
  poor.set("/a", 2);
  await next.until("the sample", () => leavesOf(next)["/a"] === "2");
  // The samples of what did not change are no changes.
  await vi.waitFor(() => expect(other.stats().unchanged).toBeGreaterThan(3), waitOptions);
  expect(changesOf(next)).toEqual(["/a=2"]);

  const strict = await testDevice({ faults: { refuseOnChange: true } });
  const refused = follow(quickSource(strict, { fallbackSampleIntervalMs: false }));
  await refused.until("the refusal", () => waiting(refused).length > 1);
  expect(refused.snapshots).toBe(0);
});

test("samples, heartbeats and on-change live beside each other in one subscription", async () => {
  const device = await testDevice();
  device.apply({
    update: [
      { path: "/c/a", value: 1 },
      { path: "/s/a", value: 1 },
      { path: "/r/a", value: 1 },
    ],
  });
  const source = quickSource(device, {
    subscriptions: [
      { path: "/c", heartbeatIntervalMs: 20 },
      { path: "/s", mode: "sample", sampleIntervalMs: 20 },
      { path: "/r", mode: "sample", sampleIntervalMs: 20, suppressRedundant: true },
    ],
  });
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  await vi.waitFor(() => expect(source.stats().unchanged).toBeGreaterThan(6), waitOptions);
  device.apply({
    update: [
      { path: "/c/a", value: 2 },
      { path: "/s/a", value: 2 },
      { path: "/r/a", value: 2 },
    ],
  });
  await probe.until("all changes", () => changesOf(probe).length === 3);
  expect(changesOf(probe).toSorted()).toEqual(["/c/a=2", "/r/a=2", "/s/a=2"]);
  expect(source.capabilities.tombstones).toBe(false);
});

test.each([
  ["poll", false],
  ["poll", true],
  ["once", false],
  ["get", false],
] as const)(
  "mode %s delivers at once, round after round, deletions included (only when polled: %s)",
  async (mode, pollsOnly) => {
    const device = await testDevice({ pollsOnly });
    device.apply({
      update: [
        { path: "/a/x", value: 1 },
        { path: "/a/y", value: 1 },
      ],
    });
    const source = quickSource(device, {
      mode,
      intervalMs: 10,
      encoding: "json_ietf",
      subscriptions: [{ path: "/a" }],
    });
    const probe = follow(source);
    await probe.until("the snapshot", () => probe.snapshots === 1);
    expect(leavesOf(probe)).toEqual({ "/a/x": "1", "/a/y": "1" });
    device.apply({ delete: ["/a/x"], update: [{ path: "/a/z", value: 2 }] });
    await probe.until("the next round", () => probe.groups.length === 1);
    expect(leavesOf(probe)).toEqual({ "/a/y": "1", "/a/z": "2" });
    expect(probe.gaps).toEqual([]);
    expect(source.stats().connections).toBe(1);
  },
);

test("with configOnly a commit of the device is one group, and state is not asked for", async () => {
  const device = await testDevice();
  device.apply({
    update: [
      { path: "/i/config/mtu", value: 1 },
      { path: "/i/state/mtu", value: 1 },
    ],
  });
  const probe = follow(quickSource(device, { configOnly: true, commitTimeoutMs: 60_000 }));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  expect(leavesOf(probe)).toEqual({ "/i/config/mtu": "1" });
  const update = Array.from({ length: 20 }, (_, index) => ({ path: `/i/config/x${index}`, value: index }));
  device.apply({ update }, "one");
  device.apply({ update: update.map(({ path }) => ({ path, value: -1 })) }, "two");
  await probe.until("both commits", () => probe.groups.length === 2);
  expect(probe.groups.map(({ changes }) => changes.length)).toEqual([20, 20]);
});

test("a device that reorders and one that is slow lose nothing", async () => {
  const device = await testDevice({ faults: { isReordering: true, slowMs: 1 } });
  const probe = follow(quickSource(device));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  for (let value = 1; value <= 20; value++) for (const leaf of ["a", "b", "c"]) device.set(`/${leaf}`, value);
  await probe.until("everything", () => changesOf(probe).length === 60);
  for (const leaf of ["a", "b", "c"]) {
    const own = changesOf(probe).filter((change) => change.startsWith(`/${leaf}=`));
    expect(own).toEqual(Array.from({ length: 20 }, (_, index) => `/${leaf}=${index + 1}`));
  }
});

test("values that a device skipped are counted", async () => {
  const device = await testDevice({ faults: { isCoalescing: true, slowMs: 5 } });
  device.set("/n", 0);
  const source = quickSource(device);
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  for (let value = 1; value <= 100; value++) device.set("/n", value);
  await probe.until("the last one", () => leavesOf(probe)["/n"] === "100");
  expect(source.stats().duplicates + changesOf(probe).length).toBe(100);
  expect(changesOf(probe).length).toBeLessThan(10);
});

test("H12: a half-open connection is noticed without a message, and replaced", async () => {
  const device = await testDevice();
  const probe = follow(quickSource(device, { pingIntervalMs: 30, pingTimeoutMs: 300 }));
  await probe.until("live", () => probe.statuses.at(-1)?.state === "live");
  // On a machine that stands still it may have been found silent before.
  const complaints = () => waiting(probe).filter((text) => text.includes("stopped answering")).length;
  const [known, snapshots] = [complaints(), probe.snapshots];
  device.freeze();
  await probe.until("the complaint", () => complaints() > known);
  expect(probe.snapshots).toBe(snapshots);
  device.thaw();
  await probe.until("another snapshot", () => probe.snapshots > snapshots);
});

test("H12: a device that never finishes its first transfer is not waited for in silence", async () => {
  const device = await testDevice({ faults: { withholdsSync: true } });
  device.set("/a", 1);
  const probe = follow(quickSource(device, { syncTimeoutMs: 300 }));
  await probe.until("the complaint", () =>
    waiting(probe).some((text) => text.includes("not yet everything that is there")),
  );
  expect(probe.snapshots).toBe(0);
  device.faults.withholdsSync = false;
  await probe.until("the snapshot", () => probe.snapshots === 1);
});

test("H11: a full sink stops the device's messages and not the connection, and loses nothing", async () => {
  const device = await testDevice();
  const source = quickSource(device, { windowBytes: 65_535 });
  const probe = follow(source);
  await probe.until("the snapshot", () => probe.snapshots === 1);
  probe.hold();
  const value = "x".repeat(10_000);
  for (let n = 0; n < 1_000; n++) device.set(`/k${n}`, value);
  await probe.until("it to ask for room", () => probe.roomRequests > 0);
  const sent = () => device.stats().notifications;
  let before = -1;
  // What is under way settles; the device then waits.
  while (before !== sent()) {
    before = sent();
    await systemClock.sleep(50);
  }
  expect(sent()).toBeLessThan(900);
  probe.release();
  await probe.until("everything", () => probe.state.size === 1_000);
  expect(probe.framesWhileAsking).toBe(0);
  expect(probe.gaps).toEqual([]);
});

test("the sink's own error ends the run and is no fault of the device", async () => {
  const device = await testDevice();
  const source = quickSource(device);
  const boom = new Error("boom");
  const sink = {
    write() {
      throw boom;
    },
    async ready() {},
    alive() {},
    status() {},
  };
  await expect(source.run(undefined, sink, new AbortController().signal)).rejects.toBe(boom);
});

test.each([
  [{ address: "ftp://h" }, /address must look like/],
  [{ address: "http://me:secret@h" }, /user or password in it/],
  [{ subscriptions: [] }, /at least one path/],
  [{ subscriptions: [{ path: "/a[" }] }, /PATH_INVALID/],
  [{ subscriptions: [{ path: "/a", sampleIntervalMs: 5 }] }, /sampleIntervalMs is for mode "sample"/],
  [{ subscriptions: [{ path: "/a", mode: "sample" }] }, /needs sampleIntervalMs/],
  [{ subscriptions: [{ path: "//r1/a" }] }, /as the option `target`/],
  [{ mode: "poll", configOnly: true }, /configOnly is for mode "stream"/],
  [{ syncTimeoutMs: 0 }, /syncTimeoutMs must be above 0, got 0/],
  [{ credentials: { user: "u", password: "secret" } }, /credentials and tokens go over TLS only/],
  [{ token: "secret" }, /credentials and tokens go over TLS only/],
] as readonly (readonly [Partial<GnmiSourceOptions>, RegExp])[])("refuses the options %#", (options, message) => {
  const make = () => gnmiSource({ address: "127.0.0.1", subscriptions: [{ path: "/" }], ...options });
  expect(make).toThrow(message);
  try {
    make();
  } catch (error) {
    expect(GnmiError.is(error)).toBe(true);
    expect(String(error)).not.toContain("secret");
  }
});

test("says where nothing listens, and what is no gNMI", async () => {
  const device = await returningDevice();
  await device.close();
  const probe = follow(quickSource(device));
  await probe.until("the complaint", () => waiting(probe).some((text) => text.includes("nothing listens at")));
  const { createServer } = await import("node:http");
  const server = createServer((_, response) => response.end("hello"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  const web = follow(gnmiSource({ address, subscriptions: [{ path: "/" }], backoff: { initialDelayMs: 5 } }));
  await web.until("the complaint", () => waiting(web).length > 0);
  expect(waiting(web)[0]).toMatch(/speak HTTP\/2|cut the connection/);
  server.closeAllConnections();
  server.close();
});

test.each([
  { connectTimeoutMs: Number.POSITIVE_INFINITY },
  { connectTimeoutMs: 9_999.5 },
  { windowBytes: 1 << 30 },
  { windowBytes: 100_000.5, maxMessageBytes: 100_000.5 },
])("follows with any option that is taken: %s", async (options) => {
  const device = await testDevice();
  device.set("/a", 1);
  const probe = follow(quickSource(device, options));
  await probe.until("the snapshot", () => probe.snapshots === 1);
});
