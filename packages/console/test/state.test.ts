import fc from "fast-check";
import { expect, test } from "vitest";
import type { Version } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { addActivity, noActivity } from "../src/page/state/activity.ts";
import { addOlder, addVersions, comparisonOf, type KeyHistory } from "../src/page/state/key-state.ts";
import { addSample, keptMs, plotLines, plotMs, type Sample } from "../src/page/state/samples.ts";
import { applyChanges, isOutgrown, openPage, type TableRange } from "../src/page/state/table-state.ts";
import { ageOfStep, scaleMarks, scaleSteps, stepOfAge } from "../src/page/state/time-scale.ts";
import { firstView, pageNames, fromFragment, isSameTable, toFragment, type View } from "../src/page/state/view.ts";
import { bytesOf, compareBytes } from "../src/page/text/bytes.ts";
import { version } from "./support/versions.ts";

const range = (more: Partial<TableRange> = {}): TableRange => ({
  stream: "s",
  start: new Uint8Array(),
  end: undefined,
  withDeleted: false,
  ...more,
});
const keysOf = (rows: readonly Version[]) => rows.map(({ key }) => new TextDecoder().decode(key));

/** What a server with this log answers for a range. */
function list(log: readonly Version[], { stream, start, end, withDeleted }: TableRange, limit: number) {
  const heads = new Map<string, Version>();
  for (const entry of log) if (entry.stream === stream) heads.set(String(entry.key), entry);
  const rows = [...heads.values()]
    .filter(({ key, deleted }) => (withDeleted || !deleted) && compareBytes(key, start) >= 0)
    .filter(({ key }) => end === undefined || compareBytes(key, end) < 0)
    .sort((a, b) => compareBytes(a.key, b.key));
  return { rows: rows.slice(0, limit), hasMore: rows.length > limit };
}

const changes = fc.array(
  fc.record({
    key: fc.constantFrom("a", "b", "ba", "c", "d", "da", "e"),
    isDelete: fc.boolean(),
    stream: fc.constantFrom("s", "s", "s", "other"),
  }),
  { maxLength: 40 },
);

