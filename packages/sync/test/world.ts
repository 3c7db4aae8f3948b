import { type Simulation, createSimulation } from "@tidemark/clock/testing";
import type { HistoryGraph } from "@tidemark/store-watch";
import { createMemoryGraph, type MemoryGraph } from "@tidemark/store-watch/testing";
import type { ConflictPolicy } from "../src/resolution.ts";
import { openSite, type Site } from "../src/site.ts";
import { noFaults, SimTopic } from "./sim-channel.ts";

// A world of sites in virtual time: everything about it follows from the seed.

const forever = new Promise<never>(() => undefined);

class Busy extends Error {
  readonly retryable = true;
}

interface Written {
  readonly origin: string;
  readonly generation: number;
  readonly values: readonly (string | undefined)[];
}

interface Place {
  readonly name: string;
  readonly memory: MemoryGraph;
  readonly policy: ConflictPolicy;
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
  readonly virtualMs: number;
}

export class World {
  readonly #simulation: Simulation;
  readonly #topic: SimTopic;
  readonly #places: Place[];
  readonly #keys: readonly string[];
  #crashChance: number;
  #busyChance: number;

  constructor(seed: number) {
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
    this.#keys = Array.from({ length: 1 + rng.int(0, 5) }, (_, index) => `k${index}`);
    const count = 2 + rng.int(0, 3);
    const common = rng.float() < 0.5 ? this.#policy() : undefined;
    this.#places = Array.from({ length: count }, (_, index): Place => {
      const name = `site-${index}`;
      return {
        name,
        memory: createMemoryGraph({ name: "group", origin: name, clock }),
        policy: common ?? this.#policy(),
        site: undefined,
        written: [],
        crashes: 0,
        next: 0,
      };
    });
  }

  run(): Promise<WorldReport> {
    return this.#simulation.run(async () => {
      for (const place of this.#places) this.#start(place);
      await Promise.all([...this.#places.map((place) => this.#edit(place)), this.#partition()]);
      this.#heal();
      await this.#converge();
      const report = this.#check();
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
    const graph = this.#faulty(place, place.memory.open());
    const site = openSite({
      graph,
      channel: this.#topic.channel(place.name),
      policy: place.policy,
      initialDelayMs: 20,
      maxDelayMs: 500,
      clock,
      rng,
    });
    place.site = site;
    site.closed.catch((error: unknown) => {
      if (place.site === site) throw error;
    });
  }

  /** The process dies at the edge of a transaction: nothing of it runs on, its database stays. */
  #faulty(place: Place, graph: HistoryGraph): HistoryGraph {
    const { rng } = this.#simulation;
    let isDead = false;
    const around = async <T>(call: () => Promise<T>): Promise<T> => {
      if (isDead) return forever;
      if (rng.float() < this.#busyChance) throw new Busy("before the commit");
      const dies = rng.float() < this.#crashChance;
      const isBefore = rng.float() < 0.5;
      const die = () => {
        isDead = true;
        this.#crash(place);
        return forever;
      };
      if (dies && isBefore) return die();
      const result = await call();
      if (dies) return die();
      // Nobody knows whether it was committed.
      if (rng.float() < this.#busyChance / 2) throw new Busy("after the commit");
      return result;
    };
    const alive = <T>(call: () => Promise<T>) => (isDead ? forever : call());
    return {
      name: graph.name,
      origin: graph.origin,
      write: (edits) => around(() => graph.write(edits)),
      apply: (messages) => around(() => graph.apply(messages)),
      batches: (after, options) => alive(() => graph.batches(after, options)),
      heads: (key) => alive(() => graph.heads(key)),
      conflictGroup: (after) => alive(() => graph.conflictGroup(after)),
      status: () => alive(() => graph.status()),
    };
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
      const { site } = place;
      if (site === undefined) continue;
      done++;
      const keys = this.#keys.filter(() => rng.float() < 0.5).slice(0, 3);
      const values = keys.map(() => (rng.float() < 0.25 ? undefined : `${place.name}:${++place.next}`));
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
        place.written.push({ origin: place.name, generation: written.generation, values });
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
      for (const { name } of cut) this.#topic.setCut(name, false);
    }
  }

  #heal(): void {
    this.#crashChance = 0;
    this.#busyChance = 0;
    this.#topic.faults = noFaults;
  }

  /** Waits until nothing is under way any more; it must come to that. */
  async #converge(): Promise<void> {
    const { clock } = this.#simulation;
    let before = "";
    for (let round = 0; round < 600; round++) {
      await clock.sleep(1000);
      if (this.#places.some(({ site }) => site === undefined)) continue;
      const statuses = await Promise.all(this.#places.map(({ site }) => (site as Site).status()));
      const isSent = statuses.every(({ published, vector, origin }) => published === (vector[origin] ?? 0));
      const isEmpty = statuses.every(({ waiting }) => waiting.length === 0);
      const vectors = statuses.map(({ vector }) =>
        JSON.stringify(Object.entries(vector).sort(([one], [other]) => (one < other ? -1 : 1))),
      );
      const now = vectors[0] as string;
      if (isSent && isEmpty && vectors.every((vector) => vector === now) && now === before) return;
      before = now;
    }
    const statuses = await Promise.all(this.#places.map(async ({ site }) => site?.status()));
    throw new Error(`no convergence: ${JSON.stringify(statuses, undefined, 1)}`);
  }

  #check(): WorldReport {
    const dumps = this.#places.map(({ memory }) => dump(memory));
    const [first] = dumps as [Dump];
    for (const [index, other] of dumps.entries()) {
      const { name, memory } = this.#places[index] as Place;
      const { findings } = memory.fsck();
      if (findings.length > 0) throw new Error(`${name} is not sound: ${JSON.stringify(findings)}`);
      for (const part of ["versions", "edges", "heads"] as const) {
        if (JSON.stringify(first[part]) === JSON.stringify(other[part])) continue;
        throw new Error(`${part} of ${name} differ:\n${JSON.stringify(first[part])}\n${JSON.stringify(other[part])}`);
      }
      const values = new Set(other.versions.map(({ value }) => value));
      for (const { written } of this.#places) {
        for (const write of written) {
          const lost = write.values.find((value) => value !== undefined && !values.has(value));
          if (lost !== undefined) throw new Error(`${name} never got ${lost}, which was durable at ${write.origin}`);
        }
      }
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
      virtualMs: this.#simulation.clock.monotonic(),
    };
  }
}

interface Dump {
  readonly versions: readonly {
    readonly id: string;
    readonly value: string | null;
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
    versions: memory.query(
      `SELECT n.name || ':' || v.gen AS id, CAST(o.key AS TEXT) AS key, CAST(v.value AS TEXT) AS value, v.version, v.level,
         v.via = 6 AS isMerge, ${id} v.parent) AS parent,
         (SELECT group_concat(p) FROM (SELECT ${id} e.parent) AS p FROM edges e WHERE e.child = v.pos ORDER BY p)) AS further,
         (SELECT count(*) > 1 FROM versions c WHERE c.parent = v.pos) AS isFork
       FROM versions v JOIN objects o ON o.id = v.object JOIN origins n ON n.id = v.origin ORDER BY n.name, v.gen`,
    ) as Dump["versions"],
    edges: memory.query(
      `SELECT n.name || ':' || l.gen AS id, ${id} l.child) AS child, ${id} l.parent) AS parent
       FROM links l JOIN origins n ON n.id = l.origin ORDER BY n.name, l.gen`,
    ),
    heads: memory.query(
      `SELECT CAST(o.key AS TEXT) AS key, ${id} o.head) || coalesce(',' || (SELECT group_concat(h) FROM
         (SELECT ${id} c.head) AS h FROM conflicts c WHERE c.object = o.id ORDER BY h)), '') AS heads
       FROM objects o ORDER BY o.key`,
    ) as Dump["heads"],
  };
}

function bytesOf(value: string | undefined): Uint8Array | undefined {
  return value === undefined ? undefined : Buffer.from(value);
}
