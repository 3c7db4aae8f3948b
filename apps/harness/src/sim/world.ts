import { rmSync } from "node:fs";
import { join } from "node:path";
import type { SeededRng } from "@tidemark/clock";
import { createSimulation, type Simulation } from "@tidemark/clock/testing";
import { OracleError, poisonByte } from "@tidemark/store-watch/testing";
import { Archive } from "./archive.ts";
import type { NetworkParts } from "./topic-network.ts";
import { TopicNode } from "./topic-node.ts";
import {
  mustBe,
  o1SitesAgree,
  o1StoreShows,
  o2EditedOnce,
  o2NothingForgotten,
  o3Sound,
  o5PublishedOnce,
} from "./oracles.ts";
import type { SentChange } from "./observed-channel.ts";
import { Place } from "./place.ts";
import { planOf, type SimChoice, type SimPlan } from "./plan.ts";

/** O6: with nothing failing any more, everything arrives within so long. */
const healMs = 60 * 60_000;

/** What one world came to. Equal choices give equal results. */
export interface WorldResult {
  readonly digest: string;
  readonly virtualMs: number;
  readonly places: number;
  readonly edits: number;
  readonly commits: number;
  readonly versions: number;
  readonly conflicts: number;
  readonly merges: number;
  readonly crashes: number;
  /** Batches that came before something that they build on. */
  readonly early: number;
  readonly partitions: number;
  readonly restarts: number;
  readonly jumps: number;
  readonly streams: number;
  readonly gaps: number;
  readonly trimmed: number;
  readonly refused: number;
  /** Superseded versions that sites removed. */
  readonly pruned: number;
  /** Snapshots that sites took over. */
  readonly bootstraps: number;
}

/** A whole system in virtual time: places, the topic service between them, and everything that goes wrong. */
export class World {
  readonly simulation: Simulation;
  /** Which change a message is, by its bytes. */
  readonly sent = new Map<string, SentChange>();
  readonly archive = new Archive();
  readonly #plan: SimPlan;
  readonly #rng: SeededRng;
  readonly #places: readonly Place[];
  readonly #sites: readonly Place[];
  readonly #over = new AbortController();
  readonly #counts = { edits: 0, partitions: 0, restarts: 0, jumps: 0, streams: 0 };
  #topics: TopicNode | undefined;
  #isHealed = false;
  #values = 0;
  #error: unknown;

