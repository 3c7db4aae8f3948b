import type { Later } from "./flow.ts";
import type { GraphRow, RowId } from "./graph-tables.ts";

/** What an origin said that it has: the name of each site and its last generation, as JSON. */
export interface AnnouncementRow {
  readonly gen: number;
  readonly vector: string;
}

export interface RelicRow {
  readonly pos: number;
  readonly object: number;
  /** Whoever reads as of this position or later sees what took its place. */
  readonly since: number;
}

export type RootRow = GraphRow & { readonly key: Buffer };

/** The statements about what of a graph is kept, on one connection. */
export interface RetentionTables {
  /** Of each origin up to where superseded versions are gone. */
  horizon(stream: number): Later<readonly { readonly origin: number; readonly generation: number }[]>;
  setHorizon(stream: number, origin: number, generation: number): Later<void>;
  raiseFloor(stream: number, position: number): Later<void>;

  addAnnouncement(origin: number, row: AnnouncementRow): Later<void>;
  announcementsIn(origin: number, first: number, last: number): Later<readonly AnnouncementRow[]>;
  lastAnnouncement(origin: number): Later<AnnouncementRow | undefined>;
  /** Whether anything but announcements came after the batch of an origin that has this generation alone. */
  hasNewsAfter(stream: number, origin: number, generation: number): Later<boolean>;

  /** The lowest position of a consumer. */
  lowestConsumer(): Later<number | undefined>;
  /** The last batch that ends at or before a position. */
  batchAt(position: number): Later<number>;
  /** The first batch of the graph, by the order in which they came, after a batch of versions. */
  firstAfter(stream: number, batch: number): Later<number | undefined>;
  /** The first batch of an origin, by the order in which they came, that goes beyond a generation. */
  firstBeyond(origin: number, generation: number): Later<number | undefined>;
  /** The batch that came last. */
  lastArrived(stream: number): Later<number>;
  /** The last generation that an origin made before a time. */
  lastBefore(origin: number, timeMs: number): Later<number>;
  /** Batches with arrival numbers in (after, end]; some of them. */
  steps(
    stream: number,
    after: number,
    end: number,
    limit: number,
  ): Later<readonly { readonly id: number; readonly origin: number; readonly last: number }[]>;

  /** Makes relics of what versions and links of an origin with generations in (from, to] took the place of. */
  mark(since: number, origin: number, from: number, to: number): Later<void>;
  /** The last position of the versions of an origin with generations in (from, to]; 0 without any. */
  lastPosition(origin: number, from: number, to: number): Later<number>;
  relics(
    stream: number,
    range: { readonly after: number; readonly newest: number; readonly position: number; readonly limit: number },
  ): Later<readonly RelicRow[]>;
  hasRelics(stream: number): Later<boolean>;
  /** Objects of what is decided together. */
  contested(stream: number): Later<readonly number[]>;
  /** Which of these something refers to that is beyond the horizon, or the mirrored store. */
  needed(relics: readonly RelicRow[]): Later<ReadonlySet<number>>;
  /** Removes versions. */
  remove(positions: readonly number[]): Later<void>;
  /** Removes what only belonged to versions that are gone. */
  tidy(stream: number): Later<void>;

  /** Objects of the graph after another one; some of them. */
  objectsAfter(stream: number, object: number): Later<readonly number[]>;
  /** Below the horizon, the versions of objects in (after, to] that nothing took the place of, by object. */
  roots(stream: number, after: number, to: number): Later<readonly RootRow[]>;
  versionsOf(object: number): Later<readonly (RowId & { readonly pos: number })[]>;
  addRelics(relics: readonly { readonly pos: number; readonly since: number }[]): Later<void>;
  relicsAmong(positions: readonly number[]): Later<ReadonlySet<number>>;

  parts(stream: number): Later<readonly Buffer[]>;
  addPart(stream: number, part: number, data: Uint8Array): Later<void>;
  clearParts(stream: number): Later<void>;
}

/** What `objectsAfter` gives at once. */
export const objectsAtOnce = 64;
