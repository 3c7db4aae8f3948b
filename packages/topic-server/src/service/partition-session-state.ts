/**
 * - `starting`: the client was told, and no data goes out before it answers.
 * - `reading`: data goes out.
 * - `stopping`: the client was asked to finish; it may still commit, for as long as it likes.
 * - `gone`: somebody else's.
 */
type PartitionPhase = "starting" | "reading" | "stopping" | "gone";

export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface PartitionSessionState {
  readonly phase: PartitionPhase;
  /** On the disk. */
  readonly committed: number;
  /** On its way there. */
  readonly planned: number;
  /** What the client was told is committed when it was told of the partition; undefined: it was not yet. */
  readonly told: number | undefined;
  /** Committed by the client beyond a hole, in order. */
  readonly ahead: readonly Range[];
  /** Whether a group of readers remembers what is committed. */
  readonly hasConsumer: boolean;
}

export type PartitionSessionEvent =
  /** The client is told of the partition, and of what is committed. */
  | { readonly type: "offered" }
  | {
      readonly type: "started";
      readonly readOffset: number | undefined;
      readonly commitOffset: number | undefined;
      /** Where the messages that the reader asked for begin, by their age. */
      readonly cut: number;
      readonly startOffset: number;
      readonly endOffset: number;
    }
  | { readonly type: "commit"; readonly ranges: readonly Range[]; readonly endOffset: number }
  | { readonly type: "persisted"; readonly offset: number }
  /** Committed by somebody else. */
  | { readonly type: "moved"; readonly offset: number }
  | { readonly type: "stop"; readonly isGraceful: boolean }
  | { readonly type: "stopAnswered" };

type PartitionSessionEffect =
  | { readonly type: "read"; readonly from: number }
  | { readonly type: "persist"; readonly offset: number }
  | { readonly type: "acknowledge"; readonly offset: number }
  | { readonly type: "sendStop"; readonly isGraceful: boolean }
  | { readonly type: "released" }
  /** BAD_REQUEST for the whole stream. */
  | { readonly type: "fail"; readonly detail: string };

export type PartitionSessionStep = readonly [PartitionSessionState, ...PartitionSessionEffect[]];

export function openPartitionSession(committed: number, hasConsumer: boolean): PartitionSessionState {
  return { phase: "starting", committed, planned: committed, told: undefined, ahead: [], hasConsumer };
}

/** The rules of one partition on one StreamRead. */
export function partitionSessionNext(state: PartitionSessionState, event: PartitionSessionEvent): PartitionSessionStep {
  switch (event.type) {
    case "offered":
      return [{ ...state, told: state.committed }];
    case "started":
      return start(state, event);
    case "commit":
      return state.phase === "gone" ? [state] : commit(state, event.ranges, event.endOffset);
    case "persisted": {
      if (event.offset <= state.committed) return [state];
      const next = { ...state, committed: event.offset };
      // What was given away is not this client's to hear about.
      return state.phase === "gone" ? [next] : [next, { type: "acknowledge", offset: event.offset }];
    }
    case "moved":
      return moved(state, event.offset);
    case "stop":
      return stop(state, event.isGraceful);
    case "stopAnswered":
      if (state.phase === "gone") return [state];
      if (state.phase !== "stopping") {
        return [state, { type: "fail", detail: "got a stop_partition_session_response that nobody asked for" }];
      }
      return [{ ...state, phase: "gone" }, { type: "released" }];
  }
}