  constructor(choice: SimChoice, folder: string) {
    this.#plan = planOf(choice);
    this.simulation = createSimulation({
      seed: choice.seed,
      limitMs: 14 * 24 * 3_600_000,
      maxEventsPerInstant: 20_000,
    });
    this.#rng = this.simulation.rng.fork("world");
    const fileOf = (name: string) => join(folder, `${name}.db`);
    this.#sites = this.#plan.sites.map(
      (site) => new Place(this, site.name, fileOf(site.name), { site, replica: site.replica }),
    );
    this.#places = [
      ...this.#sites,
      ...this.#plan.followers.map((replica) => new Place(this, replica.name, fileOf(replica.name), { replica })),
    ];
    for (const { name } of this.#places) {
      for (const suffix of ["", "-wal", "-shm", "-lock"]) rmSync(`${fileOf(name)}${suffix}`, { force: true });
    }
  }

  get hasPeers(): boolean {
    return this.#plan.hasPeers;
  }

  sitesBut(place: Place): readonly Place[] {
    return this.#sites.filter((each) => each !== place);
  }

  /** The site that an origin in the vectors is. */
  siteOf(origin: string): Place {
    const place = this.#sites.find((each) => each.origin === origin);
    if (place === undefined) throw new Error(`expected an origin of this world, got ${origin}`);
    return place;
  }

  networkFor(rng: SeededRng): NetworkParts {
    const calm = { latencyMs: 5, refuse: 0, cut: 0, silence: 0 };
    return {
      clock: this.simulation.clock,
      rng,
      serve: (kind, call) => {
        this.#counts.streams++;
        return this.#topics?.serve(kind, call);
      },
      faults: () => (this.#isHealed ? calm : this.#plan.link),
    };
  }

  /** The first error ends it. */
  fail(error: unknown): void {
    this.#error ??= error;
    this.#over.abort(error);
  }

  /** @throws {OracleError}, or what broke in another way */
  async run(onTrace?: (lines: readonly string[]) => void): Promise<WorldResult> {
    // A rejection that nobody handles is a finding as well.
    const onRejection = (error: unknown) => this.fail(error);
    process.on("unhandledRejection", onRejection);
    try {
      return await this.simulation.run(() => this.#live());
    } finally {
      process.off("unhandledRejection", onRejection);
      onTrace?.(this.simulation.trace.lines());
    }
  }

  async #live(): Promise<WorldResult> {
    const { clock } = this.simulation;
    this.#topics = await TopicNode.open({
      clock,
      rng: this.#rng.fork("topics"),
      consumers: this.#sites.map(({ name }) => name),
      retentionMs: this.#plan.retentionMs,
    });
    try {
      await this.#untilFailure(Promise.all(this.#places.map((place) => place.start())));
      const troubles = this.#troubles();
      void this.#operate();
      await this.#untilFailure(Promise.all(this.#places.map((place) => this.#work(place))));
      troubles.abort();
      this.#heal();
      await this.#untilFailure(this.#converge());
      await this.#untilFailure(this.#prune());
      return await this.#untilFailure(this.#judge());
    } finally {
      this.#over.abort(new Error("the world is over"));
      for (const place of this.#places) await place.close().catch(() => {});
      await this.#topics.close();
    }
  }

  async #untilFailure<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {});
    const { signal } = this.#over;
    const failed = new Promise<never>((_, reject) => {
      if (signal.aborted) reject(signal.reason as Error);
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
    failed.catch(() => {});
    return Promise.race([work, failed]);
  }

  /** O7 and O8 hold all the time. */
  async #operate(): Promise<void> {
    const { clock } = this.simulation;
    const rng = this.#rng.fork("operator");
    try {
      for (;;) {
        await clock.sleep(rng.int(100, 5_000), { signal: this.#over.signal });
        for (const place of this.#places) place.look();
      }
    } catch (error) {
      if (!this.#over.signal.aborted) this.fail(error);
    }
  }

  async #work(place: Place): Promise<void> {
    const { clock } = this.simulation;
    const { edits, keys, pauseMs } = this.#plan;
    const rng = this.#rng.fork(`work ${place.name}`);
    const isFollower = place.site === undefined;
    // Keys of followers are nobody else's, and any bytes.
    const keyOf = (index: number) =>
      isFollower ? Uint8Array.from([107, index, index % 2 === 0 ? 0 : 255]) : Buffer.from(`k${index}`);
    for (let done = 0; done < edits; done++) {
      const isHuge = isFollower && rng.float() < 0.03;
      const size = isHuge ? 60 : rng.pick([1, 1, 1, 2, 3]);
      const operations = Array.from({ length: size }, () => {
        const index = rng.int(0, keys);
        return { key: keyOf(index), value: this.#value(place, rng, isHuge) };
      });
      // A transaction of a site has each key once.
      const unique = new Map(operations.map((each) => [each.key.toString(), each]));
      this.#counts.edits++;
      await place.write(isFollower ? operations : [...unique.values()]);
      await clock.sleep(rng.float() < 0.1 ? rng.int(0, 20 * this.#plan.pauseMs) : rng.int(0, pauseMs), {
        signal: this.#over.signal,
      });
    }
  }

  #value(place: Place, rng: SeededRng, isHuge: boolean): Uint8Array | undefined {
    const draw = rng.float();
    if (draw < 0.25) return undefined;
    const text = Buffer.from(`${place.name}:${++this.#values}`);
    const padding = isHuge ? 300 : place.site === undefined ? 0 : this.#plan.paddingBytes;
    const value = padding > 0 ? Buffer.concat([text, Buffer.alloc(padding)]) : text;
    if (draw < 0.28 && place.replica?.hasPoison === true) return Buffer.concat([Buffer.of(poisonByte), value]);
    return value;
  }

  #troubles(): AbortController {
    const end = new AbortController();
    const { crash, partition, restart, clock: jumps } = this.#plan.everyMs;
    const loop = async (kind: string, everyMs: number, strike: (rng: SeededRng) => Promise<void>) => {
      if (everyMs === Number.POSITIVE_INFINITY) return;
      const rng = this.#rng.fork(kind);
      const signal = AbortSignal.any([end.signal, this.#over.signal]);
      for (;;) {
        await this.simulation.clock.sleep(rng.float() * 2 * everyMs, { signal });
        this.simulation.trace.record(kind);
        await strike(rng);
      }
    };
    const start = (...args: Parameters<typeof loop>) =>
      void loop(...args).catch((error: unknown) => {
        if (!end.signal.aborted && !this.#over.signal.aborted) this.fail(error);
      });
    start("crash", crash, async (rng) => rng.pick(this.#places).crash());
    start("partition", partition, async (rng) => {
      this.#counts.partitions++;
      const cut = this.#sites.filter(() => rng.float() < 0.5);
      for (const place of cut) place.cutOff(true);
      await this.simulation.clock.sleep(rng.float() * rng.pick([5_000, 180_000]));
      for (const place of cut) place.cutOff(false);
    });
    start("restart", restart, async (rng) => {
      this.#counts.restarts++;
      await this.#restartTopics(rng.float() < 0.5, rng.float() * rng.pick([100, 60_000]));
    });
    start("clock", jumps, async (rng) => {
      this.#counts.jumps++;
      this.simulation.jumpWallClock(rng.pick([-3_600_000, -60_000, 60_000, 3_600_000]));
    });
    return end;
  }

  async #restartTopics(withNotice: boolean, downMs: number): Promise<void> {
    this.#topics?.stop(withNotice);
    if (!withNotice) for (const place of this.#places) place.cutStreams();
    await this.simulation.clock.sleep(downMs);
    await this.#topics?.start();
  }

  #heal(): void {
    this.#isHealed = true;
    this.simulation.trace.record("healed");
    for (const place of this.#places) place.heal();
  }

  /** O6: waits until nothing is under way any more; it must come to that. */
  async #converge(): Promise<void> {
    const { clock } = this.simulation;
    const limitMs = clock.monotonic() + healMs;
    let before = "";
    let quiet = 0;
    while (clock.monotonic() < limitMs) {
      await clock.sleep(2_000, { signal: this.#over.signal });
      const now = await this.#state();
      quiet = now !== undefined && now === before ? quiet + 1 : 0;
      if (quiet === 5) return;
      before = now ?? "";
    }
    const states = await Promise.all(
      this.#places.map(async (place) => ({
        place: place.name,
        watcher: place.watcher?.status(),
        store: place.store && `${place.store.epoch} ${place.store.revision}`,
        site: await Promise.race([place.running?.status(), clock.sleep(1_000)]),
      })),
    );
    const text = JSON.stringify(states, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value), 1);
    throw new OracleError(`O6: no convergence within ${healMs} ms after the last fault: ${text}`);
  }

  /** O6: waits until everything that may go was removed: each site said what it has, and nothing is to be kept any longer. */
  async #prune(): Promise<void> {
    const { sites } = this.#plan;
    if (sites.every(({ retention }) => retention === undefined)) return;
    const keepMs = Math.max(...sites.map(({ retention }) => retention?.keepMs ?? 0));
    const turnMs = Math.max(...sites.flatMap(({ upkeepMs, consumerMs }) => [upkeepMs ?? 0, 2 * (consumerMs ?? 0)]));
    // A clock that was put back is behind what was committed before, for which there are only later times.
    const aheadMs = Math.max(...this.#sites.map(({ reader }) => reader.lastCommitMs())) - this.simulation.clock.now();
    if (aheadMs > 0) this.simulation.jumpWallClock(aheadMs);
    await this.simulation.clock.sleep(keepMs + 4 * turnMs, { signal: this.#over.signal });
    await this.#converge();
    for (const place of this.#sites) place.auditPruning();
  }

  /** Everything that still moves, as a text; undefined while something is known to be missing. */
  async #state(): Promise<string | undefined> {
    const parts: string[] = [];
    for (const place of this.#places) {
      if (!place.isUp || !(await place.isCaughtUp())) return undefined;
      if (place.store !== undefined) parts.push(`${place.store.epoch}/${place.store.revision}`);
    }
    const vectors = new Set<string>();
    for (const { running } of this.#sites) {
      if (running === undefined) return undefined;
      const { published, vector, origin, waiting, behind } = await running.status();
      if (published !== (vector[origin] ?? 0) || waiting.length > 0 || behind.length > 0) return undefined;
      vectors.add(JSON.stringify(Object.entries(vector).sort(([one], [other]) => (one < other ? -1 : 1))));
    }
    return vectors.size <= 1 ? [...vectors, ...parts].join(" ") : undefined;
  }

  async #judge(): Promise<WorldResult> {
    if (this.#error !== undefined) throw this.#error as Error;
    for (const place of this.#places) await place.audit();
    const dumps = new Map(this.#sites.map((place) => [place.name, place.reader.graph()]));
    o1SitesAgree(dumps);
    for (const place of this.#sites) {
      const dump = dumps.get(place.name);
      if (place.store !== undefined && place.site?.hasSink === true && dump !== undefined) {
        o1StoreShows(place.name, dump, place.store);
      }
    }
    for (const { name, reader } of this.#sites) this.archive.look(name, reader, this.simulation.clock.now());
    for (const { name, reader } of this.#sites) this.archive.compare(name, reader);
    o2NothingForgotten(this.#durable(), this.archive);
    for (const [name, dump] of dumps) o2EditedOnce(name, dump);
    for (const place of this.#places) o3Sound(place.name, await place.history.fsck());
    o5PublishedOnce((await this.#topics?.records()) ?? []);
    const heads = [...dumps.values()][0]?.heads ?? [];
    const isDecided = this.#plan.sites.some(({ policy }) => policy !== "keep");
    const open = heads.filter((head) => head.heads.includes(","));
    mustBe(!isDecided || open.length === 0, "O6", () => `conflicts are open: ${JSON.stringify(open)}`);
    return await this.#result(dumps);
  }

  /** Values of which nothing may be lost: what users were told is durable, and what came out of stores. */
  #durable(): Map<string, ReadonlySet<string>> {
    return new Map(
      this.#sites.map((place) => {
        const { replica } = place;
        return [place.name, replica === undefined ? place.durable : new Set(place.reader.valuesOf(replica.name))];
      }),
    );
  }

  async #result(dumps: ReadonlyMap<string, { versions: readonly { isMerge: number; isFork: number }[] }>) {
    const versions = [...dumps.values()][0]?.versions ?? [];
    const sum = (of: (place: Place) => number) => this.#places.reduce((total, place) => total + of(place), 0);
    let [gaps, refused] = [0, 0];
    for (const place of this.#places) {
      gaps += (await place.history.gaps()).length;
      refused += (await place.history.quarantine(undefined, { includeResolved: true })).length;
    }
    return {
      digest: this.simulation.trace.digest(),
      virtualMs: this.simulation.clock.monotonic(),
      places: this.#places.length,
      commits: sum(({ stats }) => stats.commits),
      crashes: sum(({ stats }) => stats.crashes),
      early: sum(({ stats }) => stats.early),
      versions: versions.length,
      conflicts: versions.filter(({ isFork }) => isFork === 1).length,
      merges: versions.filter(({ isMerge }) => isMerge === 1).length,
      gaps,
      refused,
      pruned: sum(({ stats }) => stats.pruned),
      bootstraps: sum(({ stats }) => stats.bootstraps),
      trimmed: this.#topics?.startOffset ?? 0,
      ...this.#counts,
    };
  }
}
