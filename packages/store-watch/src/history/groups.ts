import { StoreWatchError } from "../errors.ts";
import { type FrameReader, frameKinds } from "../frame-layout.ts";

/** A group whose boundary has not come yet. */
export interface OpenGroup {
  /** The epoch of the snapshot that it is; undefined: changes of the stream. */
  readonly snapshotEpoch: string | undefined;
}

/** What the frames of a buffer ask for, in order. Frame numbers; `to` is exclusive. */
export type GroupStep =
  | {
      readonly type: "apply";
      /** What was staged before these frames belongs to the group. */
      readonly withStage: boolean;
      readonly from: number;
      readonly to: number;
      readonly snapshotEpoch: string | undefined;
      /** The frame with the cursor. */
      readonly boundary: number;
    }
  | { readonly type: "progress" | "gap" | "reset"; readonly frame: number };

export interface GroupPlan {
  readonly steps: readonly GroupStep[];
  /** Whether what was staged is used up or void by the end. */
  readonly clearsStage: boolean;
  /** The group that is open at the end, and where its frames start in this buffer. */
  readonly open: OpenGroup | undefined;
  readonly openFrom: number;
}

/**
 * Finds the groups in a buffer. Nothing of a group may be applied before its boundary is seen, because it may also end
 * as void: at a discard, a reset, a gap or the begin of another snapshot (V7).
 *
 * @throws {StoreWatchError} `PROTOCOL` for a commit within a snapshot.
 */
export function planGroups(reader: FrameReader, before: OpenGroup | undefined): GroupPlan {
  const steps: GroupStep[] = [];
  let open = before;
  let withStage = before !== undefined;
  let clearsStage = false;
  let from = 0;
  const end = (next: number) => {
    if (withStage) clearsStage = true;
    open = undefined;
    withStage = false;
    from = next;
  };
  for (let frame = 0; frame < reader.frames; frame++) {
    switch (reader.kind(frame)) {
      case frameKinds.change:
      case frameKinds.poison:
        if (open === undefined) {
          open = { snapshotEpoch: undefined };
          from = frame;
        }
        break;
      case frameKinds["begin-snapshot"]:
        end(frame + 1);
        open = { snapshotEpoch: reader.text(frame, 0) as string };
        break;
      case frameKinds.commit:
      case frameKinds["snapshot-end"]: {
        const snapshotEpoch = open?.snapshotEpoch;
        if (snapshotEpoch !== undefined && reader.kind(frame) === frameKinds.commit) {
          throw new StoreWatchError(
            "PROTOCOL",
            `expected snapshot-end or discard after begin-snapshot, got a commit at cursor ${JSON.stringify(reader.text(frame, 0))}; the source is defective`,
          );
        }
        steps.push({
          type: "apply",
          withStage,
          from: open === undefined ? frame : from,
          to: frame,
          snapshotEpoch,
          boundary: frame,
        });
        end(frame + 1);
        break;
      }
      case frameKinds.progress:
        // Only between groups may it move the cursor: a change that is still to come could lie below it.
        if (open === undefined) steps.push({ type: "progress", frame });
        break;
      case frameKinds.gap:
        end(frame + 1);
        steps.push({ type: "gap", frame });
        break;
      case frameKinds.reset:
        end(frame + 1);
        steps.push({ type: "reset", frame });
        break;
      case frameKinds.discard:
        end(frame + 1);
        break;
    }
  }
  return { steps, clearsStage, open, openFrom: from };
}
