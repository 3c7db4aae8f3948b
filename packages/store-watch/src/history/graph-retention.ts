import { StoreWatchError } from "../errors.ts";
import { type Flow, wait } from "./flow.ts";
import type { GraphEdits } from "./graph-edits.ts";
import { advances, type Cut, commonCut, holdersOf, type KnownSite } from "./graph-horizon.ts";
import type { GraphNames } from "./graph-names.ts";
import type { GraphTables } from "./graph-tables.ts";
import type { GraphPruned, GraphPruneOptions, GraphWritten } from "./graph-types.ts";
import type { MomentRows } from "./moments.ts";
import type { RetentionTables } from "./retention-tables.ts";
import type { StreamState } from "./stream-state.ts";

/** Batches that the horizon passes in one transaction. */
const batchesAtOnce = 2000;
/** Versions that are looked at in one transaction. */
const versionsAtOnce = 2000;

/** One pass: first the horizon moves, then what is below it is swept. */
interface Pass {
  /** The last batch, by the order in which they came, that may go. */
  readonly end: number;
  readonly limit: Cut;
  /** Nothing is removed that can be seen as of this position or later. */
  readonly position: number;
  readonly heldBy: readonly string[];
  readonly reached: Map<number, number>;
  arrived: number;
  swept: number;
}

/** Of each origin up to where superseded versions are gone. */
export function* horizonOf(retained: RetentionTables, stream: number): Flow<Map<number, number>> {
  const rows = yield* wait(retained.horizon(stream));
  return new Map(rows.map(({ origin, generation }) => [origin, generation]));
}

/** @throws {StoreWatchError} `TOO_OLD` when a site that has this much lacks something that was pruned. */
export function* checkKept(horizon: Cut, known: Readonly<Record<number, number>>, names: GraphNames): Flow<void> {
  for (const [origin, generation] of horizon) {
    const has = known[origin] ?? 0;
    if (has >= generation) continue;
    throw new StoreWatchError(
      "TOO_OLD",
      `changes of ${yield* names.siteOf(origin)} up to ${generation} were pruned here, and the site that asks has them up to ` +
        `${has}: it has to take over a snapshot first`,
    );
  }
}

/** Whether there is something to announce: more than announcements came since the last time. */
export function* hasNews(retained: RetentionTables, stream: number, own: number): Flow<boolean> {
  const last = (yield* wait(retained.lastAnnouncement(own)))?.gen ?? 0;
  return yield* wait(retained.hasNewsAfter(stream, own, last));
}

/**
 * What of a graph is kept. The horizon is a set of batches that has with each everything it builds on, and that every other
 * site has, or is too late for. What was superseded within it is a relic: nothing that a site makes from then on is made from
 * it, so it goes unless something here still refers to it.
 */
export class GraphRetention {
  readonly #edits: GraphEdits;
  readonly #tables: GraphTables;
  readonly #retained: RetentionTables;
  readonly #names: GraphNames;
  readonly #state: StreamState;
  readonly #moments: MomentRows;
  readonly #origin: string;
  #pass: Pass | undefined;
  /** What the last pass was about that came to its end. */
  #finished = "";

  constructor(parts: {
    readonly edits: GraphEdits;
    readonly tables: GraphTables;
    readonly retained: RetentionTables;
    readonly names: GraphNames;
    readonly state: StreamState;
    readonly moments: MomentRows;
    readonly origin: string;
  }) {
    this.#edits = parts.edits;
    this.#tables = parts.tables;
    this.#retained = parts.retained;
    this.#names = parts.names;
    this.#state = parts.state;
    this.#moments = parts.moments;
    this.#origin = parts.origin;
  }

  /** A transaction failed: the pass begins anew. */
  forget(): void {
    this.#pass = undefined;
    this.#finished = "";
  }

  announce(nowMs: number): Flow<GraphWritten> {
    return this.#edits.commit(nowMs, this.#announce.bind(this, nowMs));
  }

