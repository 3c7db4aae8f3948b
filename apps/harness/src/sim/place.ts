import type { Clock, SeededRng } from "@tidemark/clock";
import type { Simulation } from "@tidemark/clock/testing";
import { type ChangeFrame, type History, openWatcher, sortableInteger, type Watcher } from "@tidemark/store-watch";
import {
  auditReplica,
  CommitLog,
  createReferenceStore,
  FaultyHistory,
  isPoison,
  type ObservedCommit,
  openThreadlessHistory,
  OracleError,
  type ReferenceStore,
  SimulatedSource,
} from "@tidemark/store-watch/testing";
import { openSite, type Peer, type Site, type SiteStore, topicChannel } from "@tidemark/sync";
import { Busy, type Life } from "./life.ts";
import { observedChannel } from "./observed-channel.ts";
import { FileReader } from "./file-reader.ts";
import { Consumer, observedPruning } from "./observed-pruning.ts";
import { mustBe, o4Cursor, o6Pruned, o7Memory, o8NoStorm } from "./oracles.ts";
import type { ReplicaPlan, SitePlan } from "./plan.ts";
import { policyOf } from "./policies.ts";
import { failingGraph, lossySink, peerOf } from "./site-parts.ts";
import { ProcessNetwork } from "./topic-network.ts";
import type { World } from "./world.ts";

/** What a watcher may hold, in bytes. */
const limits = {
  maxBufferBytes: 16_000,
  maxGroupBytes: 5_000,
  silenceTimeoutMs: 60_000,
  stallTimeoutMs: 10_000,
  stopTimeoutMs: 1_000,
};
/** A frame that was on its way when the buffer got full, with its fixed cost. */
const oneFrameMore = 2_000;
/** What the sites share. */
const group = "group";
/** O8: streams that one process may open to the topic service within a minute: full jitter around 50 ms, then longer. */
const mostStreamsPerMinute = 120;
const mostRunsPerMinute = 120;

/** A process with a database file, which is what is left of it when it dies: a follower of a store, a site, or both. */
export class Place {
  readonly name: string;
  readonly site: SitePlan | undefined;
  readonly replica: ReplicaPlan | undefined;
  readonly store: ReferenceStore | undefined;
  /** What its user was told is durable. */
  readonly durable = new Set<string>();
  readonly #world: World;
  readonly #simulation: Simulation;
  readonly #clock: Clock;
  readonly #rng: SeededRng;
  readonly #file: string;
  readonly #source: SimulatedSource | undefined;
  readonly #log = new CommitLog();
  readonly #streamsMs: number[] = [];
  readonly #runsMs: number[] = [];
  readonly stats = {
    crashes: 0,
    drops: 0,
    unsureOfMemory: 0,
    commits: 0,
    faults: 0,
    early: 0,
    pruned: 0,
    bootstraps: 0,
  };
  readonly #consumer = new Consumer();
  #life: Life | undefined;
  #starting: Promise<void> = Promise.resolve();
  #reader: FileReader | undefined;
  #lives = 0;
  #busy: number;
  #isHealed = false;

