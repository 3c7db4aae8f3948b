// A small pipeline of the usual kind, right as long as no mutant is switched on. Each mutant is one bug that a real system
// had (gNMI StreamSync of sdcio/data-server, and others that followed a stream into a store).

import { isBoundary, type Frame, type Op, type Pipeline, type World } from "../support/world.ts";

export const mutants = {
  "inline commit": "the receive loop commits itself, so nothing is received meanwhile (data-server #440)",
  "drop after 5 s": "what finds no room for 5 s is dropped and counted nowhere",
  "flag for a counter": "a snapshot's end commits at once although a commit is under way",
  "export before lock": "the batch is taken before the lock, and the lock is not fair: the newer may go first",
  "discard on failure": "a failed commit is logged and its batch forgotten",
  "resurrect the deleted": "deletes are applied first, then all updates of the batch",
  "reorder in a pool": "each change is decoded by a pool of workers and appended when it is done",
  "shared pool": "workers that wait for room hold the slots that the commit needs",
  "stop on error": "the receive loop returns on the first error, and the state stays as it was",
  "swallow exceptions": "an exception of the handler is taken for a parse error and ignored",
  "no prune": "a snapshot after a reconnect is merged into what is there",
  "lose on buffer failure": "when no new buffer can be made, the one just handed over is lost and the loop ends",
  "no flush on stop": "stop forgets what was collected",
  "stop leaves the stream": "stop ends the commits and not the stream",
  "one default for all": "the interval meant for one mode is the default of every mode, also where none is wanted",
  "cut anywhere": "a batch is cut wherever the reception happens to be",
  "share the buffer": "the receive loop keeps writing into the batch that is being committed",
  unbounded: "nothing pushes back when the committer is slow",
} as const;

export type MutantName = keyof typeof mutants;

class FaultyPipeline implements Pipeline {
  readonly #world: World;
  readonly #mutant: MutantName | undefined;
  state = "idle";
  #frames: Frame[] = [];
  /** How many frames at the front of `#frames` are whole groups. */
  #sealed = 0;
  /** Batches on their way, oldest first. */
  #committing = 0;
  #held = 0;
  #isStopped = false;
  #accepted: number | undefined;
  #peerCancel: ((reason: unknown) => void) | undefined;
  #room = Promise.withResolvers<void>();
  #dueTimer: { cancel(): void } | undefined;
  #freeWorkers = 4;
  #workerQueue: (() => void)[] = [];

  constructor(world: World, mutant: MutantName | undefined) {
    this.#world = world;
    this.#mutant = mutant;
  }

