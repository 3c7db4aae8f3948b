import type { SQL } from "drizzle-orm";
import { requireAtLeast } from "./options.ts";
import {
  limited,
  type Phase,
  type PhaseContext,
  type PhaseHost,
  type PhaseOptions,
  type PhaseResult,
} from "./phase.ts";
import { errorText, ReconcileError } from "./reconcile-error.ts";

export const changeDefaults = { limit: 1_000, blockFor: 5, itemTimeoutMs: 30_000 } as const;

/** What became of one change: its effect, which is written in the transaction that moves the cursor. */
export interface AppliedChange<Tx> {
  /** Writes the effect. Only writes: whatever has to be waited for was done before (R11). Synchronous in SQLite. */
  readonly write?: (tx: Tx) => void | Promise<void>;
  /** Keys for the finalizers. */
  readonly affected?: Iterable<string>;
}

export interface ChangePhaseOptions<C, Tx> extends PhaseOptions {
  /** Reads up to `limit` changes after a position (undefined: from the start), ascending. */
  readonly read: (after: bigint | undefined, limit: number, context: PhaseContext) => Promise<readonly C[]>;
  readonly position: (change: C) => bigint;
  /** Does what has to be waited for and returns what is to be written. Comes again after a crash: must be idempotent. */
  // biome-ignore lint/suspicious/noConfusingVoidType: a change without an effect returns nothing.
  readonly apply: (change: C, context: PhaseContext) => Promise<AppliedChange<Tx> | void>;
  /** The change as text, for what is set aside. @default JSON */
  readonly print?: (change: C) => string;
  /**
   * How many changes are read at a time. The phase goes on until there are none.
   * @default 1_000
   */
  readonly limit?: number;
  /**
   * How many cycles a change that fails keeps those behind it waiting. After that it is set aside, in the transaction that
   * moves the cursor past it. `Infinity` waits for ever.
   * @default 5
   */
  readonly blockFor?: number;
  /**
   * How long one change may take, in milliseconds.
   * @default 30_000
   */
  readonly itemTimeoutMs?: number;
}

/**
 * A phase that follows an ordered feed. Its cursor is the last change of which all before are applied or visibly set aside
 * (R9): it never passes a failure, and moves together with the effects.
 */
export function changePhase<C, Tx>(options: ChangePhaseOptions<C, Tx>): Phase<Tx> {
  const {
    limit = changeDefaults.limit,
    blockFor = changeDefaults.blockFor,
    itemTimeoutMs = changeDefaults.itemTimeoutMs,
    timeoutMs = Number.POSITIVE_INFINITY,
  } = options;
  for (const [name, value] of Object.entries({ limit, blockFor, itemTimeoutMs, timeoutMs })) {
    requireAtLeast(`${options.name}: ${name}`, value, 1);
  }
  return {
    name: options.name,
    gate: options.gate,
    requires: options.requires ?? [],
    execute: (host) => new ChangeRun(host, options, { limit, blockFor, itemTimeoutMs, timeoutMs }).run(),
  };
}

interface Settings {
  readonly limit: number;
  readonly blockFor: number;
  readonly itemTimeoutMs: number;
  readonly timeoutMs: number;
}

class ChangeRun<C, Tx> {
  readonly #host: PhaseHost<Tx>;
  readonly #options: ChangePhaseOptions<C, Tx>;
  readonly #settings: Settings;
  readonly #counts = { done: 0, failed: 0, skipped: 0, waiting: 0, quarantined: 0, deferred: 0, overdue: 0 };
  #selected = 0;
  #lastError: string | undefined;

  constructor(host: PhaseHost<Tx>, options: ChangePhaseOptions<C, Tx>, settings: Settings) {
    this.#host = host;
    this.#options = options;
    this.#settings = settings;
  }

