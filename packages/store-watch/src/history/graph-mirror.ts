import type Database from "better-sqlite3";
import type { SourceCapabilities } from "../contract.ts";
import { StoreWatchError } from "../errors.ts";
import { batchKinds } from "./appender.ts";
import { graphKind } from "./ddl.ts";
import type { GraphTables, GraphRow } from "./graph-tables.ts";
import type { GraphEdit, GraphIngested, StoreResult, StoreTransaction, StoreWrite } from "./graph-types.ts";
import type { GraphWriter } from "./graph-writer.ts";
import type { StreamState } from "./stream-state.ts";

/** Changes of the store that are taken over in one transaction, about. */
const changesAtOnce = 1000;
/** Log positions that are searched for them in one transaction. */
const positionsAtOnce = 50_000;
const defaultTransactions = 100;

interface SourceChange {
  readonly pos: number;
  readonly key: Buffer;
  readonly value: Buffer | null;
  readonly version: string;
  readonly epoch: number;
  readonly attributes: string | null;
}

interface MirroredRow {
  readonly source: number;
  readonly position: number;
  /** The source's present one. */
  readonly epoch: number | null;
  /** Of the source; of one sequence with the versions of its values. */
  readonly cursor: string | null;
}

interface IntentRow {
  readonly version: number;
  /** The store's version of it; null: not known whether it was written. */
  readonly written: string | null;
}

interface MirrorRow {
  readonly shown: number | null;
  readonly store_version: string | null;
  readonly epoch: number | null;
}

/**
 * Keeps a graph and a watched store alike. What the store's stream brings is an edit made from what the store showed
 * before, unless it is what was written there from the graph. What the graph shows and the store does not is to be written,
 * on the condition that the store still has what it is known to have.
 */
export class GraphMirror {
  readonly #graph: GraphWriter;
  readonly #tables: GraphTables;
  readonly #state: StreamState;
  #isMirrored: boolean;
  readonly #select: Database.Statement<[number], MirroredRow>;
  readonly #sourceByName: Database.Statement<
    [string],
    { readonly id: number; readonly kind: string; readonly capabilities: string }
  >;
  readonly #start: Database.Statement;
  readonly #allDirty: Database.Statement;
  readonly #reach: Database.Statement;
  readonly #keep: Database.Statement;
  readonly #nextBatch: Database.Statement<[number, number, number], { readonly batch: number; readonly kind: number }>;
  readonly #changes: Database.Statement<[number], SourceChange>;
  readonly #mirror: Database.Statement<[number], MirrorRow>;
  readonly #setMirror: Database.Statement;
  readonly #refuse: Database.Statement;
  readonly #intents: Database.Statement<[number], IntentRow>;
  readonly #passed: Database.Statement<[number, string], number>;
  readonly #accept: Database.Statement;
  readonly #lastWritten: Database.Statement<[number], IntentRow>;
  readonly #addIntent: Database.Statement;
  readonly #setWritten: Database.Statement;
  readonly #allUnknown: Database.Statement;
  readonly #forgetAll: Database.Statement;
  readonly #forgetAttempt: Database.Statement;
  readonly #forgetUnknown: Database.Statement;
  readonly #forgetUpTo: Database.Statement;
  readonly #forgetWritten: Database.Statement;
  readonly #touch: Database.Statement;
  readonly #clean: Database.Statement;
  readonly #dirty: Database.Statement<[number], { readonly object: number; readonly head: number }>;

