import { type Cursor, type Epoch, type Frame, type ResumePoint, sortableInteger } from "@tidemark/store-watch/contract";
import type { WatchResponse } from "./gen/tidemark/watch/v1/watch_pb.ts";
import { SourceWatchError } from "./source-watch-error.ts";

/** Why the store would not go on from where we were. */
export type Refusal =
  | { readonly reason: "compacted"; readonly incarnation: string }
  | { readonly reason: "epoch-changed" };

/** What the source knows between two messages. */
export interface SourceState {
  /** Where the last complete group ended; undefined: nothing is known yet. */
  readonly at: ResumePoint | undefined;
  /** The store does not have `at` any more, so the next stream begins with a snapshot. */
  readonly refusal: Refusal | undefined;
  /** The loss behind `refusal` is on record already; a second attempt at the snapshot does not tell it again. */
  readonly isLossTold: boolean;
  /** The epoch of an unfinished snapshot. */
  readonly snapshot: { readonly epoch: Epoch; readonly received: number } | undefined;
}

export type SourceEvent =
  | { readonly type: "message"; readonly message: WatchResponse }
  | { readonly type: "refused"; readonly refusal: Refusal }
  | { readonly type: "disconnected" };

export function initialSourceState(from: ResumePoint | undefined): SourceState {
  return { at: from, refusal: undefined, isLossTold: false, snapshot: undefined };
}

/** What to ask for: empty means the whole state first. */
export function resumeMarkerOf(state: SourceState): string {
  return state.refusal === undefined ? (state.at?.cursor ?? "") : "";
}

/**
 * Names what revisions of a store may be compared with. The store alone is not enough: restored from a backup it has the
 * same id and uses revisions again. The run of the server is new then; within one epoch the store checks every marker.
 */
function epochOf(storeId: string, incarnation: string): Epoch {
  return `${storeId}/${incarnation}`;
}

/** Events in, frames out. @throws SourceWatchError `PROTOCOL` for a message that has no place where it came. */
export function nextSource(state: SourceState, event: SourceEvent): readonly [SourceState, readonly Frame[]] {
  switch (event.type) {
    case "message":
      return onMessage(state, event.message);
    case "refused":
      // Told a second time before the first was made good: the loss began at the same place.
      return [{ ...state, refusal: event.refusal, snapshot: undefined }, []];
    case "disconnected":
      // Transactions come whole; only a snapshot can break in the middle. It begins again.
      return state.snapshot === undefined ? [state, []] : [{ ...state, snapshot: undefined }, [{ type: "discard" }]];
  }
}

function onMessage(state: SourceState, message: WatchResponse): readonly [SourceState, readonly Frame[]] {
  const { kind, storeId, incarnation } = message;
  switch (kind.case) {
    case "snapshotBegin":
      return beginSnapshot(state, { storeId, incarnation, marker: kind.value.marker });
    case "snapshotPage": {
      const { snapshot } = state;
      if (snapshot === undefined) throw outOfPlace("a page of a snapshot", "none had begun");
      const frames = kind.value.kvs.map(
        ({ key, value, modRevision }): Frame => ({ type: "change", key, value, version: sortableInteger(modRevision) }),
      );
      return [{ ...state, snapshot: { ...snapshot, received: snapshot.received + frames.length } }, frames];
    }
    case "snapshotEnd": {
      if (state.snapshot === undefined) throw outOfPlace("the end of a snapshot", "none had begun");
      const at = { epoch: state.snapshot.epoch, cursor: kind.value.marker };
      return [initialSourceState(at), [{ type: "snapshot-end", cursor: at.cursor }]];
    }
    case "transactions": {
      const at = placeOf(state, "transactions");
      const frames: Frame[] = [];
      let { cursor } = at;
      for (const { changes, revision, marker, committedAtMs } of kind.value.transactions) {
        const version = sortableInteger(revision);
        const sourceTimeMs = Number(committedAtMs);
        for (const { key, value } of changes) frames.push({ type: "change", key, value, version, sourceTimeMs });
        frames.push({ type: "commit", cursor: marker, sourceTimeMs });
        cursor = marker;
      }
      return [{ ...state, at: { ...at, cursor } }, frames];
    }
    case "progress": {
      const at = { ...placeOf(state, "progress"), cursor: kind.value.marker };
      return [{ ...state, at }, [{ type: "progress", cursor: at.cursor }]];
    }
    case undefined:
      // A kind of a later release; whoever sends it to old watchers must not mean anything needful by it.
      return [state, []];
  }
}

function beginSnapshot(
  state: SourceState,
  peer: { readonly storeId: string; readonly incarnation: string; readonly marker: Cursor },
): readonly [SourceState, readonly Frame[]] {
  if (peer.storeId === "" || peer.incarnation === "")
    throw outOfPlace("a snapshot", "the store had not said who it is");
  const { at, refusal } = state;
  // The run that called our marker one of its own, if too old, is the run that answers now: nothing was replaced between.
  const isSame = refusal?.reason === "compacted" && refusal.incarnation === peer.incarnation;
  const epoch = isSame && at !== undefined ? at.epoch : epochOf(peer.storeId, peer.incarnation);
  const frames: Frame[] = [];
  if (at !== undefined && !state.isLossTold) {
    const reason = refusal?.reason ?? "epoch-changed";
    const detail =
      reason === "compacted"
        ? "The store was compacted while nobody was watching; what happened in between is unknown but for the outcome."
        : "The store was wiped, restored from a backup or replaced; what happened in between is unknown.";
    frames.push({ type: "gap", reason, detail, from: at.cursor, to: isSame ? peer.marker : undefined });
    if (epoch !== at.epoch) frames.push({ type: "reset", epoch });
  }
  frames.push({ type: "begin-snapshot", epoch });
  return [{ ...state, isLossTold: at !== undefined, snapshot: { epoch, received: 0 } }, frames];
}

function placeOf(state: SourceState, what: string): ResumePoint {
  if (state.snapshot !== undefined) throw outOfPlace(what, "a snapshot had not ended");
  if (state.at === undefined) throw outOfPlace(what, "no snapshot had come");
  return state.at;
}

function outOfPlace(what: string, why: string): SourceWatchError {
  return new SourceWatchError("PROTOCOL", `the store sent ${what}, but ${why}`, { retryable: true });
}
