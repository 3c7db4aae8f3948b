import type { SeededRng } from "@tidemark/clock";
import { type Simulation, createSimulation } from "@tidemark/clock/testing";
import {
  type HistoryGraph,
  type OpenStreamOptions,
  parseSortableInteger,
  sortableInteger,
} from "@tidemark/store-watch";
import { createMemoryGraph, guardedGraph, type MemoryGraph } from "@tidemark/store-watch/testing";
import { Level } from "../src/level.ts";
import type { Peer } from "../src/peer.ts";
import type { ConflictPolicy } from "../src/resolution.ts";
import { openSite } from "../src/site.ts";
import type { Site } from "../src/site-types.ts";
import type { SiteOptions, SiteRetention, SiteStore } from "../src/site-options.ts";
import { noFaults, SimTopic } from "./sim-channel.ts";
import { SinkRecord, simSink } from "./sim-sink.ts";
import { SimStore } from "./sim-store.ts";
import { SimTenure } from "./sim-tenure.ts";

// A world of sites in virtual time: everything about it follows from the seed.

// One each: what waits for a promise is kept by it.
const forever = () => new Promise<never>(() => undefined);

class Busy extends Error {
  readonly retryable = true;
}

interface Life {
  isOver: boolean;
  around<T>(call: () => Promise<T>): Promise<T>;
}

const sourceOptions: OpenStreamOptions = {
  name: "store",
  kind: "sim",
  description: "a store",
  scope: "",
  capabilities: {
    resumable: true,
    transactional: true,
    tombstones: true,
    snapshotMarker: true,
    tooOldSignal: true,
    ordered: true,
    versioned: true,
  },
};

interface Written {
  readonly origin: string;
  readonly values: readonly (string | undefined)[];
}

interface Place {
  readonly name: string;
  readonly memory: MemoryGraph;
  readonly policy: ConflictPolicy;
  /** Users edit here and not in the graph. */
  readonly store: SimStore | undefined;
  /** What was written there from the graph. */
  readonly record: SinkRecord;
  /** The first site of a world keeps everything. */
  readonly retention: SiteRetention | undefined;
  readonly upkeepMs: number;
  /** Longest time until a watch sees a store that it has never seen. */
  readonly firstLookMs: number;
  site: Site | undefined;
  /** What its user was told is durable. */
  readonly written: Written[];
  crashes: number;
  next: number;
}

export interface WorldReport {
  readonly sites: number;
  readonly edits: number;
  readonly crashes: number;
  readonly conflicts: number;
  readonly versions: number;
  readonly links: number;
  readonly merges: number;
  readonly open: number;
  readonly stores: number;
  readonly missed: number;
  readonly trims: number;
  readonly caughtUp: number;
  readonly pruned: number;
  readonly tooLate: number;
  readonly bootstraps: number;
  readonly heldBack: number;
  readonly lostAnswers: number;
  readonly hastyDeletions: number;
  readonly takeovers: number;
  readonly resumed: number;
  readonly virtualMs: number;
}

export class World {
  readonly #simulation: Simulation;
  readonly #topic: SimTopic;
  readonly #places: Place[];
  readonly #keys: readonly string[];
  /** What a store no longer had when its watch came to it. */
  readonly #missed = new Set<string>();
  readonly #end = new AbortController();
  readonly #hasPeers: boolean;
  readonly #maxWrites: number;
  #trims = 0;
  #caughtUp = 0;
  #pruned = 0;
  #tooLate = 0;
  #bootstraps = 0;
  #heldBack = 0;
  #takeovers = 0;
  #resumed = 0;
  /** Longest time between two takeovers of a site's writing; 0: there are none. */
  #takeoverMs: number;
  #crashChance: number;
  #busyChance: number;
  /** Apart from the rest, so that worlds without lost answers are what they were before. */
  readonly #luck: SeededRng;
  #lostChance: number;
  #deleteChance: number;

