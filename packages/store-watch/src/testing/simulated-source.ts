import type { Clock, Rng } from "@tidemark/clock";
import type {
  Cursor,
  Epoch,
  Frame,
  FrameSink,
  GapReason,
  ResumePoint,
  Source,
  SourceCapabilities,
} from "../contract.ts";
import { parseSortableInteger, sortableInteger } from "../cursor.ts";
import type { ReferenceStore, StoreChange, StoreTransaction } from "./reference-store.ts";

/** What goes wrong, each as the probability at every opportunity. All 0 by default. */
export interface SourceFaults {
  /** A connection attempt fails, or is closed before anything came. Asked at every attempt. */
  readonly refuse?: number;
  /** The connection breaks before, inside or after a group. Asked at every group, and within snapshots. */
  readonly disconnect?: number;
  /** Up to five groups that were delivered already come again, with their own cursors. Needs versions. */
  readonly duplicate?: number;
  /** `run()` rejects, possibly in the middle of a group. */
  readonly crash?: number;
  /** The connection is half open: nothing comes any more, not even a heartbeat, for `silenceMs`. */
  readonly silence?: number;
  /** A group comes late. */
  readonly delay?: number;
  /** While disconnected the store compacts everything up to now. Asked at every reconnect. */
  readonly compact?: number;
  /** While disconnected the store is wiped. Asked at every reconnect. */
  readonly wipe?: number;
  /** While disconnected an earlier state of the store is restored. Asked at every reconnect. */
  readonly restore?: number;
}

/** What `createSimulatedSource` needs, and what may be set. */
export interface SimulatedSourceOptions {
  readonly clock: Clock;
  /** Draws faults and latencies. */
  readonly rng: Rng;
  readonly faults?: SourceFaults;
  /** @default everything true */
  readonly capabilities?: Partial<SourceCapabilities>;
  /** How long a half-open connection stays, in milliseconds. @default 3_600_000 */
  readonly silenceMs?: number;
  /** Upper bound of a delay, in milliseconds. @default 5_000 */
  readonly maxDelayMs?: number;
  /** Time between signs of life while idle, each with a progress frame, in milliseconds. @default 1_000 */
  readonly heartbeatMs?: number;
  /** Keys of a snapshot that come without a pause. @default 20 */
  readonly snapshotPage?: number;
}

/** The source had to tell the watcher that it lost something. */
export interface SimulatedLoss {
  readonly reason: GapReason;
  readonly epoch: Epoch;
  readonly from: Cursor;
}

/** What happened so far, and how often each fault struck. */
export interface SimulatedSourceStats {
  readonly runs: number;
  readonly connects: number;
  readonly disconnects: number;
  readonly crashes: number;
  readonly silences: number;
  readonly snapshots: number;
  readonly duplicates: number;
}

/** The connection is gone; the source itself goes on. */
class Disconnected extends Error {
  override readonly name = "Disconnected";
}

const everything: SourceCapabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

/** Everything up to and including `revision`, and `done` changes of the one after it. */
interface Place {
  readonly epoch: Epoch;
  readonly revision: bigint;
  readonly done: number;
}

/** The cursor behind a revision; with `done`, behind so many changes of the revision after it. */
export function simulatedCursor(revision: bigint, done = 0): Cursor {
  return done === 0 ? sortableInteger(revision) : `${sortableInteger(revision)}.${sortableInteger(done)}`;
}

function placeOf({ epoch, cursor }: ResumePoint): Place {
  const [revision = "", done] = cursor.split(".");
  return {
    epoch,
    revision: parseSortableInteger(revision),
    done: done === undefined ? 0 : Number(parseSortableInteger(done)),
  };
}

/**
 * A {@link Source} over a {@link ReferenceStore} that keeps its contract while everything around it fails, as its fault
 * plan and the seed of `rng` decide.
 */
