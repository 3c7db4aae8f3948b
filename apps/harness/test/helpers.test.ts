import { expect, test } from "vitest";
import { findPackageBench } from "../src/bench/package-benches.ts";
import { rowsOfOutput } from "../src/bench/output-rows.ts";
import { count, duration, renderReport, type ReportSection } from "../src/bench/report.ts";
import { median, percentile, ratios } from "../src/bench/stats.ts";
import { keyText, nextKey, prefixEnd } from "../src/keys.ts";

test("a median is the middle, and a percentile is a value that was measured", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(percentile(hundred, 99)).toBe(99);
  expect(percentile(hundred, 100)).toBe(100);
  expect(percentile([7], 99)).toBe(7);
  expect(median([])).toBeNaN();
});

test("ratios pair what was measured in the same repetition", () => {
  expect(ratios([10, 30], [20, 30])).toEqual([0.5, 1]);
});

test("a prefix ends before the first key without it", () => {
  expect(keyText(prefixEnd(Buffer.from("/a/")))).toBe("/a0");
  expect([...prefixEnd(Uint8Array.of(1, 0xff, 0xff))]).toEqual([2]);
  expect([...prefixEnd(Uint8Array.of(0xff))]).toEqual([0]);
  expect([...nextKey(Uint8Array.of(1, 2))]).toEqual([1, 2, 0]);
});

test("numbers are printed with three digits that mean something", () => {
  expect([count(640), count(98_765), count(1_213_000)]).toEqual(["640", "98.8 k", "1.21 M"]);
  expect([duration(1_234), duration(310.4), duration(4.72)]).toEqual(["1.23 s", "310 ms", "4.7 ms"]);
});

test("a report prints its conditions, its tables, and whether each goal is met", () => {
  const section: ReportSection = {
    title: "Backlog",
    notes: ["A note."],
    columns: ["changes/s", "time"],
    rows: [{ name: "bare", cells: ["10 k", undefined] }],
    goals: [{ name: "watch", goal: "≥ 60 %", measured: "91 %", isMet: true }],
    raw: undefined,
  };
  expect(renderReport({ name: "etcd", conditions: { node: "v24" }, sections: [section] })).toBe(
    [
      "# etcd",
      "",
      "- node: v24",
      "",
      "## Backlog",
      "",
      "A note.",
      "",
      "|      | changes/s | time |",
      "|------|----------:|-----:|",
      "| bare |      10 k |    – |",
      "",
      "## Goals",
      "",
      "|       |   goal | measured | met |",
      "|-------|-------:|---------:|----:|",
      "| watch | ≥ 60 % |     91 % | yes |",
      "",
    ].join("\n"),
  );
});

test("a benchmark of a package is found by its whole name, or by its own where that is the only one", () => {
  const benches = ["stream/handoff", "a/store", "b/store"].map((name) => ({ name, file: name }));
  expect(findPackageBench("stream/handoff", benches)?.name).toBe("stream/handoff");
  expect(findPackageBench("handoff", benches)?.name).toBe("stream/handoff");
  expect(findPackageBench("store", benches)).toBeUndefined();
  expect(findPackageBench("none", benches)).toBeUndefined();
});

test("what a package's benchmark prints is rows with names and results", () => {
  const output = [
    "| what | a second |",
    "| --- | ---: |",
    "| put | 12,000 |",
    "",
    "1000 rows: first 3.10 ms, then p50 0.4 ms",
    "100 B  all  writer 80 ns",
    "┌─────────┬──────────┬───────┐",
    "│ (index) │ buffer   │ drops │",
    "├─────────┼──────────┼───────┤",
    "│ 0       │ 'list'   │ 0     │",
    "└─────────┴──────────┴───────┘",
    '{"loopP99Ms":2.1}',
    "",
  ].join("\n");
  expect(rowsOfOutput("a/b", output)).toEqual([
    { name: "a/b: put", result: "a second 12,000" },
    { name: "a/b: 1000 rows", result: "first 3.10 ms, then p50 0.4 ms" },
    { name: "a/b", result: "100 B  all  writer 80 ns" },
    { name: "a/b: list", result: "drops 0" },
    { name: "a/b", result: '{"loopP99Ms":2.1}' },
  ]);
});