test("a page that takes pushed changes equals one that is read again", () => {
  fc.assert(
    fc.property(
      changes,
      fc.nat(40),
      fc.nat(40),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      (made, readAt, resumeAt, limit, withDeleted) => {
        const log = made.map(({ key, isDelete, stream }, i) => version(i + 1, key, isDelete ? null : `v${i}`, stream));
        const asked = range({ start: bytesOf("b"), withDeleted });
        const read = list(log.slice(0, readAt), asked, limit);
        // What is pushed may begin before the reading as well: it is told again.
        const pushed = log.slice(Math.min(readAt, resumeAt));
        const opened = openPage(asked, read.rows, read.hasMore);
        const live = applyChanges(opened, pushed);
        expect(live.rows).toEqual(list(log, opened.range, 1_000).rows);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("changes cut into any pieces give the same page", () => {
  fc.assert(
    fc.property(changes, fc.nat(40), (made, cut) => {
      const log = made.map(({ key, isDelete }, i) => version(i + 1, key, isDelete ? null : "v"));
      const page = openPage(range(), [], false);
      const whole = applyChanges(page, log);
      const pieces = applyChanges(applyChanges(page, log.slice(0, cut)), log.slice(cut));
      expect(pieces.rows).toEqual(whole.rows);
    }),
  );
});

test("a page with more to come ends behind its last row", () => {
  const page = openPage(range(), [version(1, "a"), version(2, "b")], true);
  expect(keysOf(applyChanges(page, [version(3, "c"), version(4, "aa"), version(5, "b\0")]).rows)).toEqual([
    "a",
    "aa",
    "b",
  ]);
});

test("a change that changes nothing gives the same page", () => {
  const page = openPage(range(), [version(5, "a")], false);
  expect(applyChanges(page, [version(4, "a"), version(6, "x", null), version(7, "a", "v", "other")])).toBe(page);
});

test("deleted keys stay where they are wanted", () => {
  const page = openPage(range({ withDeleted: true }), [version(1, "a")], false);
  expect(applyChanges(page, [version(2, "a", null)]).rows).toMatchObject([{ deleted: true }]);
});

test("a page that grew or shrank too much wants to be read again", () => {
  const rows = (n: number) => Array.from({ length: n }, (_, i) => version(i + 1, String(i).padStart(4, "0")));
  expect(isOutgrown(openPage(range(), rows(100), true))).toBe(false);
  expect(isOutgrown(openPage(range(), rows(201), false))).toBe(true);
  expect(isOutgrown(openPage(range(), rows(49), true))).toBe(true);
  expect(isOutgrown(openPage(range(), rows(49), false))).toBe(false);
});

test("any view survives the way through an address", () => {
  const view: fc.Arbitrary<View> = fc.record({
    page: fc.constantFrom(...pageNames),
    topic: fc.option(fc.string(), { nil: undefined }),
    stream: fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
    prefix: fc.string({ unit: "grapheme" }),
    start: fc.option(fc.uint8Array(), { nil: undefined }),
    withDeleted: fc.boolean(),
    at: fc.option(
      fc.oneof(
        fc.record({ type: fc.constant("time" as const), ms: fc.integer({ min: 0, max: 4e12 }) }),
        fc.record({ type: fc.constant("position" as const), position: fc.bigInt({ min: 0n, max: 10n ** 18n }) }),
      ),
      { nil: undefined },
    ),
    key: fc.option(fc.record({ stream: fc.string({ minLength: 1 }), key: fc.uint8Array() }), { nil: undefined }),
  });
  fc.assert(
    fc.property(view, (wanted) => {
      const plain = (v: View) => JSON.stringify(v, (_, x: unknown) => (typeof x === "bigint" ? `${x}n` : x));
      expect(plain(fromFragment(toFragment(wanted)))).toBe(plain(wanted));
    }),
    { numRuns: 1_000 },
  );
  expect(toFragment(firstView)).toBe("");
});

test("an address that makes no sense shows what is left of it", () => {
  expect(fromFragment("#at=yesterday&position=-3&prefix=a&key=~%2a&start=~%2a&x=y")).toEqual({
    ...firstView,
    prefix: "a",
  });
  expect(fromFragment("#key=a")).toEqual(firstView);
});

test("an open key is no other table", () => {
  const key = { stream: "s", key: bytesOf("a") };
  expect(isSameTable(firstView, { ...firstView, key })).toBe(true);
  expect(isSameTable(firstView, { ...firstView, prefix: "a" })).toBe(false);
});

test("the latest changes are kept newest first, each once", () => {
  let activity = addActivity(noActivity, [version(1, "a"), version(2, "b")]);
  activity = addActivity(activity, [version(2, "b"), version(3, "c")]);
  expect(keysOf(activity.changes)).toEqual(["c", "b", "a"]);
  expect(addActivity(activity, [version(3, "c")])).toBe(activity);
  const many = Array.from({ length: 250 }, (_, i) => version(i + 4, `k${i}`));
  activity = addActivity(activity, many);
  expect(activity.changes).toHaveLength(100);
  expect(keysOf(activity.changes)[0]).toBe("k249");
});

const history = (...versions: readonly Version[]): KeyHistory => ({
  stream: "s",
  key: bytesOf("a"),
  versions,
  heads: [],
  next: undefined,
  shown: undefined,
  base: undefined,
});

test("a key shows its newest version and compares it with the one before", () => {
  const one = history(version(2, "a"), version(1, "a"));
  expect(comparisonOf(one, undefined)).toMatchObject({ shown: { position: 2n }, base: { position: 1n } });
  const two = addVersions(one, [version(3, "b"), version(4, "a"), version(5, "a", "v", "other"), version(6, "a")]);
  expect(two.versions.map(({ position }) => position)).toEqual([6n, 4n, 2n, 1n]);
  expect(comparisonOf(two, undefined)).toMatchObject({ shown: { position: 6n }, base: { position: 4n } });
  // A choice stays what it is while newer versions come.
  expect(comparisonOf({ ...two, shown: 2n }, undefined)).toMatchObject({
    shown: { position: 2n },
    base: { position: 1n },
  });
  expect(comparisonOf({ ...two, base: 1n }, undefined)).toMatchObject({
    shown: { position: 6n },
    base: { position: 1n },
  });
});

test("in the past a key shows the version of then", () => {
  const it = history(version(30, "a"), version(20, "a"), version(10, "a"));
  expect(comparisonOf(it, { type: "position", position: 29n })).toMatchObject({ shown: { position: 20n } });
  expect(comparisonOf(it, { type: "time", ms: 10_000 })).toMatchObject({ shown: { position: 10n }, base: undefined });
  expect(comparisonOf(it, { type: "time", ms: 9_999 })).toEqual({ shown: undefined, base: undefined });
});

test("older versions are added once", () => {
  const it = addOlder(history(version(3, "a"), version(2, "a")), [version(2, "a"), version(1, "a")], "more");
  expect(it.versions.map(({ position }) => position)).toEqual([3n, 2n, 1n]);
  expect(it.next).toBe("more");
  expect(addVersions(it, [version(3, "a")])).toBe(it);
});

test("a plot has a hole where nothing was known, and forgets", () => {
  let samples: readonly Sample[] = [];
  for (const [atMs, value] of [
    [0, 1],
    [60_000, 2],
    [61_000, undefined],
    [62_000, 4],
    [plotMs + 1_000, 8],
  ] as const) {
    samples = addSample(samples, { atMs, value });
  }
  // What is too old for a small plot is not in it, and stays for the large ones.
  expect(samples).toHaveLength(5);
  expect(plotLines(samples, 121_000, 8)).toEqual([
    [[1 - 61_000 / plotMs, 0.25]],
    [
      [1 - 59_000 / plotMs, 0.5],
      [1, 1],
    ],
  ]);
  expect(plotLines([{ atMs: 0, value: 0 }], 0, 0)).toEqual([[[1, 0]]]);
  const later = addSample(samples, { atMs: keptMs + 60_500, value: 9 });
  expect(later.map(({ atMs }) => atMs)).toEqual([61_000, 62_000, 121_000, keptMs + 60_500]);
});

test("the time slider reaches from now to the first change, finer towards now", () => {
  const day = 86_400_000;
  expect(ageOfStep(scaleSteps, day)).toBe(0);
  expect(Math.round(ageOfStep(0, day))).toBe(day);
  for (let step = 1; step <= scaleSteps; step++) {
    expect(ageOfStep(step, day)).toBeLessThan(ageOfStep(step - 1, day));
    expect(stepOfAge(ageOfStep(step, day), day)).toBe(step);
  }
  expect(scaleMarks(2 * 3_600_000).map(({ text }) => text)).toEqual(["1 h", "10 min", "1 min", "10 s"]);
  expect(scaleMarks(0)).toEqual([]);
});
