import { type Clock, type SeededRng, seededRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect } from "vitest";
import { StoreWatchError } from "../../src/errors.ts";
import type { GraphEdit, HistoryGraph, VersionId } from "../../src/history/graph-types.ts";
import type { Backend, OpenedGraph } from "./compliance/backend.ts";

// Sites that prune at any time beside one that never does, with late, repeated and lost deliveries. Whatever a site has
// pruned or never got: its heads are those of the site that has everything.

const isLong = process.env["TIDEMARK_LONG"] === "1";
const from = Number(process.env["TIDEMARK_FROM"] ?? 0);
/** Among so many everything happens that a world can be about. */
const many = 50;
const forever = 1e9;

interface Site {
  readonly opened: OpenedGraph;
  graph: HistoryGraph;
  readonly prunes: boolean;
  published: number;
  offset: number;
  /** Versions that it showed at some time: what its store may still show. */
  readonly seen: Map<string, VersionId>;
}

type Report = Record<"versions" | "removed" | "late" | "snapshots" | "held" | "unknownPast" | "lost", number>;

class World {
  readonly #backend: Backend;
  readonly #rng: SeededRng;
  readonly #clock: Clock;
  #nowMs = 1_000_000;
  readonly #sites: Site[] = [];
  readonly #topic: Uint8Array[] = [];
  /** What the topic has lost. */
  #gone = 0;
  readonly #written: string[] = [];
  /** How long a site is waited for. */
  readonly #holdMs: number;
  /** A site pruned when it had not heard of another yet: nobody can be waited for who has said nothing. */
  #isAnyUnheard = false;
  readonly report: Report = { versions: 0, removed: 0, late: 0, snapshots: 0, held: 0, unknownPast: 0, lost: 0 };

