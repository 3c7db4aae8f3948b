import type { Flow } from "./flow.ts";
import { GraphEdits, type GraphParts } from "./graph-edits.ts";
import { GraphMirror } from "./graph-mirror.ts";
import { GraphNames } from "./graph-names.ts";
import { GraphReads } from "./graph-reads.ts";
import { GraphRetention } from "./graph-retention.ts";
import { GraphSnapshots } from "./graph-snapshots.ts";
import type { MomentRows } from "./moments.ts";

/** One graph on the connection of its writer, whatever the database. */
export class GraphCore {
  readonly #names: GraphNames;
  readonly edits: GraphEdits;
  readonly reads: GraphReads;
  readonly mirror: GraphMirror;
  readonly retention: GraphRetention;
  readonly snapshots: GraphSnapshots;

  constructor(given: Omit<GraphParts, "names"> & { readonly moments: MomentRows }) {
    const names = new GraphNames(given.tables, given.state.name);
    const parts = { ...given, names, stream: given.state.id };
    this.#names = names;
    this.edits = new GraphEdits(parts);
    this.reads = new GraphReads(parts);
    this.mirror = new GraphMirror({ ...parts, edits: this.edits });
    this.retention = new GraphRetention({ ...parts, edits: this.edits });
    this.snapshots = new GraphSnapshots({ ...parts, edits: this.edits });
  }

  /** To be run first, in a transaction. */
  open(nowMs: number): Flow<void> {
    return this.edits.open(nowMs);
  }

  /** A transaction failed: what is remembered may not be so. */
  forget(): void {
    this.#names.forget();
    this.mirror.forget();
    this.retention.forget();
  }
}
