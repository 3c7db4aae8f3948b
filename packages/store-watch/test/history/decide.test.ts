import { expect, test } from "vitest";
import { type ChangeFacts, decideSweep, decideVersion, type ObjectState } from "../../src/history/decide.ts";

const live: ObjectState = { id: 1, head: 4, level: 2, epoch: 1, version: "a5", seen: "a5", isDeleted: false };
const change: ChangeFacts = {
  isDelete: false,
  version: "a6",
  epoch: 1,
  isFirstInSnapshot: false,
  isRepair: false,
  position: 9,
};
const never = (): boolean => {
  throw new Error("a source with versions needs no comparison of values");
};
const decide = (object: Partial<ObjectState> | undefined, facts: Partial<ChangeFacts>, isSame = never) =>
  decideVersion(object && { ...live, ...object }, { ...change, ...facts }, isSame);

test("a greater version is new, any other is known", () => {
  expect(decide({}, { version: "a6" })).toBe("a6");
  expect(decide({}, { version: "a5" })).toBeUndefined();
  expect(decide({}, { version: "a4" })).toBeUndefined();
  expect(decide(undefined, { version: "a1" })).toBe("a1");
  expect(decide({}, { isDelete: true })).toBe("a6");
  expect(decide({}, { isDelete: true, version: "a5" })).toBeUndefined();
});

test("deleting what is not there is no version, whoever says it", () => {
  expect(decide(undefined, { isDelete: true })).toBeUndefined();
  expect(decide({ isDeleted: true }, { isDelete: true })).toBeUndefined();
  expect(decide({ isDeleted: true }, { isDelete: true, epoch: 2 })).toBeUndefined();
  expect(decide({ isDeleted: true }, { isDelete: true, version: undefined })).toBeUndefined();
});

test("another epoch always wins", () => {
  expect(decide({}, { version: "a1", epoch: 2 })).toBe("a1");
  expect(decide({}, { version: "a5", epoch: 2, isFirstInSnapshot: true })).toBe("a5");
  expect(decide({}, { version: "a1", epoch: 2, isDelete: true })).toBe("a1");
});

test("without versions an equal value is known, and the position is the version", () => {
  expect(decide({}, { version: undefined }, () => true)).toBeUndefined();
  expect(decide({}, { version: undefined }, () => false)).toBe("a9");
  expect(decide({ isDeleted: true }, { version: undefined })).toBe("a9");
  expect(decide({}, { version: undefined, isDelete: true })).toBe("a9");
  expect(decide(undefined, { version: undefined })).toBe("a9");
});

test("what a snapshot contains exists, also where the source contradicts itself", () => {
  const snapshot = { isFirstInSnapshot: true };
  expect(decide({}, { ...snapshot, version: "a5" })).toBeUndefined();
  expect(decide({ isDeleted: true, version: "a8" }, { ...snapshot, version: "a5" })).toBe("a5~9");
  expect(decide({}, { ...snapshot, version: "a3" })).toBe("a3~9");
  // Once it was taken in, the same snapshot again changes nothing.
  expect(decide({ version: "a3~4" }, { ...snapshot, version: "a3" })).toBeUndefined();
  // Within one snapshot the greater version wins.
  expect(decide({}, { version: "a3" })).toBeUndefined();
});

test("a repair compares what it knows, and takes the source's word for it", () => {
  const repair = { isFirstInSnapshot: true, isRepair: true };
  expect(decide({}, { ...repair, version: "a5" }, () => true)).toBeUndefined();
  expect(decide({}, { ...repair, version: "a5" }, () => false)).toBe("a5~9");
  // Once corrected it is known, under the source's version, too.
  expect(decide({ version: "a5~4", seen: "a5" }, { ...repair, version: "a5" }, () => true)).toBeUndefined();
  // Only the first of a key in the snapshot says what the source has.
  expect(decide({}, { isRepair: true, version: "a5" })).toBeUndefined();
});

test("a tombstone of a sweep has the snapshot's cursor, unless the source went further or used it already", () => {
  expect(decideSweep(live, 1, "a8", 9, true)).toBe("a8");
  expect(decideSweep(live, 1, "a5", 9, true)).toBe("a5~9");
  expect(decideSweep({ ...live, seen: "b10" }, 1, "a8", 9, true)).toBe("b10~9");
  expect(decideSweep(live, 2, "a1", 9, true)).toBe("a1");
  // A position of ours was "b43" once; so may be a cursor of the source.
  expect(decideSweep(live, 1, "b43", 57, false)).toBe("b57");
  // Cursors and versions of one source need not be comparable: nothing is lost when they are not.
  const swept = { isDeleted: true, version: "x9", seen: "a5" };
  expect(decide(swept, { version: "a6" })).toBe("a6");
  expect(decide(swept, { version: "x9" })).toBe("x9~9");
});
