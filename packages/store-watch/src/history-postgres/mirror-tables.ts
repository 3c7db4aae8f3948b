import type { Later } from "../history/flow.ts";
import {
  dirtyAtOnce,
  type Intent,
  type MirroredRow,
  type MirrorTables,
  type SourceChange,
  type StoreView,
} from "../history/mirror-tables.ts";
import { givenText } from "./any-text.ts";
import { booleanArray, numberArray, textArray } from "./array-literals.ts";
import { all, one, type PostgresSession, run } from "./session.ts";

interface RawView {
  readonly object: number;
  readonly shown: number | null;
  readonly store_version: string | null;
  readonly epoch: number | null;
  readonly refused: number | null;
  readonly intents: readonly Intent[] | null;
}

/** The statements of graphs that mirror a store, on PostgreSQL: as with versions, what is known is remembered and written last. */
export class PostgresMirrorTables implements MirrorTables {
  readonly #session: PostgresSession;
  #views = new Map<number, StoreView>();
  #saved = new Set<number>();
  /** Whether an object is to be compared. */
  #dirty = new Map<number, boolean>();

  constructor(session: PostgresSession) {
    this.#session = session;
  }

  begin(): void {
    this.#views = new Map();
    this.#saved = new Set();
    this.#dirty = new Map();
  }

