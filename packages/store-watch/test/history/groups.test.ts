import { expect, test } from "vitest";
import type { Frame } from "../../src/contract.ts";
import { FrameReader } from "../../src/frame-layout.ts";
import { type OpenGroup, planGroups } from "../../src/history/groups.ts";
import { begin, bufferOf, commit, discard, end, progress, put, reset } from "./helpers.ts";

const change = put("a", "1", 1);
const gap: Frame = { type: "gap", reason: "disconnected", detail: "" };

function plan(frames: Frame[], before?: OpenGroup) {
  const { steps, open, openFrom, clearsStage } = planGroups(new FrameReader(bufferOf(frames).toTransfer()), before);
  const shown = steps.map((step) =>
    step.type === "apply"
      ? `${step.withStage ? "stage+" : ""}${step.from}-${step.to}${step.snapshotEpoch === undefined ? "" : ` of ${step.snapshotEpoch}`}`
      : `${step.type} ${step.frame}`,
  );
  return { steps: shown, open: open && [open.snapshotEpoch ?? "stream", openFrom], clearsStage };
}

const stream: OpenGroup = { snapshotEpoch: undefined };
const snapshot: OpenGroup = { snapshotEpoch: "e" };

test("finds groups, and what is open at the end", () => {
  expect(plan([change, change, commit(1), commit(2), progress(3), change])).toEqual({
    steps: ["0-2", "3-3", "progress 4"],
    open: ["stream", 5],
    clearsStage: false,
  });
  expect(plan([begin("e"), change, end(1)])).toEqual({ steps: ["1-2 of e"], open: undefined, clearsStage: false });
  expect(plan([change, commit(1), begin("e"), change])).toEqual({ steps: ["0-1"], open: ["e", 3], clearsStage: false });
});

test("continues an open group with what was staged, once", () => {
  expect(plan([change, commit(1), change, commit(2)], stream)).toEqual({
    steps: ["stage+0-1", "2-3"],
    open: undefined,
    clearsStage: true,
  });
  expect(plan([end(1)], snapshot)).toEqual({ steps: ["stage+0-0 of e"], open: undefined, clearsStage: true });
  expect(plan([change, change], snapshot)).toEqual({ steps: [], open: ["e", 0], clearsStage: false });
  expect(plan([], snapshot)).toEqual({ steps: [], open: ["e", 0], clearsStage: false });
});

test("discard, reset, gap and another snapshot void the open group", () => {
  for (const [frame, step] of [
    [discard, []],
    [reset("f"), ["reset 1"]],
    [gap, ["gap 1"]],
  ] as const) {
    expect(plan([change, frame, change, commit(2)], stream)).toEqual({
      steps: [...step, "2-3"],
      open: undefined,
      clearsStage: true,
    });
  }
  expect(plan([change, begin("f"), change, begin("g"), change, end(1)], snapshot)).toEqual({
    steps: ["4-5 of g"],
    open: undefined,
    clearsStage: true,
  });
});

test("a commit within a snapshot is a defect of the source", () => {
  expect(() => plan([begin("e"), change, commit(1)])).toThrow(/PROTOCOL/);
  expect(() => plan([commit(1)], snapshot)).toThrow(/PROTOCOL/);
  expect(plan([change, end(1)])).toMatchObject({ steps: ["0-1"] });
});
