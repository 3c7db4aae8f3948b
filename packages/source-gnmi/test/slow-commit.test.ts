import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type History, openHistory, openWatcher, type VersionRecord } from "@tidemark/store-watch";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { CommitGate } from "./commit-gate.ts";
import { quickSource, returningDevice } from "./support.ts";

const waitOptions = { timeout: 45_000, interval: 10 };

let folder: string;
let history: History;
let streams = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tidemark-gnmi-"));
  history = await openHistory({ file: join(folder, "history.db") });
});

afterAll(async () => {
  expect((await history.fsck()).findings).toEqual([]);
  await history.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A device that is followed into a real history, through commits that the test holds. */
async function followed() {
  const name = `device-${++streams}`;
  const device = await returningDevice();
  const gate = new CommitGate();
  const source = quickSource(device);
  const commitRetry = { initialDelayMs: 1, maxDelayMs: 5 };
  const start = async () => {
    const watcher = await openWatcher({ source, history: gate.history(history), name, commitRetry });
    onTestFinished(() => watcher.destroy());
    return watcher;
  };
  const received = (count: number) =>
    vi.waitFor(() => expect(source.stats().updates + source.stats().deletes).toBe(count), waitOptions);
  const records = async () => (await history.changes(0n, { limit: 10_000, stream: name })).items;
  const versions = async () => (await records()).map(shown);
  const now = async () => (await history.list({ stream: name })).items.map(shown);
  return { name, device, gate, source, start, received, records, versions, now };
}

function shown({ key, kind, value }: VersionRecord): string {
  return `${Buffer.from(key).toString()}${kind === "put" ? `=${Buffer.from(value ?? "").toString()}` : " gone"}`;
}

test("the seed's case: everything that comes while a commit takes its time is committed, once and in order", async () => {
  const { device, gate, start, received, versions, now } = await followed();
  device.apply({
    update: [
      { path: "/a", value: 0 },
      { path: "/b", value: 0 },
    ],
  });
  await start();
  await vi.waitFor(() => expect(gate.commits).toHaveLength(1), waitOptions);
  gate.shut();
  device.set("/a", 1);
  await gate.held();
  // The commit of /a=1 is under way now, and stays so for as long as this test likes.
  const during: string[] = [];
  for (let value = 2; value <= 500; value++) {
    device.set("/a", value);
    device.set("/b", -value);
    during.push(`/a=${value}`, `/b=${-value}`);
  }
  // H1, H2: all of it is received while nothing is committed.
  await received(2 + 1 + during.length);
  expect(gate.commits).toHaveLength(1);
  gate.open();
  await vi.waitFor(async () => expect(await now()).toEqual(["/a=500", "/b=-500"]), waitOptions);
  // Content, order and count: every value is a version, in the order in which the device sent it, and nothing else is.
  expect(await versions()).toEqual(["/a=0", "/b=0", "/a=1", ...during]);
  // H4: one at a time. Nothing waits for a next tick: what came during the commit is one commit more, or few.
  expect(gate.highest).toBe(1);
  expect(gate.commits.length).toBeLessThan(10);
});

test("the first commit is that of sync_response, and what comes behind it while it is held is not lost", async () => {
  const { device, gate, start, received, versions } = await followed();
  device.set("/a", 0);
  gate.shut();
  await start();
  await gate.held();
  for (let value = 1; value <= 50; value++) device.set("/a", value);
  await received(51);
  gate.open();
  await vi.waitFor(async () => expect(await versions()).toHaveLength(51), waitOptions);
  expect(gate.commits[0]).toEqual(["begin-snapshot", "/a=0", "snapshot-end"]);
  expect(await versions()).toEqual(Array.from({ length: 51 }, (_, index) => `/a=${index}`));
});

test("H5: what is deleted and set again while a commit is held ends as the device has it", async () => {
  const { device, gate, start, received, versions, now } = await followed();
  device.apply({
    update: [
      { path: "/a/x", value: 0 },
      { path: "/a/y", value: 0 },
    ],
  });
  await start();
  await vi.waitFor(() => expect(gate.commits).toHaveLength(1), waitOptions);
  gate.shut();
  device.set("/hold", 1);
  await gate.held();
  device.set("/a/x", 1);
  device.delete("/a/x");
  device.delete("/a");
  device.set("/a/y", 2);
  device.apply({ delete: ["/hold"], update: [{ path: "/a/z", value: 3 }] });
  await received(2 + 1 + 1 + 1 + 1 + 1 + 2);
  gate.open();
  await vi.waitFor(async () => expect(await now()).toEqual(["/a/y=2", "/a/z=3"]), waitOptions);
  expect((await versions()).slice(3)).toEqual(["/a/x=1", "/a/x gone", "/a/y gone", "/a/y=2", "/hold gone", "/a/z=3"]);
});

test("H9: commits that fail are tried again with everything that they had", async () => {
  const { device, gate, start, versions } = await followed();
  device.set("/a", 0);
  gate.failNext(3);
  const watcher = await start();
  for (let value = 1; value <= 20; value++) {
    if (value % 5 === 0) gate.failNext(2);
    device.set("/a", value);
    await vi.waitFor(async () => expect((await versions()).at(-1)).toBe(`/a=${value}`), waitOptions);
  }
  const values = await versions();
  const first = Number(values[0]?.split("=")[1]);
  expect(values).toEqual(Array.from({ length: 21 - first }, (_, index) => `/a=${first + index}`));
  // The history has a commit before the watcher is told of it.
  await vi.waitFor(() => expect(watcher.status().problem).toBeUndefined(), waitOptions);
});

test("H8: what vanished while the connection was down gets a tombstone in the snapshot's commit, beside the gap", async () => {
  const { name, device, gate, start, records, versions } = await followed();
  device.apply({
    update: [
      { path: "/goes", value: 1 },
      { path: "/stays", value: 1 },
    ],
  });
  await start();
  await vi.waitFor(() => expect(gate.commits).toHaveLength(1), waitOptions);
  await device.restart((tree) => tree.apply({ delete: ["/goes"], update: [{ path: "/stays", value: 2 }] }, 1n));
  await vi.waitFor(async () => expect(await versions()).toHaveLength(4), waitOptions);
  expect(await versions()).toEqual(["/goes=1", "/stays=1", "/stays=2", "/goes gone"]);
  expect(await history.gaps(name)).toMatchObject([{ reason: "disconnected" }]);
  const [, , ...second] = await records();
  expect(new Set(second.map(({ batch }) => batch)).size).toBe(1);
});
