import type { Clock, SeededRng } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import type { ChangeFrame, Source } from "../src/contract.ts";
import type { History } from "../src/history-types.ts";
import {
  FaultyHistory,
  type HistoryFaultCounts,
  type HistoryFaults,
  type ObservedCommit,
} from "../src/testing/faulty-history.ts";
import { createReferenceStore, type ReferenceStore, type StoreOperation } from "../src/testing/reference-store.ts";
import { SimulatedSource, type SimulatedSourceStats, type SourceFaults } from "../src/testing/simulated-source.ts";
import { StoreWatchError } from "../src/errors.ts";
import { openWatcher } from "../src/watcher.ts";
import type { Watcher, WatcherOptions } from "../src/watcher-types.ts";
import { auditReplica, CommitLog, isPoison, OracleError, poisonByte } from "../src/testing/replica-oracle.ts";

/** A bug, put in from outside. */
export interface Mutant {
  source?(source: Source, world: { readonly store: ReferenceStore }): Source;
  store?(store: ReferenceStore): ReferenceStore;
  history?(history: Pick<History, "openStream">): Pick<History, "openStream">;
  check?(check: (change: ChangeFrame) => void): (change: ChangeFrame) => void;
  readonly watcher?: Partial<WatcherOptions>;
}

export interface WorldOptions {
  readonly seed: number;
  readonly history: History;
  /** Where the stream's durable cursor stands, read from the file and not through the history. */
  readonly durableCursor?: (stream: string) => string | undefined;
  readonly stream?: string;
  readonly mutant?: Mutant;
  /** Gets what happened, at the end. */
  readonly onTrace?: (lines: readonly string[]) => void;
}

export interface WorldResult {
  readonly digest: string;
  readonly source: SimulatedSourceStats;
  readonly history: HistoryFaultCounts;
  readonly crashes: number;
  readonly heldBack: number;
  readonly drops: number;
  readonly segments: number;
  readonly refused: number;
  readonly virtualMs: number;
}

const limits = {
  maxBufferBytes: 16_000,
  maxGroupBytes: 5_000,
  silenceTimeoutMs: 60_000,
  stallTimeoutMs: 10_000,
  stopTimeoutMs: 1_000,
};
/** A frame that was on its way when the buffer got full, with its fixed cost. */
const oneFrameMore = 2_000;
/** O6: everything is caught up with at most so long after the last fault. */
const healMs = 10 * 60_000;

/** One seeded life of a store, a source, a database and the watcher between them, audited at its end. */
export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const simulation = createSimulation({ seed: options.seed, limitMs: 7 * 24 * 3_600_000 });
  const world = new World(simulation, options);
  try {
    return await simulation.run(() => world.live());
  } finally {
    options.onTrace?.(simulation.trace.lines());
  }
}

class World {
  readonly #simulation: Simulation;
  readonly #options: WorldOptions;
  readonly #clock: Clock;
  readonly #rng: SeededRng;
  readonly #store: ReferenceStore;
  readonly #source: SimulatedSource;
  readonly #faulty: FaultyHistory;
  readonly #log = new CommitLog();
  readonly #stream: string;
  readonly #watcherOptions: WatcherOptions;
  readonly #capabilities: { readonly resumable: boolean; readonly transactional: boolean; readonly versioned: boolean };
  #watcher: Watcher | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #crashes = 0;
  #heldBack = 0;
  #drops = 0;
  #error: unknown;

