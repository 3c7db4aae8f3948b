// A source of changes, a slow store, and what a pipeline between them promises. Used by the suite that the real pipeline
// passes and every mutant fails.

import type { Clock, Rng } from "@tidemark/clock";
import { createMemoryServer, type MemoryPeer, type MemoryServer } from "@tidemark/stream/testing";

export interface Op {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
}

export type Frame =
  | { readonly type: "change"; readonly op: Op; readonly rev: number }
  /** The changes since the last boundary are one transaction. */
  | { readonly type: "end"; readonly rev: number }
  | { readonly type: "begin-snapshot" }
  | { readonly type: "end-snapshot"; readonly rev: number }
  /** From the pipeline, not from the source: what came since the last boundary is incomplete and will come again. */
  | { readonly type: "discard" };

export const isBoundary = (frame: Frame): boolean =>
  frame.type === "end" || frame.type === "end-snapshot" || frame.type === "discard";

/** Leaves out what was discarded. */
function kept(frames: readonly Frame[]): Frame[] {
  const whole: Frame[] = [];
  let boundary = 0;
  for (const frame of frames) {
    if (frame.type === "discard") {
      whole.length = boundary;
      continue;
    }
    whole.push(frame);
    if (isBoundary(frame)) boundary = whole.length;
  }
  return whole;
}

export interface Resume {
  readonly after: number | undefined;
}

export type SourcePeer = MemoryPeer<Resume, Frame>;

/** Keeps every transaction that ever happened, and streams them to whoever follows. */
export class SimSource {
  readonly #clock: Clock;
  readonly groups: Op[][] = [];
  /** Whether a follower can go on where it was. Otherwise it gets the whole state again. */
  isResumable = true;
  /** How long it takes between two frames of a transaction, in milliseconds. */
  frameDelayMs = 0;
  readonly server: MemoryServer<Resume, Frame>;
  #wake = Promise.withResolvers<void>();

  constructor(clock: Clock, maxUnread: number) {
    this.#clock = clock;
    this.server = createMemoryServer<Resume, Frame>({ maxUnread, onStream: (peer) => this.#serve(peer) });
  }

  get rev(): number {
    return this.groups.length;
  }

  /** Everything that was ever changed, in order. */
  get ops(): Op[] {
    return this.groups.flat();
  }

  get state(): Map<string, string> {
    const state = new Map<string, string>();
    for (const { key, value } of this.ops) {
      if (value === undefined) state.delete(key);
      else state.set(key, value);
    }
    return state;
  }

  /** One transaction. */
  write(...ops: Op[]): void {
    this.groups.push(ops);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  put(key: string, value: string): void {
    this.write({ key, value });
  }

  delete(key: string): void {
    this.write({ key, value: undefined });
  }

  /** Every stream breaks. */
  drop(error: unknown = new Error("the connection broke")): void {
    for (const peer of this.server.peers.slice()) peer.fail(error);
  }

  async #serve(peer: SourcePeer): Promise<void> {
    const ask = await peer.receive();
    if (ask === undefined) return peer.end();
    void this.#endWith(peer);
    let sent = ask.after;
    if (sent === undefined || !this.isResumable) {
      sent = this.rev;
      const state = this.state;
      await this.#send(peer, { type: "begin-snapshot" });
      for (const [key, value] of state) await this.#send(peer, { type: "change", op: { key, value }, rev: sent });
      await this.#send(peer, { type: "end-snapshot", rev: sent });
    }
    for (;;) {
      while (sent < this.rev) {
        const rev: number = ++sent;
        for (const op of this.groups[rev - 1] as Op[]) await this.#send(peer, { type: "change", op, rev });
        await this.#send(peer, { type: "end", rev });
      }
      await this.#wake.promise;
      if (peer.signal.aborted) return;
    }
  }

  async #endWith(peer: SourcePeer): Promise<void> {
    while ((await peer.receive()) !== undefined);
    peer.end();
  }

  async #send(peer: SourcePeer, frame: Frame): Promise<void> {
    if (this.frameDelayMs > 0) await this.#clock.sleep(this.frameDelayMs);
    if (!peer.send(frame)) await peer.drained();
  }
}

