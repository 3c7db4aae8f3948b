import { systemClock } from "@tidemark/clock";
import { FrameReader } from "../frame-layout.ts";
import { runNow } from "./flow.ts";
import { GroupSteps, isIdle, type StepParts } from "./group-steps.ts";
import { type GroupStep, planGroups } from "./groups.ts";
import { classifySqliteError } from "./sqlite-errors.ts";
import type { StagedStreamState } from "./stage.ts";
import { type AppendStats, noStats } from "./stream-state.ts";
import type { Transactions } from "./transactions.ts";

export interface Appended extends AppendStats {
  readonly position: number;
  readonly commitMs: number;
}

/** Applies buffers of frames on SQLite: all complete groups of one in one transaction, the rest to a file (V6). */
export class Appender {
  readonly #steps: GroupSteps<StagedStreamState>;
  readonly #transactions: Transactions;
  readonly #position: () => number;

  constructor(parts: Omit<StepParts<StagedStreamState>, "pieces"> & { readonly transactions: Transactions }) {
    this.#steps = new GroupSteps({ ...parts, pieces: (stream) => stream.stage.pieces() });
    this.#transactions = parts.transactions;
    this.#position = () => parts.store.position;
  }

  /** @throws {StoreWatchError} `COMMIT_FAILED`, `PROTOCOL`; then nothing of the buffer is in the database or staged. */
  append(stream: StagedStreamState, reader: FrameReader, nowMs: number): Appended {
    const startedMs = systemClock.monotonic();
    const plan = planGroups(reader, stream.open);
    // The rest of an open group first, and apart from what the groups before it may still need: then the transaction
    // is the last thing that can fail.
    const target = plan.clearsStage ? stream.spare : stream.stage;
    const undo = target.length;
    if (plan.open !== undefined) target.append(reader, plan.openFrom, reader.frames);
    let stats: AppendStats;
    try {
      const hasNews = !plan.steps.every((step) => isIdle(stream, reader, step));
      stats = hasNews ? this.#commit(stream, reader, plan.steps, nowMs) : noStats();
    } catch (error) {
      target.truncate(undo);
      throw error;
    }
    stream.open = plan.open;
    if (plan.clearsStage) {
      stream.spare = stream.stage;
      stream.stage = target;
      stream.spare.truncate(0);
    }
    return { ...stats, position: this.#position(), commitMs: systemClock.monotonic() - startedMs };
  }

  #commit(stream: StagedStreamState, reader: FrameReader, steps: readonly GroupStep[], nowMs: number): AppendStats {
    const run = (isCareful: boolean) =>
      this.#transactions.run(stream, () => runNow(this.#steps.apply(stream, reader, steps, nowMs, isCareful)));
    try {
      return run(false);
    } catch (error) {
      // One change is poison: find it, set it aside, and let the others pass.
      if (classifySqliteError(error) !== "data") throw error;
      return run(true);
    }
  }
}