export class SimulatedSource implements Source {
  readonly kind = "simulated";
  readonly description = "a store in memory";
  readonly scope = "everything";
  readonly capabilities: SourceCapabilities;
  /** Every loss that was told to a watcher, in order. */
  readonly losses: SimulatedLoss[] = [];
  readonly #store: ReferenceStore;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #silenceMs: number;
  readonly #maxDelayMs: number;
  readonly #heartbeatMs: number;
  readonly #snapshotPage: number;
  readonly #stats = { runs: 0, connects: 0, disconnects: 0, crashes: 0, silences: 0, snapshots: 0, duplicates: 0 };
  #faults: SourceFaults;
  #cut: AbortController | undefined;
  #wakeIdle: (() => void) | undefined;

  constructor(store: ReferenceStore, options: SimulatedSourceOptions) {
    this.#store = store;
    this.#clock = options.clock;
    this.#rng = options.rng;
    this.#faults = options.faults ?? {};
    this.capabilities = { ...everything, ...options.capabilities };
    this.#silenceMs = options.silenceMs ?? 3_600_000;
    this.#maxDelayMs = options.maxDelayMs ?? 5_000;
    this.#heartbeatMs = options.heartbeatMs ?? 1_000;
    this.#snapshotPage = options.snapshotPage ?? 20;
  }

