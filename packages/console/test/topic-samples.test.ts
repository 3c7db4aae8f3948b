import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TopicSchema } from "../src/gen/tidemark/admin/v1/admin_pb.ts";
import { highest, keptMs, plotTable } from "../src/page/state/samples.ts";
import { addHole, addTopics } from "../src/page/state/topic-samples.ts";

const topic = (written: number, lags: Readonly<Record<string, number>> = {}) =>
  create(TopicSchema, {
    path: "/local/t",
    written: BigInt(written),
    consumers: Object.entries(lags).map(([name, lag]) => ({ name, lag: BigInt(lag) })),
  });
const rates = (all: ReturnType<typeof addTopics>) =>
  all.get("/local/t")?.writtenPerSecond.map(({ value }) => value ?? null);

test("the rate is what was written between two readings, and nothing where that is not known", () => {
  let all = addTopics(new Map(), [topic(100)], 0);
  all = addTopics(all, [topic(300)], 2_000);
  expect(rates(all)).toEqual([null, 100]);
  // Dropped and made anew meanwhile: fewer than before.
  all = addTopics(all, [topic(10)], 4_000);
  expect(rates(all)).toEqual([null, 100, null]);
  // Nobody looked for a minute: what happened when is not known.
  all = addTopics(all, [topic(70)], 64_000);
  expect(rates(all)?.at(-1)).toBe(null);
});

test("lines of consumers end with them, and have a hole while nothing is known", () => {
  let all = addTopics(new Map(), [topic(1, { a: 5, b: 1 })], 0);
  all = addHole(all, 1_000);
  expect(addHole(all, 2_000)).toEqual(all);
  all = addTopics(all, [topic(1, { a: 3 })], 3_000);
  expect([...(all.get("/local/t")?.lag ?? [])]).toEqual([
    [
      "a",
      [
        { atMs: 0, value: 5 },
        { atMs: 1_000, value: undefined },
        { atMs: 3_000, value: 3 },
      ],
    ],
  ]);
  expect(addTopics(all, [], 4_000).size).toBe(0);
});

test("lines that were read at other times are not cut by each other, and holes stay holes", () => {
  const one = [
    { atMs: 1_000, value: 1 },
    { atMs: 3_000, value: undefined },
  ];
  const other = [{ atMs: 2_000, value: 7 }];
  expect(plotTable([one, other], 0)).toEqual({
    timesSec: [1, 2, 3],
    lines: [
      [1, undefined, null],
      [undefined, 7, undefined],
    ],
  });
  expect(plotTable([one, other], 1_500).timesSec).toEqual([2, 3]);
});

test("the highest is of the time that is shown", () => {
  const samples = [
    { atMs: 0, value: 9 },
    { atMs: 10, value: undefined },
    { atMs: keptMs, value: 2 },
  ];
  expect(highest(samples, 0)).toBe(9);
  expect(highest(samples, 5)).toBe(2);
  expect(highest(samples, keptMs + 1)).toBe(undefined);
});