function start(
  state: PartitionSessionState,
  event: Extract<PartitionSessionEvent, { type: "started" }>,
): PartitionSessionStep {
  // Asked to stop before it began, or not told twice.
  if (state.phase === "gone" || state.phase === "stopping") return [state];
  if (state.phase === "reading") return [state, { type: "fail", detail: "the partition session was started already" }];
  const { readOffset, commitOffset, cut, startOffset, endOffset } = event;
  const fail = (detail: string): PartitionSessionStep => [state, { type: "fail", detail }];
  // The client went by what it was told; others may have committed since.
  const told = state.told ?? state.committed;
  if (readOffset !== undefined && state.hasConsumer && readOffset < told) {
    return fail(`read_offset ${readOffset} is below the committed offset ${told}`);
  }
  if (readOffset !== undefined && (readOffset < 0 || readOffset > endOffset)) {
    return fail(`read_offset ${readOffset} is outside of the partition, which ends at ${endOffset}`);
  }
  if (commitOffset !== undefined && !state.hasConsumer) return fail("commit_offset needs a consumer");
  if (commitOffset !== undefined && (commitOffset < told || commitOffset > endOffset)) {
    return fail(`commit_offset ${commitOffset} is not within ${told} and ${endOffset}`);
  }
  const planned = Math.max(state.planned, commitOffset ?? 0);
  const from = Math.max(state.committed, planned, readOffset ?? 0, cut, startOffset);
  const effects: PartitionSessionEffect[] = [];
  if (state.committed > told) effects.push({ type: "acknowledge", offset: state.committed });
  if (planned > state.planned) effects.push({ type: "persist", offset: planned });
  return [{ ...state, phase: "reading", planned }, ...effects, { type: "read", from }];
}

function commit(state: PartitionSessionState, ranges: readonly Range[], endOffset: number): PartitionSessionStep {
  const fail = (detail: string): PartitionSessionStep => [state, { type: "fail", detail }];
  if (!state.hasConsumer) return fail("a read without a consumer has nothing to commit to");
  if (state.phase === "starting") return fail("got a commit before start_partition_session_response");
  const ahead = [...state.ahead];
  for (const range of ranges) {
    if (range.start >= range.end) return fail(`the range from ${range.start} to ${range.end} is empty`);
    if (range.end > endOffset) return fail(`the commit to ${range.end} is beyond the partition's end, ${endOffset}`);
    let at = ahead.length;
    while (at > 0 && (ahead[at - 1] as Range).start > range.start) at--;
    const before = at === 0 ? state.planned : (ahead[at - 1] as Range).end;
    const after = ahead[at]?.start ?? Number.POSITIVE_INFINITY;
    if (range.start < before || range.end > after) {
      return fail(`double committing is forbidden: ${range.start} to ${range.end} is committed in part`);
    }
    ahead.splice(at, 0, range);
  }
  const next = joined({ ...state, ahead });
  return next.planned === state.planned ? [next] : [next, { type: "persist", offset: next.planned }];
}

/** The client hears of it, so that it does not commit again what is committed. */
function moved(state: PartitionSessionState, offset: number): PartitionSessionStep {
  if (state.phase === "gone" || offset <= state.committed) return [state];
  const planned = Math.max(state.planned, offset);
  const next = joined({ ...state, committed: offset, planned, ahead: behind(state.ahead, planned) });
  // A client that has not answered yet hears of it when it has.
  if (state.phase === "starting") return [next];
  const told = { type: "acknowledge", offset } as const;
  // What waited for just these offsets is complete now.
  return next.planned === planned ? [next, told] : [next, told, { type: "persist", offset: next.planned }];
}

/** Takes in the ranges that are not beyond a hole any more. */
function joined(state: PartitionSessionState): PartitionSessionState {
  let { planned } = state;
  let done = 0;
  while (state.ahead[done]?.start === planned) planned = (state.ahead[done++] as Range).end;
  return { ...state, planned, ahead: state.ahead.slice(done) };
}

function stop(state: PartitionSessionState, isGraceful: boolean): PartitionSessionStep {
  if (state.phase === "gone" || (state.phase === "stopping" && isGraceful)) return [state];
  const told = { type: "sendStop", isGraceful } as const;
  // Who never heard of a partition needs not give it back.
  if (state.told === undefined) return [{ ...state, phase: "gone" }, { type: "released" }];
  if (isGraceful) return [{ ...state, phase: "stopping" }, told];
  return [{ ...state, phase: "gone", ahead: [] }, told, { type: "released" }];
}

function behind(ranges: readonly Range[], offset: number): Range[] {
  return ranges
    .filter((range) => range.end > offset)
    .map((range) => ({ start: Math.max(range.start, offset), end: range.end }));
}