  constructor(seed: number, options: { readonly lost?: number; readonly deleted?: number } = {}) {
    this.#simulation = createSimulation({ seed });
    const { clock, rng } = this.#simulation;
    this.#topic = new SimTopic(clock, this.#simulation.rng.fork("topic"), {
      delayMs: rng.pick([1, 50, 2000]),
      duplicate: rng.pick([0, 0.1, 0.5]),
      fail: rng.pick([0, 0.05, 0.2]),
      isShuffled: rng.float() < 0.6,
    });
    this.#crashChance = rng.pick([0, 0.05, 0.2]);
    this.#busyChance = rng.pick([0, 0.05, 0.2]);
    this.#luck = rng.fork("luck");
    this.#lostChance = options.lost ?? this.#luck.pick([0, 0, 0.1, 0.4]);
    this.#deleteChance = options.deleted ?? this.#luck.pick([0, 0, 0.3, 0.7]);
    this.#takeoverMs = this.#simulation.rng.fork("takeovers").pick([0, 500, 3000]);
    this.#keys = Array.from({ length: 1 + rng.int(0, 5) }, (_, index) => `k${index}`);
    const count = 2 + rng.int(0, 3);
    this.#hasPeers = rng.float() < 0.4;
    const stores = rng.pick([0, 0.5, 1]);
    this.#maxWrites = rng.pick([0, 3, 128]);
    const common = rng.float() < 0.5 ? this.#policy() : undefined;
    // Some sites prune, and wait for the others for long or for less than a partition takes.
    const prune = rng.float() < 0.5;
    const holdMs = this.#hasPeers ? rng.pick([1e9, 800]) : 1e9;
    this.#places = Array.from({ length: count }, (_, index): Place => {
      const name = `site-${index}`;
      return {
        name,
        memory: createMemoryGraph({ name: "group", origin: name, clock }),
        policy: common ?? this.#policy(),
        store: rng.float() < stores ? new SimStore() : undefined,
        record: new SinkRecord(),
        retention: prune && index > 0 ? { keepMs: rng.pick([0, 500]), holdMs } : undefined,
        upkeepMs: rng.pick([200, 1000]),
        firstLookMs: rng.fork(`first look of ${name}`).pick([0, 0, 300]),
        site: undefined,
        written: [],
        crashes: 0,
        next: 0,
      };
    });
  }

  run(): Promise<WorldReport> {
    return this.#simulation.run(async () => {
      const { clock, rng } = this.#simulation;
      for (const [index, place] of this.#places.entries()) {
        // The last one may come when much has happened, if it can ask somebody for that.
        const isLate = this.#hasPeers && index === this.#places.length - 1 && rng.float() < 0.4;
        if (isLate) clock.setTimer(1000 + rng.float() * 4000, () => this.#start(place));
        else this.#start(place);
      }
      await Promise.all([...this.#places.map((place) => this.#edit(place)), this.#partition()]);
      this.#heal();
      await this.#converge();
      const report = this.#check();
      this.#end.abort();
      for (const place of this.#places) {
        await place.site?.close();
        place.memory.close();
      }
      return report;
    });
  }

  #policy(): ConflictPolicy {
    const { rng } = this.#simulation;
    const kind = rng.int(0, 5);
    if (kind < 2) return "last-writer";
    if (kind === 2) return "keep";
    const isRandom = kind === 3;
    return async (group) => {
      if (isRandom) await this.#simulation.clock.sleep(rng.float() * 20);
      return {
        values: group.keys
          .filter(({ heads }) => heads.length > 1)
          .map(({ key, heads }) => {
            const texts = heads.map(({ value }) => (value === undefined ? "-" : Buffer.from(value).toString())).sort();
            // Sites that decide differently, or all of them the same.
            return {
              key,
              value: isRandom && rng.float() < 0.2 ? undefined : Buffer.from(texts.join("+").slice(0, 99)),
            };
          }),
      };
    };
  }

  #start(place: Place): void {
    const { clock, rng } = this.#simulation;
    const life = this.#life(place);
    const open = () => this.#faulty(life, place.memory.open());
    const tenure = this.#takeoverMs > 0 ? new SimTenure(open, (message) => new Busy(message)) : undefined;
    const graph = tenure?.graph() ?? open();
    const options: Omit<SiteOptions, "graph"> = {
      store: place.store && this.#watched(place, place.store, life),
      channel: this.#topic.channel(place.name),
      policy: place.policy,
      peers: this.#hasPeers ? this.#peersOf(place, life) : [],
      catchUpAfterMs: 1000,
      retention: place.retention,
      upkeepMs: place.upkeepMs,
      initialDelayMs: 20,
      maxDelayMs: 500,
      clock,
      rng,
    };
    const site = openSite({ ...options, graph });
    place.site = site;
    if (tenure !== undefined) void this.#takeOver(life, tenure, options);
    site.onEvent((event) => {
      if (event.type === "resumed") this.#resumed++;
      if (event.type === "pruned") this.#pruned += event.versions;
      if (event.type === "pruned") this.#heldBack += event.heldBy.length;
      if (event.type === "too-late") this.#tooLate++;
      if (event.type === "bootstrapped") this.#bootstraps++;
    });
    site.closed.catch((error: unknown) => {
      if (place.site === site) throw error;
    });
  }

  /** Now and then another process goes on as the site, from the same database, and ends. */
  async #takeOver(life: Life, tenure: SimTenure, options: Omit<SiteOptions, "graph">): Promise<void> {
    const { clock } = this.#simulation;
    const luck = this.#simulation.rng.fork("takeovers");
    for (;;) {
      await clock.sleep(luck.float() * this.#takeoverMs);
      if (life.isOver || this.#takeoverMs === 0) return;
      this.#takeovers++;
      const other = openSite({ ...options, graph: tenure.take() });
      other.closed.catch((error: unknown) => {
        if (!life.isOver) throw error;
      });
      await clock.sleep(luck.float() * 1000);
      const closing = other.close();
      // With a process that dies it never settles.
      if (life.isOver) return;
      await closing;
      tenure.giveBack();
      // It comes back before it is taken over again, or never does.
      while (tenure.isLost && !life.isOver) await clock.sleep(50);
    }
  }

  #peersOf(place: Place, life: Life): Peer[] {
    return this.#places
      .filter((other) => other !== place)
      .map((other) => {
        const ask = async <T>(signal: AbortSignal, call: (site: Site) => Promise<T>): Promise<T> => {
          await this.#topic.between(place.name, other.name, signal);
          if (life.isOver) return forever();
          if (other.site === undefined) throw new Error(`${other.name} is down`);
          // It may die while it is asked.
          const silence = this.#simulation.clock.sleep(5000, { signal }).then(() => {
            throw new Error("no answer");
          });
          return Promise.race([call(other.site), silence]);
        };
        return {
          name: other.name,
          missing: (vector, signal) => ask(signal, (site) => site.missing(vector)),
          snapshot: (after, signal) => ask(signal, (site) => site.snapshot(after)),
        };
      });
  }

  /** One life of a process: every call in it may be the last. */
  #life(place: Place): Life {
    const { rng } = this.#simulation;
    const life: Life = {
      isOver: false,
      around: async (call) => {
        if (life.isOver) return forever();
        if (rng.float() < this.#busyChance) throw new Busy("before the commit");
        const dies = rng.float() < this.#crashChance;
        const isBefore = rng.float() < 0.5;
        const die = () => {
          if (!life.isOver) {
            life.isOver = true;
            this.#crash(place);
          }
          return forever();
        };
        if (dies && isBefore) return die();
        const result = await call();
        if (life.isOver) return forever();
        if (dies) return die();
        // Nobody knows whether it was committed.
        if (rng.float() < this.#busyChance / 2) throw new Busy("after the commit");
        return result;
      },
    };
    return life;
  }

  /** The store as the site sees it: followed by a watcher that dies with the site, and written to. */
  #watched(place: Place, store: SimStore, life: Life): SiteStore {
    const { clock, rng } = this.#simulation;
    const committed = new Level();
    const watch = async () => {
      let cursor = place.memory.append(sourceOptions, [])?.cursor;
      // As real ones do, a watch without a cursor begins with all that is there, also where that is nothing. Now and then the
      // store has forgotten what came after the cursor.
      let isSnapshot = cursor === undefined || rng.float() < 0.3;
      while (!life.isOver) {
        const seen = store.grown.count;
        const after = cursor === undefined ? 0n : parseSortableInteger(cursor);
        if (cursor === undefined || store.revision > after) {
          await clock.sleep(rng.float() * (cursor === undefined ? place.firstLookMs : 300));
          if (life.isOver) return;
          const { frames, missed } = isSnapshot ? store.snapshot(after) : { frames: store.frames(after), missed: [] };
          isSnapshot = false;
          const commits = [...frames.keys()].filter((index) => frames[index]?.type === "commit");
          // Any number of transactions at once.
          const end = commits.length === 0 ? frames.length : (rng.pick(commits) as number) + 1;
          const batch = frames.slice(0, end);
          cursor = place.memory.append(sourceOptions, batch)?.cursor;
          for (const value of missed) this.#missed.add(value);
          if (batch.some(({ type }) => type === "snapshot-end")) place.record.jumped(after, store.revision);
          // As with a history: who follows is told of versions, and not of a cursor that moves alone.
          if (batch.some(({ type }) => type === "change")) committed.raise();
        } else await store.grown.after(seen, this.#end.signal);
      }
    };
    watch().catch((error: unknown) => {
      if (!this.#end.signal.aborted) throw error;
    });
    const refusing = this.#busyChance / 2;
    const sink = simSink(place.record, {
      store,
      clock,
      rng,
      luck: this.#luck,
      maxWrites: this.#maxWrites,
      lost: () => this.#lostChance,
      deleted: () => this.#deleteChance,
      around: (call) =>
        life.around(async () => {
          // Not an error that says it may pass: the rest of the site goes on.
          if (this.#busyChance > 0 && rng.float() < refusing) throw new Error("no room");
          return call();
        }),
      busy: (message) => new Busy(message),
    });
    return {
      stream: sourceOptions.name,
      sink,
      history: {
        position: async () => BigInt(committed.count),
        async *follow(after, { signal } = {}) {
          for (let seen = Number(after); ; seen = committed.count) {
            await committed.after(seen, signal as AbortSignal);
            yield [];
          }
        },
      },
    };
  }

  /** The process dies at the edge of a transaction: nothing of it runs on, its database stays. */
  #faulty(life: Life, graph: HistoryGraph): HistoryGraph {
    const { around } = life;
    const alive = <T>(call: () => Promise<T>) => (life.isOver ? forever() : call());
    return guardedGraph(graph, { change: around, read: alive });
  }

  #crash(place: Place): void {
    const { clock, rng } = this.#simulation;
    const old = place.site;
    place.site = undefined;
    place.crashes++;
    // Its network connections end with it. It never settles: its database calls hang.
    void old?.close();
    clock.setTimer(rng.float() * 1000, () => this.#start(place));
  }

  async #edit(place: Place): Promise<void> {
    const { clock, rng } = this.#simulation;
    const edits = 2 + rng.int(0, 8);
    for (let done = 0; done < edits; ) {
      await clock.sleep(rng.float() * 500);
      const { site, store } = place;
      if (site === undefined && store === undefined) continue;
      done++;
      const keys = this.#keys.filter(() => rng.float() < 0.5).slice(0, 3);
      const values = keys.map(() => (rng.float() < 0.25 ? undefined : `${place.name}:${++place.next}`));
      if (store !== undefined) {
        store.transact(keys.map((key, index) => ({ key, value: values[index] })));
        place.written.push({ origin: place.name, values });
        continue;
      }
      if (site === undefined) continue;
      const written = await Promise.race([
        site
          .write(keys.map((key, index) => ({ key: Buffer.from(key), value: bytesOf(values[index]) })))
          .catch((error: unknown) => {
            if (error instanceof Busy) return undefined;
            throw error;
          }),
        // Whoever waits for a dead process gives up.
        clock.sleep(2000).then(() => undefined),
      ]);
      if (written !== undefined && written.versions > 0) {
        place.written.push({ origin: place.name, values });
      }
    }
  }

  async #partition(): Promise<void> {
    const { clock, rng } = this.#simulation;
    for (let round = rng.int(0, 4); round > 0; round--) {
      await clock.sleep(rng.float() * 1500);
      const cut = this.#places.filter(() => rng.float() < 0.4);
      for (const { name } of cut) this.#topic.setCut(name, true);
      await clock.sleep(rng.float() * 3000);
      if (this.#hasPeers && rng.float() < 0.7) {
        this.#topic.trim(rng.int(0, this.#topic.entries.length + 1));
        this.#trims++;
      }
      for (const { name } of cut) this.#topic.setCut(name, false);
    }
  }

  #heal(): void {
    this.#crashChance = 0;
    this.#busyChance = 0;
    this.#lostChance = 0;
    this.#deleteChance = 0;
    this.#takeoverMs = 0;
    this.#topic.faults = noFaults;
  }

  /** Waits until nothing is under way any more; it must come to that. */
  async #converge(): Promise<void> {
    const { clock } = this.#simulation;
    let before = "";
    let quiet = 0;
    for (let round = 0; round < 600; round++) {
      await clock.sleep(1000);
      if (this.#places.some(({ site }) => site === undefined)) continue;
      const statuses = await Promise.all(this.#places.map(({ site }) => (site as Site).status()));
      const isSent = statuses.every(({ published, vector, origin }) => published === (vector[origin] ?? 0));
      const isCaughtUp = this.#places.every(({ memory, store }) => {
        return store === undefined || memory.append(sourceOptions, [])?.cursor === sortableInteger(store.revision);
      });
      const stores = this.#places.map(({ store }) => String(store?.revision)).join();
      this.#caughtUp = statuses.reduce((sum, { counters }) => sum + counters.caughtUp, 0);
      const isEmpty = statuses.every(({ waiting, behind }) => waiting.length === 0 && behind.length === 0);
      const vectors = statuses.map(({ vector }) =>
        JSON.stringify(Object.entries(vector).sort(([one], [other]) => (one < other ? -1 : 1))),
      );
      const now = `${vectors[0]} ${stores}`;
      const isCalm =
        isCaughtUp && isSent && isEmpty && vectors.every((vector) => vector === vectors[0]) && now === before;
      quiet = isCalm ? quiet + 1 : 0;
      // Longer than a site takes to look again at a store that tells it nothing.
      if (quiet > 12) return;
      before = now;
    }
    const statuses = await Promise.all(this.#places.map(async ({ site }) => site?.status()));
    throw new Error(`no convergence: ${JSON.stringify(statuses, undefined, 1)}`);
  }

  /** What was written from the graph was never taken for an edit of a user: every edit has a value of its own. */
  #checkEdits(name: string, memory: MemoryGraph): void {
    const edits = memory.query(
      `SELECT CAST(v.value AS TEXT) AS value, count(*) AS times FROM versions v JOIN origins n ON n.id = v.origin
         JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream
       WHERE s.kind = 'graph' AND n.name = '${name}' AND v.via = 1 AND v.value IS NOT NULL GROUP BY v.value`,
    ) as { readonly value: string; readonly times: number }[];
    const wrong = edits.filter(
      ({ value, times }) => times > 1 || !/^[^+]*$/.test(value) || !value.startsWith(`${name}:`),
    );
    if (wrong.length > 0) throw new Error(`nobody edited this in the store of ${name}: ${JSON.stringify(wrong)}`);
  }

  #check(): WorldReport {
    const dumps = this.#places.map(({ memory }) => dump(memory));
    // The most complete one says what the others can have.
    const first = dumps.find(({ isWhole }) => isWhole) ?? (dumps[0] as Dump);
    for (const [index, other] of dumps.entries()) {
      const { name, memory } = this.#places[index] as Place;
      const { findings } = memory.fsck();
      if (findings.length > 0) throw new Error(`${name} is not sound: ${JSON.stringify(findings)}`);
      const isWhole = first.isWhole && other.isWhole;
      for (const part of isWhole ? (["versions", "edges", "heads"] as const) : (["heads"] as const)) {
        if (JSON.stringify(first[part]) === JSON.stringify(other[part])) continue;
        throw new Error(`${part} of ${name} differ:\n${JSON.stringify(first[part])}\n${JSON.stringify(other[part])}`);
      }
      // Where something was pruned, what is left is what it was.
      const known = new Map(first.versions.map(({ id, value, version }) => [id, `${value} at ${version}`]));
      for (const { id, value, version } of other.versions) {
        const expected = known.get(id) ?? (first.isWhole ? "nothing" : undefined);
        if (expected === undefined || expected === `${value} at ${version}`) continue;
        throw new Error(`version ${id} of ${name} is ${value} at ${version}, elsewhere it is ${expected}`);
      }
      if (!other.isWhole) continue;
      const values = new Set(other.versions.map(({ value }) => value));
      for (const { written } of this.#places) {
        for (const write of written) {
          const lost = write.values.find(
            (value) => value !== undefined && !values.has(value) && !this.#missed.has(value),
          );
          if (lost !== undefined)
            throw new Error(
              `${name} never got ${lost}, which was durable at ${write.origin}: ` +
                JSON.stringify(
                  (this.#places.find((place) => place.name === write.origin) as Place).memory.query(
                    `SELECT v.pos, s.kind, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version, v.parent, v.batch, v.via
                   FROM versions v JOIN objects o ON o.id = v.object JOIN streams s ON s.id = o.stream WHERE o.key =
                     (SELECT o.key FROM versions v JOIN objects o ON o.id = v.object WHERE CAST(v.value AS TEXT) = '${lost}') ORDER BY v.pos`,
                  ),
                ).replaceAll("},", "},\n"),
            );
        }
      }
    }
    for (const { name, memory, store, record } of this.#places) {
      if (store === undefined) continue;
      record.check(name, store);
      this.#checkEdits(name, memory);
      const shown = memory.query(
        `SELECT CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value FROM objects o JOIN streams s ON s.id = o.stream
         JOIN versions v ON v.pos = o.head WHERE s.kind = 'graph' AND v.value IS NOT NULL ORDER BY o.key`,
      );
      const has = [...store.values]
        .map(([key, { value }]) => ({ key, value }))
        .sort((a, b) => (a.key < b.key ? -1 : 1));
      if (JSON.stringify(shown) === JSON.stringify(has)) continue;
      throw new Error(
        `the store of ${name} has ${JSON.stringify(has)}, its graph shows ${JSON.stringify(shown)}; mirrors: ` +
          JSON.stringify(
            memory.query(
              `SELECT CAST(o.key AS TEXT) AS key, o.head, m.*, (SELECT CAST(v.value AS TEXT) FROM versions v WHERE v.pos = m.shown) AS value,
                 (SELECT group_concat(version) FROM intents i WHERE i.object = o.id) AS intents,
                 (SELECT count(*) FROM dirty d WHERE d.object = o.id) AS dirty
               FROM objects o LEFT JOIN mirrors m ON m.object = o.id JOIN streams s ON s.id = o.stream WHERE s.kind = 'graph'`,
            ),
          ) +
          JSON.stringify([...store.values], (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
      );
    }
    const isDecided = this.#places.some(({ policy }) => policy !== "keep");
    const open = first.heads.filter((head) => head.heads.includes(",")).length;
    if (isDecided && open > 0) throw new Error(`${open} conflicts are open: ${JSON.stringify(first.heads)}`);
    return {
      sites: this.#places.length,
      edits: this.#places.reduce((sum, { written }) => sum + written.length, 0),
      crashes: this.#places.reduce((sum, { crashes }) => sum + crashes, 0),
      conflicts: first.versions.filter(({ isFork }) => isFork === 1).length,
      versions: first.versions.length,
      links: first.edges.length,
      merges: first.versions.filter(({ isMerge }) => isMerge === 1).length,
      open,
      stores: this.#places.filter(({ store }) => store !== undefined).length,
      missed: this.#missed.size,
      trims: this.#trims,
      caughtUp: this.#caughtUp,
      pruned: this.#pruned,
      tooLate: this.#tooLate,
      bootstraps: this.#bootstraps,
      heldBack: this.#heldBack,
      lostAnswers: this.#places.reduce((sum, { record }) => sum + record.lost, 0),
      hastyDeletions: this.#places.reduce((sum, { record }) => sum + record.deleted, 0),
      takeovers: this.#takeovers,
      resumed: this.#resumed,
      virtualMs: this.#simulation.clock.monotonic(),
    };
  }
}