  constructor(backend: Backend, seed: number) {
    this.#backend = backend;
    this.#rng = seededRng(seed);
    const { clock } = createSimulation({ seed });
    this.#clock = {
      now: () => this.#nowMs,
      monotonic: () => clock.monotonic(),
      sleep: (...wait) => clock.sleep(...wait),
      setTimer: (...timer) => clock.setTimer(...timer),
      setImmediate: (callback) => clock.setImmediate(callback),
    };
    this.#holdMs = this.#rng.pick([forever, forever, 0, 300]);
  }

  async run(): Promise<Report> {
    const count = 2 + this.#rng.int(0, 2);
    await this.#join("archive", false);
    for (let index = 0; index < count; index++) await this.#join(`site-${index}`, true);
    for (let step = 40 + this.#rng.int(0, 80); step > 0; step--) await this.#step();
    await this.#heal();
    await this.#check();
    for (const { opened } of this.#sites) await opened.close();
    return this.report;
  }

  async #join(name: string, prunes: boolean): Promise<void> {
    const opened = await this.#backend.openedGraph({ name: "g", origin: name, clock: this.#clock });
    this.#sites.push({ opened, graph: opened.graph, prunes, published: 0, offset: 0, seen: new Map() });
  }

  async #step(): Promise<void> {
    const rng = this.#rng;
    this.#nowMs += rng.int(0, 100);
    const site = rng.pick(this.#sites);
    const kind = rng.float();
    if (kind < 0.3) await this.#write(site);
    else if (kind < 0.35) await this.#publish(site);
    else if (kind < 0.7) await this.#deliver(site, 1 + rng.int(0, 12));
    else if (kind < 0.78) await site.graph.announce();
    else if (kind < 0.9) await this.#prune(site, rng.float() < 0.3);
    else if (kind < 0.93) await this.#link(site);
    else if (kind < 0.95) this.#gone = Math.max(this.#gone, rng.int(0, this.#topic.length + 1));
    else if (kind < 0.97) site.graph = await site.opened.reopen();
    else if (kind < 0.98 && this.#sites.length < 6) await this.#join(`late-${this.#sites.length}`, rng.float() < 0.7);
    else await this.#catchUp(site, rng.pick(this.#sites));
  }

  async #write(site: Site): Promise<void> {
    const rng = this.#rng;
    const keys = ["x", "y", "z"].filter(() => rng.float() < 0.5);
    const edits: GraphEdit[] = [];
    for (const key of keys) {
      const value = rng.float() < 0.2 ? undefined : `${this.#written.length + edits.length}`;
      const shown = site.seen.get(key);
      // A store that did not show the latest yet.
      const isStale = shown !== undefined && rng.float() < 0.2;
      edits.push({
        type: "version",
        key: Buffer.from(key),
        value: value === undefined ? undefined : Buffer.from(value),
        ...(isStale && { parents: [shown] }),
      });
    }
    const { versions } = await site.graph.write(edits);
    if (versions > 0)
      for (const { value } of edits as { value?: Buffer }[]) if (value) this.#written.push(String(value));
    await this.#look(site);
  }

  async #look(site: Site): Promise<void> {
    for (const key of ["x", "y", "z"]) {
      const [head] = await site.graph.heads(Buffer.from(key));
      if (head !== undefined && this.#rng.float() < 0.5) site.seen.set(key, head.id);
    }
  }

  async #link(site: Site): Promise<void> {
    const group = await site.graph.conflictGroup(0);
    for (const { key, heads, isPastPruned } of group?.keys ?? []) {
      if (isPastPruned) this.report.unknownPast++;
      const [child, parent] = heads;
      if (child === undefined || parent === undefined) continue;
      await site.graph.write([{ type: "link", key, child: child.id, parent: parent.id }]);
    }
  }

  async #publish(site: Site): Promise<void> {
    for (const { generation, data } of await site.graph.batches(site.published)) {
      this.#topic.push(data.slice());
      site.published = generation;
    }
  }

  async #deliver(site: Site, count: number): Promise<void> {
    const at = this.#rng.float() < 0.2 ? this.#rng.int(0, site.offset + 1) : site.offset;
    const begin = Math.max(at, this.#gone);
    if (begin > at) this.report.lost++;
    const messages = this.#topic.slice(begin, begin + count);
    if (this.#rng.float() < 0.3) messages.reverse();
    await site.graph.apply(messages);
    site.offset = Math.max(site.offset, begin + messages.length);
    if (this.#rng.float() < 0.4) await site.graph.announce();
    if (this.#rng.float() < 0.5) await this.#publish(site);
    await this.#look(site);
  }

  async #prune(site: Site, isCutShort: boolean): Promise<void> {
    if (!site.prunes) return;
    const keepMs = this.#rng.pick([0, 0, 200]);
    const options = {
      beforeMs: this.#nowMs - keepMs,
      holdSinceMs: this.#nowMs - this.#holdMs,
      published: site.published,
    };
    for (let isEnd = false; !isEnd; ) {
      const pruned = await site.graph.prune(options);
      this.report.removed += pruned.removed;
      this.report.held += pruned.heldBy.length;
      isEnd = pruned.isEnd || isCutShort;
    }
    const { vector, horizon } = await site.graph.status();
    const isUnheard = this.#sites.some(({ graph }) => vector[graph.origin] === undefined);
    if (isUnheard && Object.keys(horizon).length > 0) this.#isAnyUnheard = true;
  }

  async #catchUp(site: Site, peer: Site): Promise<void> {
    if (site === peer) return;
    for (;;) {
      const { vector } = await site.graph.status();
      try {
        const messages = await peer.graph.missing(vector, { maxBytes: this.#rng.pick([1, 1e6]) });
        if (messages.length === 0) break;
        await site.graph.apply(messages);
      } catch (error) {
        if (!StoreWatchError.is(error) || error.code !== "TOO_OLD") throw error;
        this.report.late++;
        // As a site does: what was made there goes out first.
        await this.#publish(site);
        for (let after: string | undefined; ; ) {
          const { data, next } = await peer.graph.snapshot(after);
          this.report.snapshots += (await site.graph.restore(data, { published: site.published })).isComplete ? 1 : 0;
          if (next === undefined) break;
          after = next;
        }
      }
    }
    await this.#look(site);
  }

  async #heal(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      for (const site of this.#sites) await this.#publish(site);
      for (const site of this.#sites) await this.#deliver(site, 1e6);
      for (const site of this.#sites) for (const peer of this.#sites) await this.#catchUp(site, peer);
      const vectors = await Promise.all(this.#sites.map(async ({ graph }) => (await graph.status()).vector));
      const texts = new Set(
        vectors.map((vector) =>
          JSON.stringify(Object.entries(vector).sort(([one], [other]) => (one < other ? -1 : 1))),
        ),
      );
      if (texts.size === 1) return;
    }
    throw new Error("they do not come to one vector");
  }

  async #check(): Promise<void> {
    const [archive] = this.#sites as [Site];
    this.report.versions += (await archive.opened.values()).length;
    const before = await this.#heads(archive);
    for (const phase of ["as it is", "pruned"]) {
      for (const site of this.#sites) {
        if (phase === "pruned") await this.#prune(site, false);
        const findings = await site.opened.findings();
        expect({ phase, site: site.graph.origin, findings }).toEqual({ phase, site: site.graph.origin, findings: [] });
        expect({ phase, site: site.graph.origin, heads: await this.#heads(site) }).toEqual({
          phase,
          site: site.graph.origin,
          heads: before,
        });
      }
      for (const site of this.#sites) await site.graph.announce();
      for (const site of this.#sites) await this.#publish(site);
      for (const site of this.#sites) await this.#deliver(site, 1e6);
      for (const site of this.#sites) for (const peer of this.#sites) await this.#catchUp(site, peer);
    }
    // Everybody was waited for, so nothing was pruned that somebody lacked.
    const isLateJoiner = ({ graph }: Site) => graph.origin.startsWith("late");
    const isWaitedFor = this.#holdMs === forever && !this.#isAnyUnheard && !this.#sites.some(isLateJoiner);
    if (isWaitedFor) expect(this.report.late).toBe(0);
    if (this.report.late > 0) return;
    const has = new Set(await archive.opened.values());
    expect(this.#written.filter((value) => !has.has(value))).toEqual([]);
  }

  async #heads({ graph }: Site): Promise<unknown> {
    const keys = ["x", "y", "z"].map(async (key) =>
      (await graph.heads(Buffer.from(key))).map(({ id, stamp, value, isMerge }) => [
        `${id.origin}:${id.generation}`,
        stamp,
        value && Buffer.from(value).toString(),
        isMerge,
      ]),
    );
    return Promise.all(keys);
  }
}

/** So many worlds, one after the other; `long` of them in the long mode. */
export function pruningWorlds(
  backend: Backend,
  { short, long }: { readonly short: number; readonly long: number },
): void {
  const worlds = Number(process.env["TIDEMARK_WORLDS"] ?? (isLong ? long : short));
  const run = async () => {
    const sum: Report = { versions: 0, removed: 0, late: 0, snapshots: 0, held: 0, unknownPast: 0, lost: 0 };
    for (let seed = from; seed < from + worlds; seed++) {
      const report = await new World(backend, seed).run().catch((cause: unknown) => {
        throw new Error(`world ${seed} (TIDEMARK_FROM=${seed} TIDEMARK_WORLDS=1): ${String(cause)}`, { cause });
      });
      for (const key of Object.keys(sum) as (keyof Report)[]) sum[key] += report[key];
    }
    console.log(`worlds ${from} to ${from + worlds - 1} ended well: ${JSON.stringify(sum)}`);
    if (worlds < many) return;
    for (const [what, count] of Object.entries(sum))
      expect({ what, count }).toEqual({ what, count: expect.toSatisfy((n: number) => n > 0) as unknown });
  };
  backend.test(
    "whatever a site has pruned or was too late for: its heads are those of a site that has everything (V9, V10)",
    run,
    isLong ? 3_600_000 : 300_000,
  );
}