  async run(): Promise<PhaseResult> {
    const { name } = this.#options;
    let { position, failures } = await this.#host.books.cursor(name);
    for (;;) {
      const after = position;
      const changes = await limited(this.#host, "", this.#settings.timeoutMs, (signal) =>
        this.#options.read(after, this.#settings.limit, { ...this.#host.context, signal }),
      );
      this.#selected += changes.length;
      const step = await this.#applyAll(changes, position, failures);
      ({ position, failures } = step);
      if (!step.hasMore || position === after) break;
    }
    const items = { selected: this.#selected, ...this.#counts };
    if (this.#lastError === undefined) return { outcome: "done", items };
    return { outcome: "partial", items, error: this.#lastError };
  }

  /** Applies in order and commits what was applied up to the first failure. */
  async #applyAll(changes: readonly C[], from: bigint | undefined, failures: number): Promise<Step> {
    const applied: AppliedChange<Tx>[] = [];
    let position = from;
    for (const [index, change] of changes.entries()) {
      const at = this.#options.position(change);
      // What was delivered before is old news, in whatever order it comes (the cursor is monotone).
      if (from !== undefined && at <= from) continue;
      if (position !== undefined && at <= position) {
        throw new ReconcileError("PROTOCOL", `${this.#options.name}: changes must ascend, got ${at} after ${position}`);
      }
      try {
        const key = `change ${at}`;
        const { itemTimeoutMs } = this.#settings;
        const result = await limited(this.#host, key, itemTimeoutMs, (signal) =>
          this.#options.apply(change, { ...this.#host.context, signal }),
        );
        if (result) applied.push(result);
      } catch (error) {
        if (this.#host.context.signal.aborted) throw error;
        const isFirst = position === from;
        const rest = changes.length - index - 1;
        return this.#stopAt(change, error, { applied, position, failures: (isFirst ? failures : 0) + 1, rest });
      }
      position = at;
      this.#counts.done++;
      this.#host.progress({ selected: this.#selected, ...this.#counts });
    }
    if (position !== from) await this.#commit(applied, position, 0, []);
    return { position, failures: 0, hasMore: changes.length >= this.#settings.limit };
  }

  async #stopAt(change: C, error: unknown, at: Stop<Tx>): Promise<Step> {
    const { books, clock } = this.#host;
    const { name, print = JSON.stringify } = this.#options;
    const text = errorText(error);
    this.#lastError = text;
    if (at.failures < this.#settings.blockFor) {
      this.#counts.failed++;
      this.#counts.waiting += at.rest;
      await this.#commit(at.applied, at.position, at.failures, []);
      return { position: at.position, failures: at.failures, hasMore: false };
    }
    this.#counts.quarantined++;
    const position = this.#options.position(change);
    const aside = books.setAsideStatement(name, position, print(change), text, clock.now());
    await this.#commit(at.applied, position, 0, [aside]);
    // The rest is read again from behind it.
    this.#selected -= at.rest;
    return { position, failures: 0, hasMore: true };
  }

  #commit(
    applied: readonly AppliedChange<Tx>[],
    position: bigint | undefined,
    failures: number,
    more: readonly SQL[],
  ): Promise<void> {
    const { books } = this.#host;
    const affected = applied.flatMap((each) => [...(each.affected ?? [])]);
    const statements = [...books.dirtyStatements(affected), ...more, this.#cursor(position, failures)];
    const writes = applied.map((each) => each.write).filter((each) => each !== undefined);
    return books.store.commit(statements, (tx) => {
      let before: Promise<void> | undefined;
      for (const write of writes) {
        if (before !== undefined) before = before.then(() => write(tx));
        else before = write(tx) ?? undefined;
      }
      return before;
    });
  }

  #cursor(position: bigint | undefined, failures: number): SQL {
    return this.#host.books.cursorStatement(this.#options.name, position, failures);
  }
}

interface Step {
  readonly position: bigint | undefined;
  readonly failures: number;
  readonly hasMore: boolean;
}

interface Stop<Tx> {
  readonly applied: readonly AppliedChange<Tx>[];
  readonly position: bigint | undefined;
  readonly failures: number;
  /** How many changes behind it were read. */
  readonly rest: number;
}