  *#announce(nowMs: number, now: number): Flow<GraphWritten> {
    const own = yield* this.#names.idOf(this.#origin);
    if (!(yield* hasNews(this.#retained, this.#state.id, own))) {
      return { generation: yield* wait(this.#tables.lastGeneration(own)), versions: 0, links: 0 };
    }
    const vector: Record<string, number> = {};
    for (const row of yield* wait(this.#tables.vector(this.#state.id))) {
      vector[yield* this.#names.siteOf(row.origin)] = row.last;
    }
    return yield* this.#edits.add([{ type: "announcement", vector }], nowMs, now);
  }

  prune(options: GraphPruneOptions, nowMs: number): Flow<GraphPruned> {
    return this.#edits.commit(nowMs, this.#prune.bind(this, options));
  }

  /** What pruning comes to where nothing has changed since the last pass, as most of the time; undefined: something has. */
  *alreadyPruned(options: GraphPruneOptions): Flow<GraphPruned | undefined> {
    const pass = this.#pass ?? (yield* this.#begin(options));
    const isSame = nameOf(pass) === this.#finished;
    const isDone = isSame && !(yield* wait(this.#retained.hasRelics(this.#state.id)));
    this.#pass = isDone ? undefined : pass;
    return isDone ? { removed: 0, heldBy: pass.heldBy, isEnd: true } : undefined;
  }

  *#prune(options: GraphPruneOptions): Flow<GraphPruned> {
    const done = yield* this.alreadyPruned(options);
    if (done !== undefined) return done;
    const pass = this.#pass as Pass;
    const { heldBy } = pass;
    if (pass.arrived < pass.end) {
      yield* this.#advance(pass);
      return { removed: 0, heldBy, isEnd: false };
    }
    const { removed, isEnd } = yield* this.#sweep(pass);
    if (isEnd) {
      yield* wait(this.#retained.tidy(this.#state.id));
      this.#pass = undefined;
      this.#finished = nameOf(pass);
    }
    return { removed, heldBy, isEnd };
  }

  *#begin({ beforeMs, holdSinceMs, published }: GraphPruneOptions): Flow<Pass> {
    const retained = this.#retained;
    const own = yield* this.#names.idOf(this.#origin);
    const stream = this.#state.id;
    const atTime = (yield* wait(this.#moments.byTime(Math.floor(beforeMs)))) ?? 0;
    const position = Math.min(atTime, (yield* wait(retained.lowestConsumer())) ?? Number.POSITIVE_INFINITY);
    const batch = yield* wait(retained.batchAt(position));
    const after = yield* wait(retained.firstAfter(stream, batch));
    const beyond = yield* wait(retained.firstBeyond(own, published));
    const ends = [after, beyond].flatMap((arrived) => (arrived === undefined ? [] : [arrived - 1]));
    const end = Math.min(...ends, yield* wait(retained.lastArrived(stream)));
    const vector = yield* wait(this.#tables.vector(stream));
    const origins = vector.map(({ origin }) => origin);
    const sites: KnownSite[] = [];
    const old = new Map<number, number>();
    for (const origin of origins) {
      if (origin !== own) sites.push(yield* this.#siteAs(origin, origins));
      old.set(origin, yield* wait(retained.lastBefore(origin, holdSinceMs)));
    }
    const limit = commonCut(origins, sites, old);
    const heldBy: string[] = [];
    for (const { origin } of holdersOf(sites, limit, new Map(vector.map((row) => [row.origin, row.last])))) {
      heldBy.push(yield* this.#names.siteOf(origin));
    }
    return { end, limit, position, heldBy, reached: new Map(), arrived: 0, swept: 0 };
  }

  *#siteAs(origin: number, origins: readonly number[]): Flow<KnownSite> {
    const last = yield* wait(this.#retained.lastAnnouncement(origin));
    if (last === undefined) return { origin, announced: new Map() };
    const vector = JSON.parse(last.vector) as Record<string, number>;
    const announced = new Map<number, number>();
    for (const each of origins) announced.set(each, vector[yield* this.#names.siteOf(each)] ?? 0);
    // It was made from everything in it.
    return { origin, announced: announced.set(origin, last.gen) };
  }

  /** The horizon before anything below it is removed: whoever asks for what is below is told so (V9). */
  *#advance(pass: Pass): Flow<void> {
    const retained = this.#retained;
    const stream = this.#state.id;
    const steps = yield* wait(retained.steps(stream, pass.arrived, pass.end, batchesAtOnce));
    for (const { origin, last } of steps) pass.reached.set(origin, Math.max(last, pass.reached.get(origin) ?? 0));
    const horizon = yield* horizonOf(retained, stream);
    for (const { origin, from, to } of advances(horizon, pass.reached, pass.limit)) {
      const last = yield* wait(retained.lastPosition(origin, from, to));
      yield* wait(retained.mark(last, origin, from, to));
      yield* wait(retained.raiseFloor(stream, last));
      yield* wait(retained.setHorizon(stream, origin, to));
    }
    pass.arrived = steps.length < batchesAtOnce ? pass.end : (steps.at(-1)?.id ?? pass.end);
  }

  *#sweep(pass: Pass): Flow<{ readonly removed: number; readonly isEnd: boolean }> {
    const retained = this.#retained;
    const stream = this.#state.id;
    // Positions go on from the newest version, which is why that stays.
    const { position, swept: after } = pass;
    const range = { after, newest: this.#edits.position, position, limit: versionsAtOnce };
    const relics = yield* wait(retained.relics(stream, range));
    const last = relics.at(-1);
    if (last === undefined) return { removed: 0, isEnd: true };
    const contested = new Set(yield* wait(retained.contested(stream)));
    // Conflicts that stay open keep many, and each pass comes to them again.
    const free = relics.filter(({ object }) => !contested.has(object));
    const needed = yield* wait(retained.needed(free));
    const gone = free.filter(({ pos }) => !needed.has(pos));
    if (gone.length > 0) {
      yield* wait(retained.raiseFloor(stream, Math.max(...gone.map(({ since }) => since))));
      yield* wait(retained.remove(gone.map(({ pos }) => pos)));
    }
    this.#state.versions -= gone.length;
    pass.swept = last.pos;
    return { removed: gone.length, isEnd: relics.length < versionsAtOnce };
  }
}

/** What a pass is about. */
function nameOf({ end, limit }: Pass): string {
  return JSON.stringify([end, [...limit]]);
}