  constructor(world: World, name: string, file: string, plan: { site?: SitePlan; replica?: ReplicaPlan | undefined }) {
    this.#world = world;
    this.#simulation = world.simulation;
    this.#clock = world.simulation.clock;
    this.#rng = world.simulation.rng.fork(`place ${name}`);
    this.name = name;
    this.#file = file;
    this.site = plan.site;
    this.replica = plan.replica;
    this.#busy = plan.site?.busy ?? 0;
    if (plan.replica === undefined) return;
    this.store = createReferenceStore();
    this.#source = new SimulatedSource(this.store, {
      clock: this.#clock,
      rng: this.#rng.fork("source"),
      faults: plan.replica.source,
      capabilities: plan.replica.capabilities,
      silenceMs: 3_600_000,
      maxDelayMs: 2_000,
      heartbeatMs: 5_000,
    });
    const run = this.#source.run.bind(this.#source);
    this.#source.run = (...args) => {
      this.#runsMs.push(this.#clock.monotonic());
      return run(...args);
    };
  }

  /** Names its site in the files of all of them. */
  get origin(): string {
    return `${group}/${this.name}`;
  }

  /** Undefined while it is down. */
  get running(): Site | undefined {
    return this.#life?.site;
  }

  get watcher(): Watcher | undefined {
    return this.#life?.watcher;
  }

  get isUp(): boolean {
    const life = this.#life;
    return life !== undefined && (this.replica === undefined || life.watcher !== undefined);
  }

  /** Cuts its cable, or puts it back. */
  cutOff(isCutOff: boolean): void {
    const network = this.#life?.network;
    if (network !== undefined) network.isCutOff = isCutOff;
  }

  cutStreams(): void {
    this.#life?.network.cut("the service is gone");
  }

  start(): Promise<void> {
    const startMs = this.site?.startMs ?? 0;
    // Who joins later is not waited for.
    if (startMs > 0) {
      this.#clock.setTimer(startMs, () => void this.#begin());
      return Promise.resolve();
    }
    return this.#begin();
  }

  #begin(): Promise<void> {
    this.#starting = this.#start().catch((error: unknown) => this.#world.fail(error));
    return this.#starting;
  }

  /** It dies, and is started again a little later. */
  crash(): void {
    const life = this.#life;
    if (life === undefined || life.isOver) return;
    life.isOver = true;
    this.#life = undefined;
    this.stats.crashes++;
    this.#simulation.trace.record(`${this.name} dies`);
    this.#leave(life);
    life.network.kill();
    life.watcher?.destroy(new Error("crash"));
    // Its loops end; what they wait for never comes.
    void life.site?.close();
    const closed = life.history.close();
    // Seldom so long that the topic keeps less than it misses.
    const delayMs = this.#rng.float() * this.#rng.pick([3_000, 3_000, 3_000, 300_000]);
    this.#starting = this.#clock
      .sleep(delayMs)
      .then(() => closed)
      .then(() => this.#start())
      .catch((error: unknown) => this.#world.fail(error));
  }

  heal(): void {
    this.#isHealed = true;
    this.#busy = 0;
    this.#source?.heal();
    this.#life?.faulty?.heal();
    this.cutOff(false);
  }

  /** O7, and an operator who presses retry now and then. */
  look(): void {
    const watcher = this.#life?.watcher;
    if (watcher === undefined) return;
    const { inflightBytes, bufferedBytes, state } = watcher.status();
    o7Memory(this.name, inflightBytes + bufferedBytes, limits.maxBufferBytes + oneFrameMore);
    if (state === "quarantined" && (this.#isHealed || this.#rng.float() < 0.01)) watcher.retry();
  }

  /** Once the store has nothing that the history has not. */
  async isCaughtUp(): Promise<boolean> {
    if (this.store === undefined) return true;
    const status = this.#life?.watcher?.status();
    if (status?.state !== "live") return false;
    return status.resume?.epoch === this.store.epoch && status.resume.cursor === sortableInteger(this.store.revision);
  }

  /** Everything that must be true of it alone, once nothing happens any more. */
  async audit(): Promise<void> {
    const life = this.#life;
    if (life === undefined) throw new OracleError(`O6: ${this.name} is down`);
    o8NoStorm(`${this.name} (topics)`, [...this.#streamsMs, ...life.network.opened], 60_000, mostStreamsPerMinute);
    o8NoStorm(`${this.name} (source)`, this.#runsMs, 60_000, mostRunsPerMinute);
    const { watcher, history } = life;
    if (this.store !== undefined && watcher !== undefined && this.replica !== undefined && this.#source !== undefined) {
      const { drops, resume } = watcher.status();
      mustBe(
        this.stats.drops + drops === 0 || this.stats.unsureOfMemory + this.#lostMemory(life) > 0,
        "O5",
        () => `${this.name} dropped ${this.stats.drops + drops} changes although no memory was lost`,
      );
      o4Cursor(this.name, this.#log.cursor, resume?.cursor);
      const { versioned, transactional } = this.replica.capabilities;
      await auditReplica({
        store: this.store,
        history,
        stream: this.replica.name,
        log: this.#log,
        losses: this.#source.losses,
        isVersioned: versioned,
        isTransactional: transactional && versioned,
      });
    }
  }

  /** Once there was time to prune everything that may go. */
  auditPruning(): void {
    if (this.site?.retention !== undefined) o6Pruned(this.name, this.reader.leftovers());
  }

  get history(): History {
    if (this.#life === undefined) throw new OracleError(`O6: ${this.name} is down`);
    return this.#life.history;
  }

  get reader(): FileReader {
    this.#reader ??= new FileReader(this.#file);
    return this.#reader;
  }

  async close(): Promise<void> {
    const life = this.#life;
    this.#life = undefined;
    this.#reader?.close();
    if (life === undefined) return;
    // What failed may not end by itself.
    const closed = Promise.all([life.watcher?.close(), life.site?.close()]);
    closed.catch(() => {});
    await Promise.race([closed, this.#clock.sleep(60_000)]);
    life.isOver = true;
    await life.history.close();
  }

  /** Of `edits` keys; tells whether the user has an answer. */
  async write(edits: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[]): Promise<void> {
    if (this.store !== undefined) {
      this.store.transact(edits);
      return;
    }
    const site = this.#life?.site;
    if (site === undefined) return;
    const answer = site.write(edits).catch((error: unknown) => {
      if (error instanceof Busy || this.#life?.site !== site) return undefined;
      throw error;
    });
    // Whoever waits for a dead process gives up.
    const written = await Promise.race([answer, this.#clock.sleep(10_000)]);
    if (!written || written.versions === 0) return;
    for (const { value } of edits) if (value !== undefined) this.durable.add(Buffer.from(value).toString());
  }

  async #start(): Promise<void> {
    const number = this.#lives++;
    const history = await openThreadlessHistory({ file: this.#file, origin: this.name, clock: this.#clock });
    const network = new ProcessNetwork(this.#world.networkFor(this.#rng.fork(`network ${number}`)));
    const life: Life = { isOver: false, history, network };
    this.#life = life;
    if (this.replica !== undefined) await this.#startWatcher(life, this.replica, number);
    if (this.site !== undefined && !life.isOver) await this.#startSite(life, this.site, number);
    const everyMs = this.site?.consumerMs;
    if (everyMs !== undefined && !life.isOver) this.#startConsumer(life, everyMs, number);
  }

  async #startWatcher(life: Life, replica: ReplicaPlan, number: number): Promise<void> {
    const faulty = new FaultyHistory(life.history, {
      clock: this.#clock,
      rng: this.#rng.fork(`history ${number}`),
      faults: this.#isHealed ? {} : replica.history,
      onCrash: () => this.crash(),
      onCommitted: (commit) => this.#committed(life, replica, commit),
    });
    life.faulty = faulty;
    const check = (change: ChangeFrame) => {
      if (isPoison(change.value)) throw new Error("this value begins with 0xff");
    };
    while (!life.isOver) {
      try {
        const watcher = await openWatcher({
          source: this.#source as SimulatedSource,
          history: {
            openStream: (each) => {
              this.#log.reopened();
              return faulty.openStream(each);
            },
          },
          name: replica.name,
          clock: this.#clock,
          rng: this.#rng.fork(`watcher ${number}`),
          check,
          flushIntervalMs: replica.flushIntervalMs,
          commitRetry: { maxAttempts: replica.commitAttempts },
          ...limits,
        });
        if (life.isOver) watcher.destroy(new Error("crash"));
        else life.watcher = watcher;
        void this.#listen(life, watcher).catch((error: unknown) => this.#world.fail(error));
        return;
      } catch {
        await this.#clock.sleep(100);
      }
    }
  }

  async #listen(life: Life, watcher: Watcher): Promise<void> {
    for await (const event of watcher.events()) {
      if (life.isOver) return;
      if (event.type !== "state-changed") continue;
      this.#simulation.trace.record(`${this.name}: ${event.from} → ${event.to}`);
      if (event.to === "failed") throw new OracleError(`O6: the watcher of ${this.name} failed: ${event.reason}`);
    }
  }

  #committed(life: Life, replica: ReplicaPlan, { frames, result }: ObservedCommit): void {
    if (life.isOver) return;
    this.stats.commits++;
    this.#log.add(frames);
    const kinds = frames.map((frame) => ("cursor" in frame ? `${frame.type}(${frame.cursor})` : frame.type)).join(" ");
    this.#simulation.trace.record(`${this.name} committed ${kinds}: ${result.versions} new, at ${this.#log.cursor}`);
    try {
      o4Cursor(this.name, this.#log.cursor, this.reader.cursorOf(replica.name));
    } catch (error) {
      this.#world.fail(error);
    }
  }

  async #startSite(life: Life, plan: SitePlan, number: number): Promise<void> {
    const graph = await life.history.openGraph({ name: group, description: "simulated" });
    if (life.isOver) return;
    const rng = this.#rng.fork(`site ${number}`);
    const channel = topicChannel({
      client: life.network.client() as Parameters<typeof topicChannel>[0]["client"],
      topic: "group",
      consumer: plan.name,
      clock: this.#clock,
      rng,
    });
    const pruning = observedPruning(graph, {
      name: this.name,
      origin: this.origin,
      clock: this.#clock,
      reader: () => this.reader,
      readerOf: (other) => this.#world.siteOf(other).reader,
      archive: this.#world.archive,
      fail: (error) => this.#world.fail(error),
    });
    const site = openSite({
      graph: failingGraph(life, plan.retention === undefined ? graph : pruning, {
        rng: this.#rng.fork(`graph ${number}`),
        strikesWith: () => this.#busy,
        onStrike: () => this.stats.faults++,
      }),
      channel: observedChannel(channel, {
        life,
        graph,
        name: this.name,
        sent: this.#world.sent,
        rng: this.#rng.fork(`channel ${number}`),
        forgets: () => (this.#isHealed ? 0 : plan.forgets),
        fail: (error) => this.#world.fail(error),
      }),
      policy: policyOf(plan.policy),
      retention: plan.retention,
      ...(plan.upkeepMs !== undefined && { upkeepMs: plan.upkeepMs }),
      peers: this.#world.hasPeers ? this.#peers(life) : [],
      ...(this.replica !== undefined && { store: this.#siteStore(life, plan, this.replica) }),
      clock: this.#clock,
      rng,
    });
    life.site = site;
    site.onEvent((event) => {
      if (life.isOver) return;
      this.#simulation.trace.record(`${this.name}: ${event.type}`);
      if (event.type === "applied") this.stats.early += event.waiting;
      if (event.type === "pruned") this.stats.pruned += event.versions;
      if (event.type === "bootstrapped") this.stats.bootstraps++;
    });
    site.closed.catch((error: unknown) => {
      if (!life.isOver) this.#world.fail(new OracleError(`O6: ${this.name} stopped: ${String(error)}`));
    });
  }

  #startConsumer(life: Life, everyMs: number, number: number): void {
    const rng = this.#rng.fork(`consumer ${number}`);
    const options = { name: this.name, clock: this.#clock, rng, everyMs };
    void this.#consumer.run(life, options).catch((error: unknown) => this.#world.fail(error));
  }

  #peers(life: Life): Peer[] {
    return this.#world
      .sitesBut(this)
      .map((other) => peerOf(other.name, () => other.running, { life, clock: this.#clock, rng: this.#rng }));
  }

  #siteStore(life: Life, plan: SitePlan, replica: ReplicaPlan): SiteStore {
    const { history } = life;
    const sink = () =>
      lossySink(this.store as ReferenceStore, {
        life,
        clock: this.#clock,
        rng: this.#rng,
        strikesWith: () => this.#busy,
      });
    return {
      stream: replica.name,
      history: {
        position: () => history.position(),
        follow: (after, options) => history.follow(after, options),
      },
      ...(plan.hasSink && { sink: sink() }),
    };
  }

  #lostMemory({ faulty }: Life): number {
    return (faulty?.counts.lost ?? 0) + (faulty?.counts.unknown ?? 0);
  }

  /** What is to be remembered of a life that is over. */
  #leave(life: Life): void {
    this.#streamsMs.push(...life.network.opened);
    this.stats.drops += life.watcher?.status().drops ?? 0;
    this.stats.unsureOfMemory += this.#lostMemory(life);
  }
}
