import type Database from "better-sqlite3";
import {
  dirtyAtOnce,
  type Intent,
  type MirroredRow,
  type MirrorTables,
  type SourceChange,
  type StoreView,
  unseen,
} from "./mirror-tables.ts";

interface RawView {
  readonly shown: number | null;
  readonly store_version: string | null;
  readonly epoch: number | null;
  readonly refused: number | null;
  readonly is_intended: number;
}

interface RawIntent {
  readonly version: number;
  readonly written: string | null;
  readonly is_unknown: number;
  readonly expected: string | null;
  readonly bound: string | null;
  readonly epoch: number | null;
}

// `= +?` and `CROSS JOIN`: see sqlite-graph-tables.ts.

/** The statements of graphs that mirror a store, on SQLite. */
export class SqliteMirrorTables implements MirrorTables {
  readonly #sourceByName: Database.Statement<
    [string],
    { readonly id: number; readonly kind: string; readonly capabilities: string }
  >;
  readonly #mirrored: Database.Statement<[number], MirroredRow>;
  readonly #start: Database.Statement;
  readonly #allDirty: Database.Statement;
  readonly #unsettled: Database.Statement<[number], number>;
  readonly #reach: Database.Statement;
  readonly #keep: Database.Statement;
  readonly #nextBatches: Database.Statement<
    [number, number, number, number],
    { readonly batch: number; readonly kind: number; readonly cursor: string }
  >;
  readonly #changes: Database.Statement<[number], SourceChange>;
  readonly #view: Database.Statement<[number], RawView>;
  readonly #intents: Database.Statement<[number], RawIntent>;
  readonly #save: Database.Statement;
  readonly #removeIntents: Database.Statement;
  readonly #addIntent: Database.Statement;
  readonly #passed: Database.Statement<{ stream: number; cursor: string; epoch: number | null }, number>;
  readonly #touch: Database.Statement;
  readonly #clean: Database.Statement;
  /** Of one transaction. */
  readonly #views = new Map<number, StoreView>();
  readonly #dirty: Database.Statement<[number, number, number], { readonly object: number; readonly head: number }>;