interface Dump {
  /** Nothing was pruned, neither here nor before it came here. */
  readonly isWhole: boolean;
  readonly versions: readonly {
    readonly id: string;
    readonly value: string | null;
    readonly version: string;
    readonly isMerge: number;
    readonly isFork: number;
  }[];
  readonly edges: readonly unknown[];
  readonly heads: readonly { readonly key: string; readonly heads: string }[];
}

/** The graph without anything that belongs to one database: positions, row ids, times of commits. */
function dump(memory: MemoryGraph): Dump {
  const id = "(SELECT o.name || ':' || w.gen FROM versions w JOIN origins o ON o.id = w.origin WHERE w.pos = ";
  return {
    isWhole: memory.query("SELECT origin FROM horizons").length === 0,
    versions: memory.query(
      `SELECT n.name || ':' || v.gen AS id, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version, v.level,
         v.via = 6 AS isMerge, ${id} v.parent) AS parent,
         (SELECT group_concat(p) FROM (SELECT ${id} e.parent) AS p FROM edges e WHERE e.child = v.pos ORDER BY p)) AS further,
         (SELECT count(*) > 1 FROM versions c WHERE c.parent = v.pos) AS isFork
       FROM versions v JOIN objects o ON o.id = v.object JOIN origins n ON n.id = v.origin
       WHERE v.origin <> 1 ORDER BY n.name, v.gen`,
    ) as Dump["versions"],
    edges: memory.query(
      `SELECT n.name || ':' || l.gen AS id, ${id} l.child) AS child, ${id} l.parent) AS parent
       FROM links l JOIN origins n ON n.id = l.origin ORDER BY n.name, l.gen`,
    ),
    heads: memory.query(
      `SELECT CAST(o.key AS TEXT) AS key, ${id} o.head) || coalesce(',' || (SELECT group_concat(h) FROM
         (SELECT ${id} c.head) AS h FROM conflicts c WHERE c.object = o.id ORDER BY h)), '') AS heads
       FROM objects o JOIN streams s ON s.id = o.stream WHERE s.kind = 'graph' ORDER BY o.key`,
    ) as Dump["heads"],
  };
}

function bytesOf(value: string | undefined): Uint8Array | undefined {
  return value === undefined ? undefined : Buffer.from(value);
}
