import type { ChangeFrame, Frame, FrameSink, Source } from "@tidemark/store-watch/contract";
import type { FollowDefect } from "./follow-options.ts";

/** The source as somebody could have written it who overlooked something. */
export function withDefect(source: Source, defect: FollowDefect): Source {
  return {
    kind: source.kind,
    description: source.description,
    scope: source.scope,
    capabilities: source.capabilities,
    run: (from, sink, signal) => source.run(from, withFrames(sink, mutants[defect]()), signal),
    ...(source.barrier !== undefined && { barrier: source.barrier.bind(source) }),
  };
}

/** Frames in, frames out. */
type Mutant = (frame: Frame, pass: (frame: Frame) => boolean) => boolean;

const mutants: Readonly<Record<FollowDefect, () => Mutant>> = {
  "loses-changes": () => everyNthChange(500, () => true),
  "runs-ahead": () =>
    // A group that is cut in two: its first half is committed with the position of the whole.
    everyNthChange(50, (change, pass) => pass(change) && pass({ type: "commit", cursor: change.version ?? "" })),
  "hides-gaps": () => (frame, pass) => (frame.type === "gap" ? true : pass(frame)),
};

/** Does something else with every nth change that is not part of a snapshot. */
function everyNthChange(n: number, instead: (change: ChangeFrame, pass: (frame: Frame) => boolean) => boolean): Mutant {
  let changes = 0;
  let isSnapshot = false;
  return (frame, pass) => {
    if (frame.type === "begin-snapshot") isSnapshot = true;
    else if (frame.type === "snapshot-end" || frame.type === "discard") isSnapshot = false;
    return frame.type === "change" && !isSnapshot && ++changes % n === 0 ? instead(frame, pass) : pass(frame);
  };
}

function withFrames(sink: FrameSink, mutant: Mutant): FrameSink {
  return {
    write: (frame) => mutant(frame, (passed) => sink.write(passed)),
    ready: (signal) => sink.ready(signal),
    alive: () => sink.alive(),
    status: (status) => sink.status(status),
  };
}
