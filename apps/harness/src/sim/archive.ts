import type { FileReader, Vector, VersionRow } from "./file-reader.ts";
import { mustBe } from "./oracles.ts";

/** Whatever can take the place of a version: another one, or a link. */
interface Successor {
  readonly origin: string;
  readonly gen: number;
  /** The version that is there instead; undefined while only sites were looked at that had pruned it before the link came. */
  readonly version: string | undefined;
}

/** What one site was seen to have. */
interface Seen {
  readonly vector: Map<string, number>;
  /** When versions and links came to it, by its wall clock; links not later than this. */
  readonly cameMs: Map<string, number>;
  /** Versions that it still has, as of the last look. */
  present: Set<string>;
  lookedMs: number;
}

const nameOf = (origin: string, gen: number) => `${origin}:${gen}`;

/**
 * Every version and link that any site ever had. It looks at a site's file before anything is removed there, so it knows what
 * was pruned everywhere, and what may be missing where.
 */
export class Archive {
  readonly #versions = new Map<string, VersionRow>();
  readonly #values = new Set<string>();
  readonly #successors = new Map<string, Map<string, Successor>>();
  readonly #sites = new Map<string, Seen>();

  /** Takes in what came to a site since the last time. */
  look(site: string, reader: FileReader, nowMs: number): void {
    const seen = this.#seen(site);
    for (const [origin, last] of reader.vector()) {
      const known = seen.vector.get(origin) ?? 0;
      if (last <= known) continue;
      for (const row of reader.versionsAfter(origin, known)) this.#take(site, seen, row);
      for (const { gen, child, parent } of reader.linksAfter(origin, known)) {
        const id = nameOf(origin, gen);
        if (!seen.cameMs.has(id)) seen.cameMs.set(id, seen.lookedMs);
        // Either may have been pruned before the link came.
        if (parent !== null) this.#succeed(parent, id, { origin, gen, version: child ?? undefined });
      }
      seen.vector.set(origin, last);
    }
    seen.lookedMs = nowMs;
  }

  /**
   * Looks at what a site removed, since it was looked at. Nothing goes whose place was not taken below the horizon, and more
   * than `keepMs` ago.
   */
  removed(site: string, reader: FileReader, beforeMs: number): number {
    const seen = this.#seen(site);
    const now = reader.versionNames();
    const horizon = reader.horizon();
    const gone = [...seen.present].filter((id) => !now.has(id));
    for (const id of gone) {
      mustBe(
        this.#isSuperseded(id, horizon, (name) => (seen.cameMs.get(name) ?? Number.POSITIVE_INFINITY) <= beforeMs),
        "V9",
        () =>
          `${site} pruned ${id} although nothing that it had before ${beforeMs} took its place: ${this.#past(seen, id)}`,
      );
      seen.present.delete(id);
    }
    return gone.length;
  }

  /** What a site has is what it was where it was made, and what it lacks was superseded below its horizon. */
  compare(site: string, reader: FileReader): void {
    const horizon = reader.horizon();
    const present = reader.versionNames();
    for (const id of this.#versions.keys()) {
      if (present.has(id)) continue;
      mustBe(
        this.#isSuperseded(id, horizon, () => true),
        "O2",
        () =>
          `${site} lacks ${JSON.stringify(this.#versions.get(id))}, whose place nothing took up to ${textOf(horizon)}`,
      );
    }
  }

  has(value: string): boolean {
    return this.#values.has(value);
  }

  #seen(site: string): Seen {
    let seen = this.#sites.get(site);
    if (seen === undefined) {
      seen = { vector: new Map(), cameMs: new Map(), present: new Set(), lookedMs: Number.NEGATIVE_INFINITY };
      this.#sites.set(site, seen);
    }
    return seen;
  }

  #take(site: string, seen: Seen, row: VersionRow): void {
    const id = nameOf(row.origin, row.gen);
    seen.present.add(id);
    seen.cameMs.set(id, row.atMs);
    const known = this.#versions.get(id);
    const same = [row.key, row.value, row.stamp, row.isMerge].join();
    const before = known && [known.key, known.value, known.stamp, known.isMerge].join();
    mustBe(
      known === undefined || same === before,
      "O2",
      () => `${id} is ${same} at ${site}, elsewhere it is ${before}`,
    );
    if (known === undefined) this.#versions.set(id, row);
    if (row.value !== null) this.#values.add(row.value);
    const parents = row.parents === null ? [] : row.parents.split(",");
    for (const parent of parents) this.#succeed(parent, id, { origin: row.origin, gen: row.gen, version: id });
  }

  #succeed(parent: string, name: string, successor: Successor): void {
    const successors = this.#successors.get(parent) ?? new Map<string, Successor>();
    const version = successor.version ?? successors.get(name)?.version;
    this.#successors.set(parent, successors.set(name, { ...successor, version }));
  }

  /** Whether something below the horizon took its place that has come, or was pruned in turn for something that has. */
  #isSuperseded(id: string, horizon: Vector, hasCome: (name: string) => boolean): boolean {
    const done = new Set([id]);
    for (const version of done) {
      for (const [name, { origin, gen, version: next }] of this.#successors.get(version) ?? []) {
        if (gen > (horizon.get(origin) ?? 0)) continue;
        if (hasCome(name)) return true;
        if (next !== undefined) done.add(next);
      }
    }
    return false;
  }

  #past(seen: Seen, id: string): string {
    const came = [...(this.#successors.get(id)?.keys() ?? [])].map((name) => `${name} at ${seen.cameMs.get(name)}`);
    return came.join() || "nothing ever did";
  }
}

function textOf(vector: Vector): string {
  return JSON.stringify(Object.fromEntries(vector));
}
