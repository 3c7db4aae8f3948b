import { runLater } from "../history/flow.ts";
import { Moments } from "../history/moments.ts";
import { packVersions, unpackVersions, type VersionRow } from "../history/version-packing.ts";
import { VersionReads } from "../history/version-reads.ts";
import type { VersionRecord } from "../history-types.ts";
import type { PostgresClient } from "./driver.ts";
import { PostgresMomentRows } from "./moments.ts";
import { Queries } from "./queries.ts";

const queriesOf = new WeakMap<PostgresClient, Queries>();

/** Reads within one snapshot of the database: the counterpart of SQLite's reader. */
export class PostgresReader {
  readonly #moments: Moments;
  readonly queries: Queries;
  readonly reads: VersionReads;

  constructor(client: PostgresClient) {
    this.#moments = new Moments(new PostgresMomentRows(client));
    const known = queriesOf.get(client) ?? new Queries(client);
    queriesOf.set(client, known);
    this.queries = known;
    this.reads = new VersionReads(known, this.#moments);
  }

  position(): Promise<number> {
    return runLater(this.#moments.now());
  }

  /** Copies, so that a record does not keep the driver's memory. */
  async toRecords(rows: readonly (VersionRow | undefined)[]): Promise<(VersionRecord | undefined)[]> {
    const edges = await this.queries.edgesOf(rows.flatMap((row) => row?.pos ?? []));
    return unpackVersions(packVersions(rows, edges));
  }
}