  start(): void {
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#mutant !== "stop leaves the stream") this.#peerCancel?.(new Error("stopped"));
    this.state = "closed";
    this.#frames.length = Math.max(this.#sealed, 0);
    if (this.#mutant === "no flush on stop") return;
    while (this.#sealed > 0 || this.#committing > 0) {
      this.#trigger();
      await this.#world.clock.sleep(1_000);
    }
  }

  async #follow(): Promise<void> {
    const { clock } = this.#world;
    while (!this.#isStopped) {
      this.state = "connecting";
      try {
        await this.#receive();
      } catch (error) {
        if (this.#mutant === "stop on error") return;
        this.state = error instanceof SyntaxError ? "failed" : "waiting";
      }
      // A part of a group comes again whole.
      if (this.#mutant !== "cut anywhere") this.#truncate();
      if (this.state === "failed" || this.#isStopped) return;
      await clock.sleep(1_000);
    }
  }

  #truncate(): void {
    this.#held -= this.#frames.length - this.#sealed;
    this.#frames.length = this.#sealed;
  }

  async #receive(): Promise<void> {
    const { source, decode } = this.#world;
    const transport = source.server.openTransport();
    this.#peerCancel = (reason) => transport.cancel(reason);
    const resume = { after: this.#accepted };
    const outgoing = async function* () {
      yield resume;
      await new Promise(() => {});
    };
    const incoming = transport.start(outgoing());
    this.state = "live";
    for await (const frame of incoming as AsyncIterable<Frame>) {
      try {
        decode(frame);
      } catch (error) {
        if (this.#mutant === "swallow exceptions") continue;
        transport.cancel(error);
        throw error;
      }
      if (this.#mutant === "reorder in a pool" && frame.type === "change") {
        void this.#inPool(frame);
        continue;
      }
      if (this.#mutant === "shared pool") {
        void this.#viaSharedPool(frame);
        if (this.#workerQueue.length > 8) await new Promise<void>((resolve) => this.#workerQueue.push(resolve));
        continue;
      }
      if (!(await this.#hasRoom())) continue;
      this.#take(frame);
      if (this.#mutant === "inline commit" && isBoundary(frame)) await this.#commitOnce();
    }
    throw new Error("the stream ended");
  }

  async #inPool(frame: Frame): Promise<void> {
    await this.#world.clock.sleep(this.#world.rng.int(0, 5));
    this.#take(frame);
  }

  /** A worker takes a frame and keeps its slot until there is room for it. */
  async #viaSharedPool(frame: Frame): Promise<void> {
    await this.#acquireWorker();
    await this.#hasRoom();
    this.#take(frame);
    this.#releaseWorker();
  }

  async #acquireWorker(): Promise<void> {
    if (this.#freeWorkers > 0) this.#freeWorkers--;
    else await new Promise<void>((resolve) => this.#workerQueue.push(resolve));
  }

  #releaseWorker(): void {
    const next = this.#workerQueue.shift();
    if (next) next();
    else this.#freeWorkers++;
  }

  async #hasRoom(): Promise<boolean> {
    const { clock, maxItems } = this.#world;
    const sinceMs = clock.monotonic();
    // An open group is let through whole, or nothing could make room.
    while (this.#mutant !== "unbounded" && this.#held >= maxItems && (this.#sealed > 0 || this.#committing > 0)) {
      if (this.#mutant === "drop after 5 s") {
        if (clock.monotonic() - sinceMs >= 5_000) return false;
        await clock.sleep(100);
      } else await this.#room.promise;
      if (this.#isStopped) return false;
    }
    return true;
  }

  #take(frame: Frame): void {
    this.#frames.push(frame);
    this.#held++;
    if (!isBoundary(frame)) {
      if (this.#mutant === "cut anywhere") this.#sealed = this.#frames.length;
      return;
    }
    this.#sealed = this.#frames.length;
    if ("rev" in frame) this.#accepted = frame.rev;
    if (frame.type === "end-snapshot" && this.#isOverlapping) void this.#commitOnce();
    else if (this.#mutant !== "inline commit") this.#schedule();
  }

  get #isOverlapping(): boolean {
    return this.#mutant === "flag for a counter" || this.#mutant === "export before lock";
  }

  #schedule(): void {
    const { clock, flushIntervalMs } = this.#world;
    const intervalMs = this.#mutant === "one default for all" ? flushIntervalMs || 30_000 : flushIntervalMs;
    if (this.#dueTimer !== undefined) return;
    this.#dueTimer = clock.setTimer(intervalMs, () => {
      this.#dueTimer = undefined;
      this.#trigger();
    });
  }

  #trigger(): void {
    if (this.#committing === 0 && this.#sealed > 0) void this.#commitOnce();
  }

  async #commitOnce(): Promise<void> {
    const { buffers, store, clock } = this.#world;
    if (this.#sealed === 0) return;
    let batch: Frame[];
    if (this.#mutant === "share the buffer") {
      batch = this.#frames;
    } else {
      batch = this.#frames.slice(0, this.#sealed);
      try {
        if (this.#mutant === "lose on buffer failure" && buffers.isBroken) throw new Error("no buffer");
        this.#frames = this.#frames.slice(this.#sealed);
      } catch {
        this.#frames = [];
        this.#sealed = 0;
        this.#peerCancel?.(new Error("no buffer"));
        return;
      }
    }
    this.#sealed = 0;
    this.#committing++;
    if (this.#mutant === "shared pool") await this.#acquireWorker();
    if (this.#mutant === "export before lock") {
      // Not fair: whoever looks when it is free has it.
      while (store.isBusy) await clock.sleep(this.#world.rng.int(1, 50));
    }
    for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, 30_000)) {
      try {
        await this.#apply(batch);
        break;
      } catch {
        if (this.#mutant === "discard on failure") break;
        await clock.sleep(delayMs);
      }
    }
    if (this.#mutant === "shared pool") this.#releaseWorker();
    if (this.#mutant === "share the buffer") this.#frames = [];
    this.#committing--;
    this.#held -= batch.length;
    this.#room.resolve();
    this.#room = Promise.withResolvers();
    if (this.#mutant !== "inline commit" && this.#dueTimer === undefined) this.#trigger();
  }

  #apply(batch: Frame[]): Promise<void> {
    const { store, isCoalescing } = this.#world;
    if (this.#mutant === "no prune") {
      const merged = batch.map((frame): Frame => (frame.type === "end-snapshot" ? { ...frame, type: "end" } : frame));
      return store.apply(merged);
    }
    const isDelete = (frame: Frame) => frame.type === "change" && frame.op.value === undefined;
    if (this.#mutant === "resurrect the deleted") {
      const deletes = batch.filter(isDelete);
      return store.apply([...deletes, ...batch.filter((frame) => !isDelete(frame))]);
    }
    if (!isCoalescing || batch.some((frame) => frame.type === "begin-snapshot")) return store.apply(batch);
    const last = new Map<string, Op["value"]>();
    let cursor = 0;
    for (const frame of batch) {
      if (frame.type === "change") last.set(frame.op.key, frame.op.value);
      else if ("rev" in frame) cursor = frame.rev;
    }
    return store.applyState(last, cursor);
  }
}

/** The pipeline with one bug, or without a name with none. */
export function faultyPipeline(world: World, mutant?: MutantName): Pipeline {
  return new FaultyPipeline(world, mutant);
}