  constructor(db: Database.Database) {
    this.#sourceByName = db.prepare("SELECT id, kind, capabilities FROM streams WHERE name = ?");
    this.#mirrored = db.prepare(
      `SELECT m.source, m.position, s.epoch, s.cursor, (SELECT coalesce(max(pos), 0) FROM versions) AS "end"
       FROM mirrored m JOIN streams s ON s.id = m.source WHERE m.stream = ?`,
    );
    this.#start = db.prepare("INSERT INTO mirrored (stream, source, position) VALUES (?, ?, 0)");
    this.#allDirty = db.prepare("INSERT OR IGNORE INTO dirty (object) SELECT id FROM objects WHERE stream = ?");
    this.#unsettled = db
      .prepare<[number], number>(
        `SELECT DISTINCT i.object FROM intents i CROSS JOIN objects o ON o.id = i.object WHERE o.stream = ?
           AND i.written IS NULL AND i.bound IS NULL AND (i.is_unknown = 0 OR i.expected IS NULL)`,
      )
      .pluck();
    this.#reach = db.prepare("UPDATE mirrored SET position = ? WHERE stream = ?");
    this.#keep = db.prepare(
      `INSERT INTO consumers (name, position, updated_at)
       SELECT :name, max(:position, floor), :now FROM streams WHERE id = :source
       ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`,
    );
    this.#nextBatches = db.prepare(
      `SELECT id AS batch, kind, cursor FROM batches
       WHERE id > ifnull((SELECT batch FROM versions WHERE pos <= ? ORDER BY pos DESC LIMIT 1), 0) AND stream = +?
         AND first_pos <= ? ORDER BY id LIMIT ?`,
    );
    this.#changes = db.prepare(
      `SELECT v.pos, o.key, v.value, v.version, v.epoch, v.attributes FROM batches b
       JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count JOIN objects o ON o.id = v.object
       WHERE b.id = +? ORDER BY v.pos`,
    );
    // An object with intents has a row here, too: both are saved together.
    this.#view = db.prepare(
      `SELECT shown, store_version, epoch, refused,
         EXISTS (SELECT 1 FROM intents i WHERE i.object = m.object) AS is_intended FROM mirrors m WHERE object = ?`,
    );
    this.#intents = db.prepare(
      "SELECT version, written, is_unknown, expected, bound, epoch FROM intents WHERE object = +? ORDER BY version",
    );
    this.#save = db.prepare(
      `INSERT INTO mirrors (object, shown, store_version, epoch, refused) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (object) DO UPDATE SET shown = excluded.shown, store_version = excluded.store_version,
         epoch = excluded.epoch, refused = excluded.refused`,
    );
    this.#removeIntents = db.prepare("DELETE FROM intents WHERE object = ?");
    this.#addIntent = db.prepare(
      `INSERT INTO intents (object, version, written, is_unknown, expected, bound, epoch)
       VALUES (:object, :version, :written, :isUnknown, :expected, :bound, :epoch)`,
    );
    this.#passed = db
      .prepare<{ stream: number; cursor: string; epoch: number | null }, number>(
        `SELECT DISTINCT i.object FROM intents i CROSS JOIN objects o ON o.id = i.object WHERE o.stream = :stream
           AND (ifnull(i.written, i.bound) <= :cursor OR (ifnull(i.written, i.bound) IS NOT NULL AND i.epoch <> :epoch))`,
      )
      .pluck();
    this.#touch = db.prepare("INSERT OR IGNORE INTO dirty (object) VALUES (?)");
    this.#clean = db.prepare("DELETE FROM dirty WHERE object = ?");
    this.#dirty = db.prepare(
      `SELECT d.object, o.head FROM dirty d CROSS JOIN objects o ON o.id = d.object JOIN mirrored s ON s.stream = o.stream
       LEFT JOIN mirrors m ON m.object = d.object
       WHERE o.stream = +? AND o.head > ? AND (m.refused IS NULL OR m.refused < s.position)
         AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.object = d.object AND i.bound IS NOT NULL)
       ORDER BY o.head LIMIT ?`,
    );
  }

  // A question costs little here, so nothing is collected.
  begin(): void {
    this.#views.clear();
  }

  readAhead(): void {}

  flush(): void {
    this.#views.clear();
  }

  sourceByName(
    name: string,
  ): { readonly id: number; readonly kind: string; readonly capabilities: string } | undefined {
    return this.#sourceByName.get(name);
  }

  mirrored(stream: number): MirroredRow | undefined {
    return this.#mirrored.get(stream);
  }

  start(stream: number, source: number): void {
    this.#start.run(stream, source);
    this.#allDirty.run(stream);
  }

  unsettled(stream: number): number[] {
    return this.#unsettled.all(stream);
  }

  reach(stream: number, position: number): void {
    this.#reach.run(position, stream);
  }

  keep(name: string, position: number, source: number, now: number): void {
    this.#keep.run({ name, position, source, now });
  }

  nextBatches(
    after: number,
    to: number,
    source: number,
    limit: number,
  ): { readonly batch: number; readonly kind: number; readonly cursor: string }[] {
    return this.#nextBatches.all(after, source, to, limit);
  }

  changes(batch: number): SourceChange[] {
    return this.#changes.all(batch);
  }

  view(object: number): StoreView {
    const known = this.#views.get(object);
    if (known !== undefined) return known;
    const view = this.#readView(object);
    this.#views.set(object, view);
    return view;
  }

  save(object: number, view: StoreView): void {
    const before = this.#views.get(object);
    this.#views.set(object, view);
    const { shown, storeVersion, epoch, refused, intents } = view;
    // A write changes no more than its intent, until the store's stream brings it.
    if (before === undefined || before === unseen || !isAsShown(before, view)) {
      this.#save.run(object, shown, storeVersion, epoch, refused);
    }
    if (before === undefined || before.intents.length > 0) this.#removeIntents.run(object);
    for (const intent of intents) this.#addIntent.run({ ...intent, object, isUnknown: intent.isUnknown ? 1 : 0 });
  }

  passed(stream: number, cursor: string, epoch: number | null): number[] {
    return this.#passed.all({ stream, cursor, epoch });
  }

  touch(object: number): void {
    this.#touch.run(object);
  }

  clean(object: number): void {
    this.#clean.run(object);
  }

  dirty(stream: number, aboveHead: number, limit = dirtyAtOnce): { readonly object: number; readonly head: number }[] {
    return this.#dirty.all(stream, aboveHead, limit);
  }

  #readView(object: number): StoreView {
    const row = this.#view.get(object);
    if (row === undefined) return unseen;
    const { shown, store_version: storeVersion, epoch, refused, is_intended } = row;
    const intents = is_intended === 1 ? this.#intents.all(object).map(intentOf) : [];
    return { shown, storeVersion, epoch, refused, intents };
  }
}

function intentOf({ version, written, is_unknown, expected, bound, epoch }: RawIntent): Intent {
  return { version, written, isUnknown: is_unknown === 1, expected, bound, epoch };
}

function isAsShown(one: StoreView, other: StoreView): boolean {
  return (
    one.shown === other.shown &&
    one.storeVersion === other.storeVersion &&
    one.epoch === other.epoch &&
    one.refused === other.refused
  );
}
