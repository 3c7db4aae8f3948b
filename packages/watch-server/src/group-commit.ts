import type { Clock } from "@tidemark/clock";
import {
  packCommand,
  unpackCommand,
  unpackOutcome,
  type WriteCommand,
  type WriteOutcome,
} from "./database/commands.ts";
import { type PackedRows, RowReader, RowWriter } from "./database/packed-rows.ts";
import type { WriteAnswer } from "./database/store-worker.ts";
import { channels } from "./diagnostics.ts";
import { StoreError } from "./store-error.ts";

export interface GroupCommitOptions {
  readonly clock: Clock;
  readonly maxPendingBytes: number;
  /** Makes one group durable. Never called twice at once. */
  write(group: PackedRows): Promise<WriteAnswer>;
  /** Called for every committed command that has a revision, in order, before its writer hears of it. */
  onCommitted(revision: number, command: WriteCommand, outcome: WriteOutcome, committedAtMs: number): void;
  /** Called once after each committed group that had any. */
  onGroup(): void;
}

interface Waiter {
  resolve(outcome: WriteOutcome): void;
  reject(error: unknown): void;
}

/** Above this a group goes on as it is; what comes later is in the next one. */
const maxGroupBytes = 8 * 1024 * 1024;

class Group {
  readonly rows = new RowWriter();
  readonly waiters: Waiter[] = [];
}

/**
 * Collects the writes of one turn of the event loop, and of the time that the group before them takes, into one SQL
 * transaction: one disk sync pays for all of them. Each is decided on its own and has a revision of its own.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #groups: Group[] = [];
  #pendingBytes = 0;
  #isScheduled = false;
  #isWriting = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
  }

  /** Copies the command before it returns. */
  submit(command: WriteCommand): Promise<WriteOutcome> {
    if (this.#pendingBytes > this.#options.maxPendingBytes) {
      const waiting = `${this.#pendingBytes} bytes of writes are waiting for the disk`;
      const error = new StoreError("OVERLOADED", `${waiting}. Write slower, or raise maxPendingBytes`, {
        retryable: true,
      });
      return Promise.reject(error);
    }
    let group = this.#groups.at(-1);
    if (group === undefined || group.rows.byteLength >= maxGroupBytes) {
      group = new Group();
      this.#groups.push(group);
    }
    const before = group.rows.byteLength;
    packCommand(group.rows, command);
    this.#pendingBytes += group.rows.byteLength - before;
    const { promise, resolve, reject } = Promise.withResolvers<WriteOutcome>();
    group.waiters.push({ resolve, reject });
    if (!this.#isScheduled && !this.#isWriting) {
      this.#isScheduled = true;
      this.#options.clock.setImmediate(() => void this.#run());
    }
    return promise;
  }

  /** Resolves once nothing is waiting any more. */
  async idle(): Promise<void> {
    if (this.#isWriting || this.#groups.length > 0) {
      this.#idle ??= Promise.withResolvers();
      await this.#idle.promise;
    }
  }

  async #run(): Promise<void> {
    this.#isScheduled = false;
    this.#isWriting = true;
    for (let group = this.#groups.shift(); group !== undefined; group = this.#groups.shift()) await this.#commit(group);
    this.#isWriting = false;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  async #commit({ rows, waiters }: Group): Promise<void> {
    const { clock } = this.#options;
    const startMs = clock.monotonic();
    const bytes = rows.byteLength;
    let answer: WriteAnswer;
    try {
      answer = await this.#options.write(rows.finish());
    } catch (error) {
      this.#pendingBytes -= bytes;
      channels.groupFailed.publish({ writes: waiters.length, bytes, error });
      for (const waiter of waiters) waiter.reject(error);
      return;
    }
    this.#pendingBytes -= bytes;
    if (channels.groupCommitted.hasSubscribers) {
      channels.groupCommitted.publish({ writes: waiters.length, bytes, durationMs: clock.monotonic() - startMs });
    }
    const commands = new RowReader(answer.group);
    const outcomes = new RowReader(answer.outcomes);
    let hasNews = false;
    for (const waiter of waiters) {
      const command = unpackCommand(commands);
      const outcome = unpackOutcome(outcomes);
      if (outcome.ownRevision > 0) {
        hasNews = true;
        this.#options.onCommitted(outcome.ownRevision, command, outcome, answer.committedAtMs);
      }
      waiter.resolve(outcome);
    }
    if (hasNews) this.#options.onGroup();
  }
}
