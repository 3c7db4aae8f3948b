import { expect, test } from "vitest";
import type { StoredTopic } from "../src/chaos/topics/topic-log.ts";
import { judgeTopics, type TopicsLedger } from "../src/chaos/topics/topics-oracle.ts";

const textOf = (producer: string, seqNo: number) => `${producer}${seqNo}`;
const stored = (offset: number, producer: string, seqNo: number) => ({
  offset,
  producer,
  seqNo,
  text: textOf(producer, seqNo),
});

/** Two producers in one partition, all of it read in two lives. */
const soundStore: StoredTopic = {
  partitions: new Map([[0, [stored(0, "a", 1), stored(1, "b", 1), stored(2, "a", 2), stored(3, "b", 2)]]]),
  committed: new Map([[0, 4]]),
};
const soundLedger: TopicsLedger = {
  acknowledged: new Map([
    ["a", 2],
    ["b", 1],
  ]),
  written: { a: 2, b: 2 },
  deliveries: [
    { partition: 0, first: 0, messages: [["a", 1]], committedBefore: 0 },
    { partition: 0, first: 1, messages: [["b", 1]], committedBefore: 0 },
    // It died before it could commit, so that came again.
    {
      partition: 0,
      first: 1,
      messages: [
        ["b", 1],
        ["a", 2],
        ["b", 2],
      ],
      committedBefore: 1,
    },
  ],
  committed: new Map([[0, 4]]),
};

const judge = (ledger: Partial<TopicsLedger>, store: Partial<StoredTopic> = {}) =>
  judgeTopics({ ...soundLedger, ...ledger }, { ...soundStore, ...store }, textOf);
const messages = (...list: readonly ReturnType<typeof stored>[]) => ({ partitions: new Map([[0, list]]) });

test("what is there once, in order and was delivered is sound", () => {
  expect(judge({})).toEqual([]);
});

test.each([
  ["a message that is missing in between", messages(stored(0, "a", 1), stored(1, "a", 3)), /^lost: number 3 of a/],
  ["one that was acknowledged", messages(stored(0, "a", 1), stored(1, "b", 1)), /^lost: a was acknowledged up to 2/],
  ["one that is there twice", messages(stored(0, "a", 1), stored(1, "a", 1)), /^doubled: number 1 of a/],
  ["one out of order", messages(stored(0, "a", 2), stored(1, "a", 1)), /^doubled: number 1 of a/],
  ["one that nobody wrote", messages(stored(0, "c", 1)), /^invented: number 1 of c/],
  ["one with another text", messages({ ...stored(0, "a", 1), text: "x" }), /^different: number 1 of a/],
  ["offsets with a hole", messages(stored(1, "a", 1)), /^offsets: /],
  ["a commit that was forgotten", { committed: new Map([[0, 3]]) }, /^commit: 4 of 0 was said to be committed/],
  ["a commit of what nobody got", { committed: new Map([[0, 9]]) }, /^commit: 9 of 0 is committed/],
])("%s is found", (_, store, finding) => {
  expect(judge({}, store).join("\n")).toMatch(new RegExp(finding.source, "m"));
});

test("what a reader did not get, got again after a commit, or got as something else is found", () => {
  const [first, second, third] = soundLedger.deliveries as [never, never, never];
  expect(judge({ deliveries: [first, second] })).toContainEqual(expect.stringMatching(/^skipped: 0 ends at 4/));
  expect(judge({ deliveries: [first, { ...(third as object), first: 2 } as never] })).toContainEqual(
    expect.stringMatching(/^skipped: offsets 1 to 2/),
  );
  expect(judge({ deliveries: [first, { ...(third as object), committedBefore: 2 } as never] })).toContainEqual(
    expect.stringMatching(/^again: offset 1/),
  );
  const wrong = { partition: 0, first: 1, messages: [["b", 7]], committedBefore: 0 } as const;
  expect(judge({ deliveries: [first, wrong, third] })).toContainEqual(expect.stringMatching(/^different: number 7/));
});
