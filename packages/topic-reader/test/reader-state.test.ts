// What each event does to a session in each of its states.

import { expect, test } from "vitest";
import type { PartitionSession, SessionStatus } from "../src/partition.ts";
import type { ReaderEffect } from "../src/reader-effect.ts";
import { ReaderState } from "../src/reader-state.ts";

const columns = (sessionId: number, from: number, length: number, isRaw = true) => ({
  sessionId,
  length,
  isRaw,
  offset: (index: number) => from + index,
});
type State = ReaderState<ReturnType<typeof columns>>;
type Session = PartitionSession<ReturnType<typeof columns>>;

/** A session with messages 0 to 2, of which 0 and 1 are delivered and their commit is pending. */
function inStatus(status: SessionStatus): { readonly state: State; readonly session: Session } {
  const state: State = new ReaderState({ maxBufferBytes: 1_000, hasConsumer: true });
  state.connected();
  state.startRequested("/local/a", 0, { id: 1, committed: 0, firstOffset: 0, endOffset: 10 });
  const session = [...state.sessions][0] as Session;
  if (status !== "starting") {
    state.answerStart(session);
    state.received(300, [columns(1, 0, 3)]);
    state.take(2);
    state.handled(session);
    state.commit(session.partition, 0, 2);
    state.flushCommits();
  }
  if (status === "stopping") state.stopRequested(1, true, 0);
  if (status === "over") state.stopRequested(1, false, 0);
  expect(session.status).toBe(status);
  state.effects = [];
  return { state, session };
}

const events = {
  answerStart: (state: State, session: Session) => state.answerStart(session, 5),
  received: (state: State) => state.received(400, [columns(1, 3, 2)]),
  "graceful stop": (state: State) => state.stopRequested(1, true, 0),
  "graceful stop, all committed": (state: State) => state.stopRequested(1, true, 2),
  "forced stop": (state: State) => state.stopRequested(1, false, 0),
  endReached: (state: State) => state.endReached(1, [4]),
  commitAcknowledged: (state: State) => state.commitAcknowledged(1, 2),
  stopOverdue: (state: State, session: Session) => state.stopOverdue(session),
  disconnected: (state: State) => state.disconnected(),
  close: (state: State) => state.close(),
} as const;

/** The status that follows, and the effects in order. */
type Row = readonly [SessionStatus, ...ReaderEffect["type"][]];

const table: Record<SessionStatus, Record<keyof typeof events, Row>> = {
  starting: {
    answerStart: ["active", "answer-start", "tell"],
    received: ["starting", "request"],
    "graceful stop": ["over", "answer-stop", "ended", "tell"],
    "graceful stop, all committed": ["over", "answer-stop", "ended", "tell"],
    "forced stop": ["over", "ended", "tell"],
    endReached: ["starting", "tell"],
    commitAcknowledged: ["starting", "committed"],
    stopOverdue: ["starting"],
    disconnected: ["over", "ended", "tell"],
    close: ["starting", "flushed"],
  },
  active: {
    answerStart: ["active"],
    received: ["active"],
    "graceful stop": ["stopping", "request", "arm-stop", "tell"],
    "graceful stop, all committed": ["over", "request", "arm-stop", "tell", "answer-stop", "ended", "tell"],
    "forced stop": ["over", "request", "tell", "ended", "tell"],
    endReached: ["active"],
    commitAcknowledged: ["active", "committed"],
    stopOverdue: ["active"],
    disconnected: ["over", "arm-loss", "ended", "tell"],
    close: ["active"],
  },
  stopping: {
    answerStart: ["stopping"],
    received: ["stopping", "request"],
    "graceful stop": ["stopping"],
    "graceful stop, all committed": ["over", "answer-stop", "ended", "tell"],
    "forced stop": ["over", "tell", "ended", "tell"],
    endReached: ["stopping", "tell"],
    commitAcknowledged: ["over", "committed", "answer-stop", "ended", "tell"],
    stopOverdue: ["over", "answer-stop", "tell", "ended", "tell"],
    disconnected: ["over", "arm-loss", "ended", "tell"],
    close: ["stopping"],
  },
  over: {
    answerStart: ["over"],
    received: ["over", "request"],
    "graceful stop": ["over"],
    "graceful stop, all committed": ["over"],
    "forced stop": ["over"],
    endReached: ["over"],
    commitAcknowledged: ["over"],
    stopOverdue: ["over"],
    disconnected: ["over"],
    close: ["over", "flushed"],
  },
};

for (const [status, rows] of Object.entries(table) as [SessionStatus, (typeof table)[SessionStatus]][]) {
  for (const [name, [next, ...effects]] of Object.entries(rows) as [keyof typeof events, Row][]) {
    test(`${status}: ${name} leads to ${next}`, () => {
      const { state, session } = inStatus(status);
      events[name](state, session);
      expect([session.status, ...state.effects.map(({ type }) => type)]).toEqual([next, ...effects]);
    });
  }
}