  /** Counters since it was made. */
  get stats(): SimulatedSourceStats {
    return { ...this.#stats };
  }

  /** From now on nothing fails any more; a half-open connection breaks. */
  heal(): void {
    this.#faults = {};
    this.disconnect();
  }

  /** Breaks the connection, if there is one, wherever it stands. */
  disconnect(): void {
    this.#cut?.abort(new Disconnected("the connection was cut"));
  }

  /** The last revision, which an idle run reports as well. */
  async barrier(signal: AbortSignal): Promise<ResumePoint> {
    const point = { epoch: this.#store.epoch, cursor: simulatedCursor(this.#store.revision) };
    await this.#clock.sleep(this.#rng.int(0, 3), { signal });
    this.#wakeIdle?.();
    return point;
  }

  /** Follows the store; see {@link Source}. */
  async run(from: ResumePoint | undefined, sink: FrameSink, signal: AbortSignal): Promise<void> {
    this.#stats.runs++;
    const run = new Run(sink, signal, from === undefined ? undefined : placeOf(from));
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      sink.status({ state: "connecting", attempt });
      const cut = new AbortController();
      const onAbort = () => cut.abort(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#cut = cut;
      try {
        if (run.hasBeenConnected) this.#misfortunes();
        await this.#connect(run, cut.signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Disconnected)) throw error;
        this.#stats.disconnects++;
        if (run.isGroupOpen) {
          run.isGroupOpen = false;
          sink.write({ type: "discard" });
        }
        if (run.progressed) attempt = 1;
        run.progressed = false;
        const delayMs = this.#rng.float() * Math.min(5_000, 50 * 2 ** attempt);
        sink.status({ state: "waiting", attempt, delayMs, error: `The connection broke: ${error.message}.` });
        await this.#clock.sleep(delayMs, { signal });
      } finally {
        signal.removeEventListener("abort", onAbort);
        if (this.#cut === cut) this.#cut = undefined;
      }
    }
  }

  #strikes(probability: number | undefined): boolean {
    return probability !== undefined && probability > 0 && this.#rng.float() < probability;
  }

  /** What happened to the store while nobody was looking. */
  #misfortunes(): void {
    if (this.#strikes(this.#faults.compact)) this.#store.compact(this.#store.revision);
    if (this.#strikes(this.#faults.wipe)) this.#store.wipe();
    else if (this.#strikes(this.#faults.restore)) {
      this.#store.restore(BigInt(this.#rng.int(0, Number(this.#store.revision) + 1)));
    }
  }

  async #connect(run: Run, signal: AbortSignal): Promise<void> {
    await this.#clock.sleep(this.#rng.int(1, 10), { signal });
    run.hasBeenConnected = true;
    if (this.#strikes(this.#faults.refuse)) throw new Disconnected("refused");
    this.#stats.connects++;
    run.sink.alive();
    const loss = this.#lossSince(run.place);
    if (loss !== undefined && !run.isLossTold) {
      run.isLossTold = true;
      this.losses.push(loss);
      const { reason, from } = loss;
      await run.write({ type: "gap", reason, detail: `A simulated loss: ${reason}.`, from }, signal);
      if (reason === "epoch-changed") await run.write({ type: "reset", epoch: this.#store.epoch }, signal);
    }
    if (run.place === undefined || loss !== undefined) await this.#snapshot(run, signal);
    await this.#stream(run, signal);
  }

  #lossSince(place: Place | undefined): SimulatedLoss | undefined {
    if (place === undefined) return undefined;
    const from = simulatedCursor(place.revision, place.done);
    const loss = (reason: GapReason): SimulatedLoss => ({ reason, epoch: place.epoch, from });
    if (place.epoch !== this.#store.epoch) return loss("epoch-changed");
    if (!this.capabilities.resumable) return loss("disconnected");
    return place.revision < this.#store.compactedRevision ? loss("compacted") : undefined;
  }

  async #snapshot(run: Run, signal: AbortSignal): Promise<void> {
    this.#stats.snapshots++;
    const { epoch, revision } = this.#store;
    const state = this.#store.state();
    run.sink.status({ state: "snapshotting", received: 0 });
    run.isGroupOpen = true;
    await run.write({ type: "begin-snapshot", epoch }, signal);
    for (const [index, change] of state.entries()) {
      if (index % this.#snapshotPage === this.#snapshotPage - 1) {
        run.sink.status({ state: "snapshotting", received: index });
        await this.#mishap(run, signal, epoch);
      }
      await this.#change(run, change, signal);
    }
    await this.#mishap(run, signal, epoch);
    run.isGroupOpen = false;
    run.place = { epoch, revision, done: 0 };
    run.deliveredSince = revision;
    run.isLossTold = false;
    await run.write({ type: "snapshot-end", cursor: simulatedCursor(revision) }, signal);
  }

  async #stream(run: Run, signal: AbortSignal): Promise<void> {
    run.sink.status({ state: "live" });
    for (;;) {
      const place = run.place as Place;
      if (place.epoch !== this.#store.epoch) throw new Disconnected("the peer was replaced");
      const transaction = this.#store.at(place.revision + 1n);
      if (transaction !== undefined) {
        await this.#deliver(run, transaction, signal);
      } else if (place.revision < this.#store.compactedRevision) {
        throw new Disconnected("compacted while behind");
      } else {
        await this.#idle(run, signal);
      }
    }
  }

  async #deliver(run: Run, transaction: StoreTransaction, signal: AbortSignal): Promise<void> {
    await this.#mishap(run, signal, transaction.epoch);
    if (this.capabilities.versioned && this.#strikes(this.#faults.duplicate)) {
      this.#stats.duplicates++;
      const back = BigInt(this.#rng.int(1, 6));
      for (let revision = transaction.revision - back; revision < transaction.revision; revision++) {
        // What came before was never delivered in this run: it is in the snapshot, or in the run before.
        const old = revision > run.deliveredSince ? this.#store.at(revision) : undefined;
        if (old !== undefined) await this.#group(run, old, 0, signal);
      }
    }
    const { done } = run.place as Place;
    await this.#group(run, transaction, done, signal);
    run.progressed = true;
  }

  async #group(run: Run, { epoch, revision, changes }: StoreTransaction, done: number, signal: AbortSignal) {
    const moves = revision > (run.place as Place).revision;
    for (let index = done; index < changes.length; index++) {
      run.isGroupOpen = true;
      await this.#change(run, changes[index] as StoreChange, signal);
      if (this.#strikes(this.#faults.disconnect) && this.#strikes(0.5)) throw new Disconnected("inside a group");
      if (this.#strikes(this.#faults.crash) && this.#strikes(0.5)) this.#crash();
      const isLast = index === changes.length - 1;
      if (!isLast && !this.capabilities.transactional && moves && this.#strikes(0.3)) {
        run.place = { epoch, revision: revision - 1n, done: index + 1 };
        run.isGroupOpen = false;
        await run.write({ type: "commit", cursor: simulatedCursor(revision - 1n, index + 1) }, signal);
      }
    }
    if (moves) run.place = { epoch, revision, done: 0 };
    run.isGroupOpen = false;
    await run.write({ type: "commit", cursor: simulatedCursor(revision), sourceTimeMs: this.#clock.now() }, signal);
  }

  async #change(run: Run, { key, value, version }: StoreChange, signal: AbortSignal): Promise<void> {
    if (value === undefined && !this.capabilities.tombstones) return;
    const versioned = this.capabilities.versioned ? { version } : {};
    await run.write({ type: "change", key, value, ...versioned }, signal);
  }

  /** What may befall between two frames. */
  async #mishap(run: Run, signal: AbortSignal, epoch: Epoch): Promise<void> {
    const faults = this.#faults;
    signal.throwIfAborted();
    if (this.#strikes(faults.delay)) await this.#clock.sleep(this.#rng.int(0, this.#maxDelayMs), { signal });
    else if (this.#strikes(0.2)) await this.#clock.sleep(this.#rng.int(0, 3), { signal });
    if (this.#strikes(faults.disconnect)) throw new Disconnected("between groups");
    if (this.#strikes(faults.crash)) this.#crash();
    if (this.#strikes(faults.silence)) {
      this.#stats.silences++;
      await this.#clock.sleep(this.#silenceMs, { signal });
      throw new Disconnected("reset by peer after a long silence");
    }
    if (epoch !== this.#store.epoch) throw new Disconnected("the peer was replaced");
    if (run.isGroupOpen) run.sink.alive();
  }

  #crash(): never {
    this.#stats.crashes++;
    throw new Error("a simulated defect of the source");
  }

  async #idle(run: Run, signal: AbortSignal): Promise<void> {
    const place = run.place as Place;
    const isTimeUp = await new Promise<boolean>((resolve, reject) => {
      const end = (settle: () => void) => {
        timer.cancel();
        stop();
        signal.removeEventListener("abort", onAbort);
        this.#wakeIdle = undefined;
        settle();
      };
      const onAbort = () => end(() => reject(signal.reason as Error));
      const stop = this.#store.onChange(() => end(() => resolve(false)));
      const timer = this.#clock.setTimer(this.#heartbeatMs, () => end(() => resolve(true)));
      this.#wakeIdle = () => end(() => resolve(true));
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
    });
    if (!isTimeUp || place.epoch !== this.#store.epoch || place.revision !== this.#store.revision) return;
    run.sink.alive();
    await run.write({ type: "progress", cursor: simulatedCursor(place.revision) }, signal);
    await this.#mishap(run, signal, place.epoch);
  }
}

/** What lasts as long as one call of `run`. */
class Run {
  readonly sink: FrameSink;
  readonly signal: AbortSignal;
  /** The last boundary that was delivered. */
  place: Place | undefined;
  /** Revisions after this one were streamed in this run. */
  deliveredSince: bigint;
  isGroupOpen = false;
  /** The loss since `place` was told already. */
  isLossTold = false;
  hasBeenConnected = false;
  progressed = false;

  constructor(sink: FrameSink, signal: AbortSignal, place: Place | undefined) {
    this.sink = sink;
    this.signal = signal;
    this.place = place;
    this.deliveredSince = place === undefined ? 0n : place.revision + (place.done > 0 ? 1n : 0n);
  }

  async write(frame: Frame, signal: AbortSignal): Promise<void> {
    if (!this.sink.write(frame)) await this.sink.ready(signal);
  }
}

/** Creates a {@link SimulatedSource}. */
export function createSimulatedSource(store: ReferenceStore, options: SimulatedSourceOptions): SimulatedSource {
  return new SimulatedSource(store, options);
}