/** Where batches go: slow, one at a time, all or nothing. It complains about everything that a store must not see. */
export class SimStore {
  readonly #clock: Clock;
  /** How long the next commit takes, in milliseconds. */
  durationMs: () => number = () => 0;
  /** Whether the next commit fails. */
  fails: () => boolean = () => false;
  readonly state = new Map<string, string>();
  /** Every operation in the order in which it was applied. */
  readonly applied: Op[] = [];
  cursor: number | undefined;
  /** When it committed what, newest last. */
  readonly commits: { readonly atMs: number; readonly size: number; readonly cursor: number | undefined }[] = [];
  readonly complaints: string[] = [];
  attempts = 0;
  #underWay = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  /** Applies frames in their order, with the cursor at their end, in one transaction (H6). */
  async apply(frames: readonly Frame[]): Promise<void> {
    const before = JSON.stringify(frames);
    await this.#transaction(frames.length, () => {
      // H3: nobody else has a hand on the batch.
      if (JSON.stringify(frames) !== before) this.complaints.push("a batch changed while it was committed");
      const last = frames.at(-1);
      if (last !== undefined && !isBoundary(last)) this.complaints.push(`a batch ends inside a group: ${last.type}`);
      let seen: Set<string> | undefined;
      for (const frame of kept(frames)) {
        if (frame.type === "change") {
          this.#set(frame.op);
          seen?.add(frame.op.key);
        } else if (frame.type === "begin-snapshot") {
          seen = new Set();
        } else if (frame.type !== "discard") {
          if (frame.type === "end-snapshot")
            for (const key of this.state.keys()) if (!seen?.has(key)) this.state.delete(key);
          this.#advance(frame.rev);
        }
      }
    });
  }

  /** Applies the last operation of each key, in one transaction with the cursor. */
  async applyState(entries: Iterable<readonly [string, string | undefined]>, cursor: number): Promise<void> {
    const ops = [...entries];
    await this.#transaction(ops.length, () => {
      for (const [key, value] of ops) this.#set({ key, value });
      this.#advance(cursor);
    });
  }

  async #transaction(size: number, write: () => void): Promise<void> {
    this.attempts++;
    if (this.#underWay++ > 0) this.complaints.push("two commits at once");
    const durationMs = this.durationMs();
    const fails = this.fails();
    try {
      if (durationMs > 0) await this.#clock.sleep(durationMs);
      if (fails) throw new Error("the database is busy");
      write();
      this.commits.push({ atMs: this.#clock.monotonic(), size, cursor: this.cursor });
    } finally {
      this.#underWay--;
    }
  }

  #set(op: Op): void {
    this.applied.push(op);
    if (op.value === undefined) this.state.delete(op.key);
    else this.state.set(op.key, op.value);
  }

  #advance(rev: number): void {
    if (this.cursor !== undefined && rev < this.cursor)
      this.complaints.push(`the cursor went from ${this.cursor} to ${rev}`);
    this.cursor = rev;
  }
}

export interface World {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly source: SimSource;
  readonly store: SimStore;
  /** Keep only the last operation of a key. */
  readonly isCoalescing: boolean;
  /** How many frames may be held. */
  readonly maxItems: number;
  /** How long changes are collected, in milliseconds; 0: hand over when the committer is idle. */
  readonly flushIntervalMs: number;
  /** Whether making another buffer fails just now. */
  readonly buffers: { isBroken: boolean };
  /** Called with every frame; throws for one that cannot be handled. */
  readonly decode: (frame: Frame) => void;
}

/** Follows the source into the store. */
export interface Pipeline {
  start(): void;
  /** `live` only while it takes changes; something else whenever it does not. */
  readonly state: string;
  /** Commits what was taken, then ends for good. */
  stop(): Promise<void>;
}

export type PipelineFactory = (world: World) => Pipeline;
