import { copyFileSync, rmSync } from "node:fs";
import { expect, test } from "vitest";
import { openStore, type Store, type WatchEvent } from "../src/index.ts";
import { Timeline } from "../src/timeline.ts";
import { storeFile, testStore, watchUntil } from "./support.ts";

const entries = [
  { firstRevision: 0, incarnation: "aa" },
  { firstRevision: 5, incarnation: "bb" },
  { firstRevision: 9, incarnation: "cc" },
];

test("a marker is a revision and the run that wrote it, and sorts as text like revisions", () => {
  const timeline = new Timeline(entries);
  const revisions = [0, 4, 5, 8, 9, 10, 99, 100, 12_345];
  const markers = revisions.map((revision) => timeline.marker(revision));
  expect(markers.slice(0, 5)).toEqual(["a0.aa", "a4.aa", "a5.bb", "a8.bb", "a9.cc"]);
  expect(markers.toSorted()).toEqual(markers);
  expect(revisions.map((revision) => timeline.resume(timeline.marker(revision), 12_345, "s"))).toEqual(revisions);
});

test("a marker of another life is told from one of ours at every revision", () => {
  const timeline = new Timeline(entries);
  for (const [marker, code] of [
    ["a5.aa", "STORE_REPLACED"],
    ["a4.bb", "STORE_REPLACED"],
    ["a9.dd", "STORE_REPLACED"],
    ["b11.cc", "STORE_REPLACED"],
    ["c999.cc", "STORE_REPLACED"],
    ["garbage", "ARGUMENT_INVALID"],
    ["a5", "ARGUMENT_INVALID"],
    ["b5.bb", "ARGUMENT_INVALID"],
    ["", "ARGUMENT_INVALID"],
  ] as const) {
    expect(() => timeline.resume(marker, 10, "s"), marker).toThrow(code);
  }
});

async function firstError(store: Store, resumeMarker: string): Promise<unknown> {
  try {
    await store.watch({ resumeMarker }).next();
    return undefined;
  } catch (error) {
    return error;
  }
}

async function markerNow(store: Store): Promise<string> {
  return (await store.status()).marker;
}

test("a watch resumes across restarts of the store, from any run's marker", async () => {
  const file = storeFile();
  const markers: string[] = [];
  for (let run = 0; run < 4; run++) {
    const store = await openStore({ file });
    markers.push(await markerNow(store));
    // A run that writes nothing leaves no trace.
    if (run !== 2) await store.put(`k${run}`, "1");
    markers.push(await markerNow(store));
    await store.close();
  }
  const store = await testStore({ file });
  for (const resumeMarker of markers) {
    const { log, marker } = await watchUntil(store.watch({ resumeMarker }), 3n);
    expect(log.length).toBe(3 - Number(resumeMarker.slice(1, 2)));
    expect(marker).toBe(markers.at(-1));
  }
  expect(new Set(markers).size).toBe(4);
});

test("a wiped store is told by every marker, also by that of its empty state", async () => {
  const file = storeFile();
  const first = await openStore({ file });
  const empty = await markerNow(first);
  await first.put("a", "1");
  const later = await markerNow(first);
  await first.close();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
  const second = await testStore({ file });
  expect(second.storeId).not.toBe(first.storeId);
  for (const marker of [empty, later]) {
    expect(await firstError(second, marker)).toMatchObject({ code: "STORE_REPLACED", storeId: second.storeId });
  }
  await second.put("b", "1");
  await second.put("b", "2");
  for (const marker of [empty, later])
    expect(await firstError(second, marker)).toMatchObject({ code: "STORE_REPLACED" });
});

test("a backup that was restored and written to again is told from the life before, revisions reused or not", async () => {
  const file = storeFile();
  const original = await openStore({ file });
  await original.put("a", "1");
  await original.put("a", "2");
  const common = await markerNow(original);
  await original.close();
  copyFileSync(file, `${file}.backup`);

  const continued = await openStore({ file });
  const marker = await markerNow(continued);
  await continued.put("a", "3");
  await continued.put("a", "4");
  const lost = await markerNow(continued);
  await continued.close();

  for (const suffix of ["-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
  copyFileSync(`${file}.backup`, file);
  const restored = await testStore({ file });
  expect(restored.storeId).toBe(original.storeId);
  // Behind the store: ahead of everything that was restored.
  expect(await firstError(restored, lost)).toMatchObject({ code: "STORE_REPLACED" });
  for (let n = 0; n < 5; n++) await restored.put("a", `other ${n}`);
  // Among revisions that were used again.
  expect(await firstError(restored, lost)).toMatchObject({ code: "STORE_REPLACED" });
  expect(await firstError(restored, lost.replace(/^a4/, "a3"))).toMatchObject({ code: "STORE_REPLACED" });
  // What both lives have in common is still a place to go on from.
  expect(marker).toBe(common);
  const { log } = await watchUntil(restored.watch({ resumeMarker: common }), 7n);
  expect(log).toEqual(["3 a=other 0", "4 a=other 1", "5 a=other 2", "6 a=other 3", "7 a=other 4"]);
});

test("a marker below the floor is too old, unless it is of another life: that is said first", async () => {
  const store = await testStore();
  const zero = await markerNow(store);
  for (let n = 0; n < 5; n++) await store.put("a", `${n}`);
  await store.compact(4n);
  const { marker } = await store.status();
  const oldest = marker.replace("a5", "a4");
  expect(await firstError(store, zero)).toMatchObject({
    code: "TOO_OLD",
    oldestMarker: oldest,
    incarnation: store.incarnation,
  });
  expect(await firstError(store, "a0.0000000000000000")).toMatchObject({ code: "STORE_REPLACED" });
  const event = (await store.watch({ resumeMarker: oldest }).next()).value as WatchEvent;
  expect(event).toEqual({ type: "progress", marker: oldest });
});
