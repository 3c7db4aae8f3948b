import type { AncestorNode } from "./ancestor.ts";
import type { Later } from "./flow.ts";
import type { Stamp } from "./graph-types.ts";

/** Stands for the position of a version that was pruned before it was known here. */
export const prunedPosition = 0;

/** A version as the graph needs it. */
export interface GraphRow {
  readonly pos: number;
  readonly object: number;
  readonly batch: number;
  readonly origin: number;
  readonly gen: number;
  readonly level: number;
  readonly via: number;
  readonly version: string;
  readonly attributes: string | null;
  readonly value: Buffer | null;
  readonly parent: number | null;
}

export interface NewGraphRow extends GraphRow {
  readonly epoch: number;
  /** Positions. */
  readonly parents: readonly number[];
}

export interface ObjectRow {
  readonly id: number;
  readonly key: Buffer;
  readonly head: number;
  readonly isDeleted: boolean;
}

export interface GenerationRow {
  readonly first: number;
  readonly last: number;
  readonly batch: number | null;
  readonly stamp_ms: number;
  readonly stamp_counter: number;
}

/** A batch of some origin, with its place in the order in which batches came here. */
export interface ArrivedRow extends GenerationRow {
  readonly id: number;
  readonly origin: number;
}

export interface InboxRow {
  readonly origin: string;
  readonly first: number;
  readonly last: number;
  readonly data: Uint8Array;
}

export interface LinkRow {
  readonly gen: number;
  readonly object: number;
  readonly child: number;
  readonly parent: number;
}

/** Names a version by the row of its origin. */
export interface RowId {
  readonly origin: number;
  readonly gen: number;
}

/** A version as other sites get it. */
export interface SentVersion {
  readonly gen: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly attributes: string | null;
  readonly via: number;
  /** Those that are there. */
  readonly parents: readonly RowId[];
  readonly hasParent: boolean;
}

/** Null: the version was pruned. */
export interface SentLink {
  readonly gen: number;
  readonly key: Buffer;
  readonly child: RowId | null;
  readonly parent: RowId | null;
}

/** What is about to be needed. */
export interface GraphWants {
  readonly keys?: readonly Uint8Array[];
  readonly versions?: readonly RowId[];
  readonly positions?: readonly number[];
  /** Ids of objects, whose heads are needed, too. */
  readonly objects?: readonly number[];
  /** Rows of origins whose last generation is needed. */
  readonly origins?: readonly number[];
  /** Whether the last stamp is needed. */
  readonly stamp?: boolean;
}

/** The statements of graphs, on one connection. */
export interface GraphTables {
  /** Another transaction begins: what was remembered may not be so any more. */
  begin(): void;
  /** Reads with few questions what would be asked for one by one, where a question is dear. */
  readAhead(stream: number, wants: GraphWants): Later<void>;
  /** Writes what is collected: the last thing in a transaction. */
  flush(): Later<void>;

  /** The row of an origin of a graph, made when it is new. */
  origin(name: string): Later<number>;
  originName(id: number): Later<string>;

  object(stream: number, key: Uint8Array): Later<ObjectRow | undefined>;
  objectById(id: number): Later<ObjectRow>;
  addObject(stream: number, object: ObjectRow): Later<void>;
  /** The heads of an object; the first one is shown. */
  headsOf(object: { readonly id: number; readonly head: number }): Later<readonly number[]>;
  setHeads(object: ObjectRow, shown: GraphRow, others: readonly GraphRow[], hadOthers: boolean): Later<void>;

  addVersion(row: NewGraphRow): Later<void>;
  version(position: number): Later<GraphRow | undefined>;
  versionOf(origin: number, generation: number): Later<GraphRow | undefined>;
  parentsOf(row: Pick<GraphRow, "pos" | "parent">): Later<readonly number[]>;
  nodeOf(position: number): Later<AncestorNode | undefined>;
  /** The position of an object's last version in the log. */
  newestOf(object: number): Later<number>;
  addLink(origin: number, link: LinkRow): Later<void>;

  addGenerations(stream: number, origin: number, row: GenerationRow): Later<void>;
  lastGeneration(origin: number): Later<number>;
  lastStamp(stream: number): Later<Stamp>;
  /** The batches that versions belong to, one for each of these; undefined: it was pruned. */
  batchesOf(versions: readonly RowId[]): Later<readonly (GenerationRow | undefined)[]>;
  vector(stream: number): Later<readonly { readonly origin: number; readonly last: number }[]>;
  /** Batches of an origin after a generation, oldest first; some of them. */
  generationsAfter(origin: number, generation: number): Later<readonly GenerationRow[]>;
  /** Batches above a vector of origin ids that came after another, in the order in which they came; some of them. */
  generationsBeyond(
    stream: number,
    vector: Readonly<Record<number, number>>,
    afterId: number,
  ): Later<readonly ArrivedRow[]>;
  versionsIn(origin: number, first: number, last: number): Later<readonly SentVersion[]>;
  linksIn(origin: number, first: number, last: number): Later<readonly SentLink[]>;

  nextConflict(stream: number, after: number): Later<number | undefined>;
  conflictCount(stream: number): Later<number>;
  /** Objects one of whose heads one of these batches made. */
  headedBy(batches: readonly number[]): Later<readonly number[]>;

  addInbox(stream: number, row: InboxRow, at: number): Later<void>;
  inbox(stream: number, origin: string, first: number): Later<InboxRow | undefined>;
  removeInbox(stream: number, origin: string, first: number): Later<void>;
  waiting(
    stream: number,
  ): Later<readonly { readonly origin: string; readonly batches: number; readonly first: number }[]>;
}

/** What `generationsAfter` and `generationsBeyond` give at once. */
export const generationsAtOnce = 64;