  async readAhead(objects: readonly number[]): Promise<void> {
    const unknown = [...new Set(objects)].filter((object) => !this.#views.has(object));
    if (unknown.length === 0) return;
    const text = `SELECT wanted.object, m.shown, m.store_version, m.epoch, m.refused,
        (SELECT json_agg(json_build_object('version', i.version, 'written', i.written, 'isUnknown', i.is_unknown,
          'expected', i.expected, 'bound', i.bound, 'epoch', i.epoch) ORDER BY i.version)
          FROM intents i WHERE i.object = wanted.object) AS intents
      FROM unnest($1::bigint[]) AS wanted (object) LEFT JOIN mirrors m ON m.object = wanted.object`;
    const rows = await all<RawView>(this.#session, text, [numberArray(unknown)], "mirror_views");
    for (const { object, shown, store_version: storeVersion, epoch, refused, intents } of rows) {
      this.#views.set(object, { shown, storeVersion, epoch, refused, intents: intents ?? [] });
    }
  }

  async flush(): Promise<void> {
    const saved = [...this.#saved];
    this.#saved = new Set();
    if (saved.length > 0) await this.#writeViews(saved.map((object) => [object, this.#views.get(object) as StoreView]));
    const dirty = [...this.#dirty];
    this.#dirty = new Map();
    const touched = dirty.filter(([, isDirty]) => isDirty).map(([object]) => object);
    const cleaned = dirty.filter(([, isDirty]) => !isDirty).map(([object]) => object);
    if (touched.length > 0) {
      const text = "INSERT INTO dirty (object) SELECT * FROM unnest($1::bigint[]) ON CONFLICT DO NOTHING";
      await run(this.#session, text, [numberArray(touched)], "mirror_touch");
    }
    if (cleaned.length > 0) {
      const text = "DELETE FROM dirty WHERE object = ANY ($1::bigint[])";
      await run(this.#session, text, [numberArray(cleaned)], "mirror_clean");
    }
  }

  sourceByName(
    name: string,
  ): Promise<{ readonly id: number; readonly kind: string; readonly capabilities: string } | undefined> {
    return one(this.#session, "SELECT id, kind, capabilities FROM streams WHERE name = $1", [name]);
  }

  mirrored(stream: number): Promise<MirroredRow | undefined> {
    const text = `SELECT m.source, m.position, s.epoch, s.cursor, (SELECT coalesce(max(pos), 0) FROM versions) AS "end"
      FROM mirrored m JOIN streams s ON s.id = m.source WHERE m.stream = $1`;
    return one(this.#session, text, [stream], "mirrored");
  }

  async start(stream: number, source: number): Promise<void> {
    await run(this.#session, "INSERT INTO mirrored (stream, source, position) VALUES ($1, $2, 0)", [stream, source]);
    const text = "INSERT INTO dirty (object) SELECT id FROM objects WHERE stream = $1 ON CONFLICT DO NOTHING";
    await run(this.#session, text, [stream]);
  }

  async unsettled(stream: number): Promise<number[]> {
    await this.flush();
    const text = `SELECT DISTINCT i.object FROM intents i JOIN objects o ON o.id = i.object WHERE o.stream = $1
      AND i.written IS NULL AND i.bound IS NULL AND (NOT i.is_unknown OR i.expected IS NULL) ORDER BY i.object`;
    const rows = await all<{ readonly object: number }>(this.#session, text, [stream], "mirror_unsettled");
    return rows.map((row) => row.object);
  }

  reach(stream: number, position: number): Later<void> {
    const text = "UPDATE mirrored SET position = $1 WHERE stream = $2";
    return run(this.#session, text, [position, stream], "mirror_reach");
  }

  keep(consumer: string, position: number, source: number, now: number): Later<void> {
    const text = `INSERT INTO consumers (name, position, updated_at)
      SELECT $1, greatest($2::bigint, floor), $3 FROM streams WHERE id = $4
      ON CONFLICT (name) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at`;
    return run(this.#session, text, [consumer, position, now, source], "mirror_keep");
  }

  nextBatches(
    after: number,
    to: number,
    source: number,
    limit: number,
  ): Promise<{ readonly batch: number; readonly kind: number; readonly cursor: string }[]> {
    const text = `SELECT id AS batch, kind, cursor FROM batches
      WHERE id > coalesce((SELECT batch FROM versions WHERE pos <= $1 ORDER BY pos DESC LIMIT 1), 0) AND stream = $2
        AND first_pos <= $3 ORDER BY id LIMIT $4`;
    return all(this.#session, text, [after, source, to, limit], "mirror_batches");
  }

  async changes(batch: number): Promise<SourceChange[]> {
    const text = `SELECT v.pos, o.key, v.value, v.version, v.epoch, v.attributes FROM batches b
      JOIN versions v ON v.pos >= b.first_pos AND v.pos < b.first_pos + b.count JOIN objects o ON o.id = v.object
      WHERE b.id = $1 ORDER BY v.pos`;
    const rows = await all<SourceChange>(this.#session, text, [batch], "mirror_changes");
    return rows.map((row) => ({ ...row, attributes: givenText(row.attributes) }));
  }

  async view(object: number): Promise<StoreView> {
    await this.readAhead([object]);
    return this.#views.get(object) as StoreView;
  }

  save(object: number, view: StoreView): void {
    this.#views.set(object, view);
    this.#saved.add(object);
  }

  async passed(stream: number, cursor: string, epoch: number | null): Promise<number[]> {
    await this.flush();
    const text = `SELECT DISTINCT i.object FROM intents i JOIN objects o ON o.id = i.object
      WHERE o.stream = $1 AND (coalesce(i.written, i.bound) <= $2
        OR (coalesce(i.written, i.bound) IS NOT NULL AND i.epoch <> $3)) ORDER BY i.object`;
    const values = [stream, cursor, epoch];
    const rows = await all<{ readonly object: number }>(this.#session, text, values, "mirror_passed");
    return rows.map((row) => row.object);
  }

  touch(object: number): void {
    this.#dirty.set(object, true);
  }

  clean(object: number): void {
    this.#dirty.set(object, false);
  }

  dirty(
    stream: number,
    aboveHead: number,
    limit = dirtyAtOnce,
  ): Promise<{ readonly object: number; readonly head: number }[]> {
    const text = `SELECT d.object, o.head FROM dirty d JOIN objects o ON o.id = d.object
      JOIN mirrored s ON s.stream = o.stream LEFT JOIN mirrors m ON m.object = d.object
      WHERE o.stream = $1 AND o.head > $2 AND (m.refused IS NULL OR m.refused < s.position)
        AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.object = d.object AND i.bound IS NOT NULL)
      ORDER BY o.head LIMIT $3`;
    return all(this.#session, text, [stream, aboveHead, limit], "mirror_dirty");
  }

  async #writeViews(views: readonly (readonly [number, StoreView])[]): Promise<void> {
    const objects = numberArray(views.map(([object]) => object));
    const save = `INSERT INTO mirrors (object, shown, store_version, epoch, refused)
      SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
      ON CONFLICT (object) DO UPDATE SET shown = excluded.shown, store_version = excluded.store_version,
        epoch = excluded.epoch, refused = excluded.refused`;
    const columns = [
      objects,
      numberArray(views.map(([, { shown }]) => shown)),
      textArray(views.map(([, { storeVersion }]) => storeVersion)),
      numberArray(views.map(([, { epoch }]) => epoch)),
      numberArray(views.map(([, { refused }]) => refused)),
    ];
    await run(this.#session, save, columns, "mirror_save");
    const remove = "DELETE FROM intents WHERE object = ANY ($1::bigint[])";
    await run(this.#session, remove, [objects], "mirror_remove_intents");
    const intents = views.flatMap(([object, view]) => view.intents.map((intent) => ({ object, ...intent })));
    if (intents.length === 0) return;
    const add = `INSERT INTO intents (object, version, written, is_unknown, expected, bound, epoch)
      SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::bigint[])`;
    const rows = [
      numberArray(intents.map(({ object }) => object)),
      numberArray(intents.map(({ version }) => version)),
      textArray(intents.map(({ written }) => written)),
      booleanArray(intents.map(({ isUnknown }) => isUnknown)),
      textArray(intents.map(({ expected }) => expected)),
      textArray(intents.map(({ bound }) => bound)),
      numberArray(intents.map(({ epoch }) => epoch)),
    ];
    await run(this.#session, add, rows, "mirror_add_intents");
  }
}
