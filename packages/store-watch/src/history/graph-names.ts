import { type Flow, wait } from "./flow.ts";
import type { GraphTables, RowId } from "./graph-tables.ts";
import type { VersionId } from "./graph-types.ts";

/** The sites of a graph and their rows among the origins. Graphs of one history share no origins. */
export class GraphNames {
  readonly #tables: Pick<GraphTables, "origin" | "originName">;
  readonly #graph: string;
  readonly #ids = new Map<string, number>();
  readonly #sites: Map<number, string>;

  /** `sites` are those that are known already; what is committed does not change. */
  constructor(tables: Pick<GraphTables, "origin" | "originName">, graph: string, sites = new Map<number, string>()) {
    this.#tables = tables;
    this.#graph = graph;
    this.#sites = sites;
  }

  /** The row of a site, made when it is new. */
  *idOf(site: string): Flow<number> {
    const known = this.#ids.get(site);
    if (known !== undefined) return known;
    const id = yield* wait(this.#tables.origin(`${this.#graph}/${site}`));
    this.#ids.set(site, id);
    this.#sites.set(id, site);
    return id;
  }

  *siteOf(origin: number): Flow<string> {
    const known = this.#sites.get(origin);
    if (known !== undefined) return known;
    const site = (yield* wait(this.#tables.originName(origin))).slice(this.#graph.length + 1);
    this.#sites.set(origin, site);
    return site;
  }

  *versionId({ origin, gen }: RowId): Flow<VersionId> {
    return { origin: yield* this.siteOf(origin), generation: gen };
  }

  /** A transaction failed: rows that came with it are gone. */
  forget(): void {
    this.#ids.clear();
    this.#sites.clear();
  }
}