  constructor(simulation: Simulation, options: WorldOptions) {
    this.#simulation = simulation;
    this.#options = options;
    const { clock, rng } = simulation;
    this.#clock = clock;
    this.#rng = rng;
    this.#stream = options.stream ?? `seed-${options.seed}`;
    const plan = rng.fork("plan");
    this.#capabilities = {
      resumable: plan.float() < 0.8,
      transactional: plan.float() < 0.8,
      versioned: plan.float() < 0.8,
    };
    const mutant = options.mutant ?? {};
    this.#store = createReferenceStore();
    this.#source = new SimulatedSource(mutant.store?.(this.#store) ?? this.#store, {
      clock,
      rng: rng.fork("source"),
      faults: sourceFaults(plan, this.#capabilities.versioned && this.#capabilities.resumable),
      capabilities: this.#capabilities,
      silenceMs: 3_600_000,
      maxDelayMs: 2_000,
    });
    this.#faulty = new FaultyHistory(options.history, {
      clock,
      rng: rng.fork("history"),
      faults: historyFaults(plan),
      external: (work) => simulation.external(work),
      onCrash: () => this.#crash(),
      onCommitted: (commit) => this.#committed(commit),
    });
    const check = (change: ChangeFrame) => {
      if (isPoison(change.value)) throw new Error("this value begins with 0xff");
    };
    const opened: Pick<History, "openStream"> = {
      openStream: (each) => {
        this.#log.reopened();
        return this.#faulty.openStream(each);
      },
    };
    this.#watcherOptions = {
      source: mutant.source?.(this.#source, { store: this.#store }) ?? this.#source,
      history: mutant.history?.(opened) ?? opened,
      name: this.#stream,
      clock,
      rng: rng.fork("watcher"),
      check: mutant.check?.(check) ?? check,
      flushIntervalMs: plan.pick([0, 0, 20, 500]),
      commitRetry: { maxAttempts: plan.pick([3, Number.POSITIVE_INFINITY]) },
      ...limits,
      ...mutant.watcher,
    };
  }

  async live(): Promise<WorldResult> {
    await this.#open();
    const watchdog = this.#operate();
    await this.#work();
    this.#source.heal();
    this.#faulty.heal();
    await this.#converge();
    watchdog.abort();
    const { resume, drops } = this.#status();
    this.#drops += drops;
    await this.#watcher?.close();
    if (this.#error !== undefined) throw this.#error as Error;
    if (this.#drops > 0 && this.#faulty.counts.lost + this.#faulty.counts.unknown === 0) {
      throw new OracleError(`O5: ${this.#drops} changes were dropped although no memory was lost`);
    }
    if (resume?.cursor !== this.#log.cursor) {
      throw new OracleError(`O4: the watcher stands at ${resume?.cursor}, committed is ${this.#log.cursor}`);
    }
    const { store } = this;
    await this.#simulation.external(() =>
      auditReplica({
        store,
        history: this.#options.history,
        stream: this.#stream,
        log: this.#log,
        losses: this.#source.losses,
        isVersioned: this.#capabilities.versioned,
        isTransactional: this.#capabilities.transactional && this.#capabilities.versioned,
      }),
    );
    return {
      digest: this.#simulation.trace.digest(),
      source: this.#source.stats,
      history: this.#faulty.counts,
      crashes: this.#crashes,
      heldBack: this.#heldBack,
      drops: this.#drops,
      segments: this.#log.segments.length,
      refused: (await this.#simulation.external(() => this.#options.history.quarantine(this.#stream))).length,
      virtualMs: this.#clock.monotonic(),
    };
  }

  get store(): ReferenceStore {
    return this.#store;
  }

  #status() {
    if (this.#watcher === undefined) throw new OracleError("O6: there is no watcher");
    return this.#watcher.status();
  }

  async #open(): Promise<void> {
    for (;;) {
      try {
        const watcher = await openWatcher(this.#watcherOptions);
        this.#watcher = watcher;
        void this.#listen(watcher);
        return;
      } catch {
        await this.#clock.sleep(100);
      }
    }
  }

  async #listen(watcher: Watcher): Promise<void> {
    for await (const event of watcher.events()) {
      if (event.type === "state-changed") this.#simulation.trace.record(`${event.from} → ${event.to}: ${event.reason}`);
      else if (event.type !== "committed") this.#simulation.trace.record(event.type);
      if (event.type === "held-back" && event.isHeldBack) this.#heldBack++;
      if (event.type === "state-changed" && event.to === "failed") {
        this.#error ??= new OracleError(`H12: the watcher failed: ${event.reason}`);
      }
    }
  }

  /** The process dies, and is started again a little later. */
  #crash(): void {
    const watcher = this.#watcher;
    if (watcher === undefined) return;
    this.#crashes++;
    this.#drops += watcher.status().drops;
    this.#watcher = undefined;
    watcher.destroy(new Error("crash"));
    const delayMs = this.#rng.int(0, 3_000);
    this.#reopening = this.#clock.sleep(delayMs).then(() => this.#open());
  }

  #committed({ frames, result }: ObservedCommit): void {
    try {
      this.#log.add(frames);
      const durable = this.#options.durableCursor?.(this.#stream);
      const kinds = frames.map(({ type }) => (type === "change" ? "." : type)).join(" ");
      this.#simulation.trace.record(
        `committed: ${kinds}: ${result.versions} new, at ${this.#log.cursor}, durable ${durable}`,
      );
      if (this.#options.durableCursor !== undefined && durable !== this.#log.cursor) {
        throw new OracleError(`O4: ${this.#log.cursor} was committed, but the durable cursor is ${durable}`);
      }
    } catch (error) {
      this.#error ??= error;
    }
  }

  /** An operator who looks now and then, presses retry, and counts the memory (O7). */
  #operate(): AbortController {
    const over = new AbortController();
    const look = async () => {
      for (;;) {
        await this.#clock.sleep(this.#rng.int(1, 400), { signal: over.signal });
        const status = this.#watcher?.status();
        if (status === undefined) continue;
        const held = status.inflightBytes + status.bufferedBytes;
        if (held > limits.maxBufferBytes + oneFrameMore) {
          this.#error ??= new OracleError(`O7: ${held} bytes are held, at most ${limits.maxBufferBytes} may be`);
        }
        if (status.state === "quarantined" && this.#rng.float() < 0.01) this.#watcher?.retry();
      }
    };
    void look().catch(() => {});
    return over;
  }

  async #work(): Promise<void> {
    const rng = this.#rng.fork("work");
    const keys = Array.from({ length: 8 }, (_, index) => Uint8Array.from([107, index, index % 2 === 0 ? 0 : 255]));
    const transactions = rng.int(20, 50);
    for (let count = 0; count < transactions; count++) {
      const isHuge = rng.float() < 0.03;
      const operations: StoreOperation[] = [];
      const size = isHuge ? 60 : rng.pick([1, 1, 1, 2, 3, 5]);
      for (let index = 0; index < size; index++) {
        const key = rng.pick(keys);
        const draw = rng.float();
        const length = isHuge ? 300 : rng.int(0, 40);
        const value = rng.bytes(length);
        if (value[0] === poisonByte) value[0] = 0;
        if (draw < 0.03) operations.push({ key, value: Uint8Array.from([poisonByte, ...value]) });
        else if (draw < 0.28) operations.push({ key, value: undefined });
        else operations.push({ key, value });
        // Within one transaction, so that only its order says which is last.
        if (draw > 0.9) operations.push({ key, value: undefined });
      }
      this.#store.transact(operations);
      const pause = rng.float();
      if (pause < 0.4) await this.#clock.sleep(rng.int(0, 20));
      else if (pause < 0.9) await this.#clock.sleep(rng.int(0, 1_000));
      else await this.#clock.sleep(rng.int(0, 120_000));
    }
  }

  /** O6: with nothing failing any more, everything arrives within a bounded time. */
  async #converge(): Promise<void> {
    const limitMs = this.#clock.monotonic() + healMs;
    for (;;) {
      await this.#reopening;
      this.#watcher?.retry();
      const watcher = this.#watcher;
      if (watcher === undefined) continue;
      const left = new AbortController();
      const timer = this.#clock.setTimer(limitMs - this.#clock.monotonic(), () =>
        left.abort(
          new OracleError(`O6: not caught up ${healMs} ms after the last fault: ${JSON.stringify(watcher.status())}`),
        ),
      );
      try {
        await watcher.waitFor("now", { signal: left.signal });
        // What is waited for may be there already, while a snapshot is on its way.
        while (watcher.status().state !== "live") await this.#clock.sleep(100, { signal: left.signal });
        return;
      } catch (error) {
        if (!isClosed(error)) throw error;
      } finally {
        timer.cancel();
      }
    }
  }
}

/** Each fault is there or not, and as bad as the seed says: seeds differ more than one plan for all would. */
function some(plan: SeededRng, most: number): number {
  return plan.float() < 0.5 ? 0 : plan.float() * most;
}

function sourceFaults(plan: SeededRng, canRepeat: boolean): SourceFaults {
  return {
    refuse: some(plan, 0.5),
    disconnect: some(plan, 0.15),
    duplicate: canRepeat ? some(plan, 0.2) : 0,
    crash: some(plan, 0.05),
    silence: some(plan, 0.02),
    delay: some(plan, 0.3),
    compact: some(plan, 0.3),
    wipe: some(plan, 0.1),
    restore: some(plan, 0.1),
  };
}

function historyFaults(plan: SeededRng): HistoryFaults {
  return {
    delay: some(plan, 0.3),
    busy: some(plan, 0.3),
    unknown: some(plan, 0.05),
    lost: some(plan, 0.05),
    hang: some(plan, 0.05),
    crash: some(plan, 0.08),
    open: some(plan, 0.3),
  };
}

/** Whether an error means that the thing was closed, which a test that crashes watchers expects. */
const isClosed = (error: unknown): boolean => StoreWatchError.is(error) && error.code === "CLOSED";