  constructor(db: Database.Database, graph: GraphWriter, tables: GraphTables, state: StreamState) {
    this.#graph = graph;
    this.#tables = tables;
    this.#state = state;
    this.#select = db.prepare(
      "SELECT m.source, m.position, s.epoch, s.cursor FROM mirrored m JOIN streams s ON s.id = m.source WHERE m.stream = ?",
    );
    this.#isMirrored = this.#select.get(state.id) !== undefined;
    this.#sourceByName = db.prepare("SELECT id, kind, capabilities FROM streams WHERE name = ?");
    this.#start = db.prepare("INSERT INTO mirrored (stream, source, position) VALUES (?, ?, 0)");
    this.#allDirty = db.prepare("INSERT OR IGNORE INTO dirty (object) SELECT id FROM objects WHERE stream = ?");
    this.#reach = db.prepare("UPDATE mirrored SET position = ? WHERE stream = ?");
    // Pruning leaves what was not taken over.
    this.#keep = db.prepare(
      `INSERT INTO consumers (name, position, updated_at)
       SELECT :name, max(:position, floor), :now FROM streams WHERE id = :source
       ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`,
    );
    this.#nextBatch = db.prepare(
      `SELECT v.batch, b.kind FROM versions v JOIN objects o ON o.id = v.object JOIN batches b ON b.id = v.batch
       WHERE v.pos > ? AND v.pos <= ? AND o.stream = ? ORDER BY v.pos LIMIT 1`,
    );
    this.#changes = db.prepare(
      `SELECT v.pos, o.key, v.value, v.version, v.epoch, v.attributes FROM batches b
       JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count JOIN objects o ON o.id = v.object
       WHERE b.id = ? ORDER BY v.pos`,
    );
    this.#mirror = db.prepare("SELECT shown, store_version, epoch FROM mirrors WHERE object = ?");
    this.#setMirror = db.prepare(
      `INSERT INTO mirrors (object, shown, store_version, epoch) VALUES (?, ?, ?, ?)
       ON CONFLICT (object) DO UPDATE SET shown = excluded.shown, store_version = excluded.store_version,
         epoch = excluded.epoch, refused = NULL`,
    );
    this.#refuse = db.prepare(
      `INSERT INTO mirrors (object, refused) VALUES (?, ?)
       ON CONFLICT (object) DO UPDATE SET refused = excluded.refused`,
    );
    this.#intents = db.prepare("SELECT version, written FROM intents WHERE object = ? ORDER BY version");
    this.#passed = db
      .prepare<[number, string], number>(
        `SELECT DISTINCT i.object FROM intents i JOIN objects o ON o.id = i.object WHERE o.stream = ? AND i.written <= ?`,
      )
      .pluck();
    this.#accept = db.prepare("UPDATE mirrors SET refused = NULL WHERE object = ?");
    this.#lastWritten = db.prepare(
      "SELECT version, written FROM intents WHERE object = ? AND written IS NOT NULL ORDER BY written DESC LIMIT 1",
    );
    // One that is there already was tried before, and nobody knows what became of it.
    this.#addIntent = db.prepare(
      "INSERT INTO intents (object, version, is_unknown) VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET is_unknown = 1",
    );
    this.#setWritten = db.prepare(
      `INSERT INTO intents (object, version, written, is_unknown) VALUES (?, ?, ?, 0)
       ON CONFLICT DO UPDATE SET written = excluded.written, is_unknown = 0`,
    );
    this.#allUnknown = db.prepare(
      "UPDATE intents SET is_unknown = 1 WHERE written IS NULL AND object IN (SELECT id FROM objects WHERE stream = ?)",
    );
    const forget = "DELETE FROM intents WHERE object = ?";
    this.#forgetAll = db.prepare(forget);
    this.#forgetAttempt = db.prepare(`${forget} AND version = ? AND written IS NULL AND is_unknown = 0`);
    this.#forgetUnknown = db.prepare(`${forget} AND written IS NULL AND is_unknown = 1`);
    this.#forgetUpTo = db.prepare(`${forget} AND version <= ? AND written IS NULL`);
    this.#forgetWritten = db.prepare(`${forget} AND written <= ?`);
    this.#touch = db.prepare("INSERT OR IGNORE INTO dirty (object) VALUES (?)");
    this.#clean = db.prepare("DELETE FROM dirty WHERE object = ?");
    // What was refused waits until the store's stream has brought more.
    this.#dirty = db.prepare(
      `SELECT d.object, o.head FROM dirty d JOIN objects o ON o.id = d.object JOIN mirrored s ON s.stream = o.stream
       LEFT JOIN mirrors m ON m.object = d.object
       WHERE o.stream = ? AND (m.refused IS NULL OR m.refused < s.position) ORDER BY o.head`,
    );
  }

  start(source: string, nowMs: number): void {
    this.#graph.commit(nowMs, () => {
      const stream = this.#sourceByName.get(source);
      if (stream === undefined) {
        throw new StoreWatchError(
          "NOT_FOUND",
          `there is no stream ${JSON.stringify(source)} in this history to mirror`,
        );
      }
      if (stream.kind === graphKind) {
        throw new StoreWatchError(
          "OPTIONS_INVALID",
          `${JSON.stringify(source)} is a graph, expected the stream of a store`,
        );
      }
      if (!(JSON.parse(stream.capabilities) as SourceCapabilities).versioned) {
        throw new StoreWatchError(
          "OPTIONS_INVALID",
          `the store of ${JSON.stringify(source)} gives its values no versions, so nobody can tell whether they were replaced`,
        );
      }
      const known = this.#select.get(this.#state.id);
      if (known?.source === stream.id) {
        // Whoever wrote before may have died while it did.
        this.#allUnknown.run(this.#state.id);
        return;
      }
      if (known !== undefined) {
        throw new StoreWatchError(
          "OPTIONS_INVALID",
          `the graph mirrors another stream than ${JSON.stringify(source)} already; give this one a graph of its own`,
        );
      }
      this.#start.run(this.#state.id, stream.id);
      this.#allDirty.run(this.#state.id);
    });
    this.#isMirrored = true;
  }

  /** The head of a key moved. */
  touch(object: number): void {
    if (this.#isMirrored) this.#touch.run(object);
  }

  ingest(nowMs: number): GraphIngested {
    const mirrored = this.#select.get(this.#state.id);
    if (mirrored === undefined) return { versions: 0, echoes: 0, isEnd: true };
    const end = this.#graph.position;
    const isPassed = mirrored.cursor !== null && this.#passed.get(this.#state.id, mirrored.cursor) !== undefined;
    if (mirrored.position === end && !isPassed) return { versions: 0, echoes: 0, isEnd: true };
    const to = Math.min(end, mirrored.position + positionsAtOnce);
    return this.#graph.commit(nowMs, (now) => {
      let { position } = mirrored;
      const counts = { versions: 0, echoes: 0 };
      while (counts.versions + counts.echoes < changesAtOnce) {
        const next = this.#nextBatch.get(position, to, mirrored.source);
        if (next === undefined) {
          position = to;
          break;
        }
        const changes = this.#changes.all(next.batch);
        // What a snapshot found was not made together: it must not win or lose together.
        if (next.kind === batchKinds.snapshot) for (const one of changes) this.#takeOver([one], nowMs, now, counts);
        else this.#takeOver(changes, nowMs, now, counts);
        position = (changes.at(-1) as SourceChange).pos;
      }
      this.#reach.run(position, this.#state.id);
      this.#keep.run({ name: `graph ${this.#state.name}`, position, source: mirrored.source, now });
      if (position === end && mirrored.cursor !== null) this.#expire(mirrored.cursor);
      return { ...counts, isEnd: position === end };
    });
  }

  /**
   * The store's stream has come past these writes and did not bring them: a snapshot showed that they are gone again. What
   * it did bring is what the store has.
   */
  #expire(cursor: string): void {
    for (const object of this.#passed.all(this.#state.id, cursor)) {
      this.#forgetWritten.run(object, cursor);
      this.#accept.run(object);
      this.#touch.run(object);
    }
  }

  storeWrites(nowMs: number, maxTransactions = defaultTransactions): StoreTransaction[] {
    if (this.#dirty.get(this.#state.id) === undefined) return [];
    const known = this.#select.get(this.#state.id)?.position ?? 0;
    return this.#graph.commit(nowMs, () => {
      const byBatch = new Map<number, StoreWrite[]>();
      for (const { object, head } of this.#dirty.all(this.#state.id)) {
        const want = this.#tables.version(head) as GraphRow;
        const write = this.#writeOf(object, want, known);
        if (write === undefined) continue;
        // What was made together is written together.
        const together = byBatch.get(want.batch);
        if (together === undefined && byBatch.size === maxTransactions) break;
        byBatch.set(want.batch, [...(together ?? []), write]);
      }
      for (const writes of byBatch.values()) for (const { object, want } of writes) this.#addIntent.run(object, want);
      return [...byBatch.values()].map((writes) => ({ writes }));
    });
  }

  settle(results: readonly StoreResult[], nowMs: number): void {
    const mirrored = this.#select.get(this.#state.id);
    this.#graph.commit(nowMs, () => {
      for (const { object, want, known, version } of results) {
        if (version === undefined) {
          this.#refuse.run(object, known);
          // An earlier attempt may still have been made.
          this.#forgetAttempt.run(object, want);
          continue;
        }
        const mirror = this.#mirror.get(object);
        const isPast = mirror?.epoch === mirrored?.epoch && (mirror?.store_version ?? "") >= version;
        // The store's stream may have been faster.
        if (!isPast) this.#setWritten.run(object, want, version);
      }
    });
  }

  /** One transaction of the store. */
  #takeOver(
    changes: readonly SourceChange[],
    nowMs: number,
    now: number,
    counts: { versions: number; echoes: number },
  ): void {
    const last = new Map(changes.map((change) => [change.key.toString("latin1"), change]));
    const edits: GraphEdit[] = [];
    const made: SourceChange[] = [];
    for (const change of last.values()) {
      const object = this.#tables.object(this.#state.id, change.key);
      const mirror = object && this.#mirror.get(object.id);
      const known = object && this.#recognize(object.id, mirror, change);
      if (object !== undefined && known !== undefined) {
        this.#show(object.id, known, change.version, change.epoch);
        counts.echoes++;
        continue;
      }
      const shown = mirror?.shown == null ? undefined : this.#graph.idOf(mirror.shown);
      const { key, value, attributes } = change;
      const parents = shown === undefined ? [] : [shown];
      made.push(change);
      edits.push({ type: "version", key, value: value ?? undefined, attributes: attributes ?? undefined, parents });
    }
    if (edits.length === 0) return;
    const before = this.#graph.position;
    counts.versions += this.#graph.add(edits, nowMs, now).versions;
    for (const change of made) {
      const object = this.#tables.object(this.#state.id, change.key);
      // A deletion of what is deleted made nothing.
      if (object === undefined) continue;
      const version = this.#tables.newestOf(object.id);
      this.#show(object.id, version > before ? version : object.head, change.version, change.epoch);
    }
  }

  /**
   * The version that a change of the store is: what was written there, what may have been, or what it showed already.
   * Forgets what was to be recognized by this change, or can be no more after it.
   */
  #recognize(object: number, mirror: MirrorRow | undefined, change: SourceChange): number | undefined {
    if (mirror?.epoch != null && mirror.epoch !== change.epoch) this.#forgetAll.run(object);
    const intents = this.#intents.all(object);
    const isIt = (version: number) => isSame(this.#tables.version(version)?.value ?? null, change.value);
    const intent =
      intents.find(({ written }) => written === change.version) ??
      intents.find(({ written, version }) => written === null && isIt(version));
    this.#forgetWritten.run(object, change.version);
    if (intent !== undefined) {
      this.#forgetUpTo.run(object, intent.version);
      return intent.version;
    }
    // Whatever it was that may have been written before it: its condition does not hold any more.
    this.#forgetUnknown.run(object);
    return mirror?.shown != null && isIt(mirror.shown) ? mirror.shown : undefined;
  }

  #show(object: number, version: number, storeVersion: string, epoch: number | null): void {
    this.#setMirror.run(object, version, storeVersion, epoch);
    this.#touch.run(object);
  }

  /** What has to be written so that the store shows a version; undefined where it does, or needs not. */
  #writeOf(object: number, want: GraphRow, known: number): StoreWrite | undefined {
    const mirror = this.#mirror.get(object);
    // What was written last, as long as the store's stream has not come to it.
    const written = this.#lastWritten.get(object);
    const position = written?.version ?? mirror?.shown;
    const shown = position == null ? undefined : this.#tables.version(position);
    const hasNone = shown === undefined || shown.value === null;
    if (hasNone ? want.value === null : isSame(shown.value, want.value)) {
      if (written === undefined && mirror?.shown !== want.pos) {
        this.#setMirror.run(object, want.pos, mirror?.store_version ?? null, mirror?.epoch ?? null);
      }
      this.#clean.run(object);
      return undefined;
    }
    return {
      object,
      want: want.pos,
      key: this.#tables.objectById(object).key,
      value: want.value ?? undefined,
      attributes: want.attributes ?? undefined,
      expected: hasNone ? undefined : (written?.written ?? mirror?.store_version ?? undefined),
      known,
    };
  }
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}
