import type Database from "better-sqlite3";
import { and, asc, desc, eq, exists, gt, gte, inArray, isNotNull, lt, lte, type SQL, sql } from "drizzle-orm";
import { type BetterSQLite3Database, drizzle } from "drizzle-orm/better-sqlite3";
import { batches, edges, epochs, objects, streams, versions } from "./schema.ts";
import type { VersionRow } from "./version-packing.ts";
import type { ListForm, ReadRows, StreamKeys } from "./version-reads.ts";

const { placeholder } = sql;

/** `VersionRow`, column by column. */
const row = {
  pos: versions.pos,
  stream: streams.name,
  key: objects.key,
  value: versions.value,
  version: versions.version,
  epoch: epochs.identity,
  parent: versions.parent,
  level: versions.level,
  via: versions.via,
  attributes: versions.attributes,
  batch: versions.batch,
  cursor: batches.cursor,
  committedAt: batches.committedAt,
  sourceTime: versions.sourceTime,
};

type Form = ListForm & { readonly hasEnd: boolean };

/** The questions about versions on SQLite. Prepared once: that is ten times as dear as running. */
export class VersionQueries implements ReadRows {
  readonly #db: BetterSQLite3Database;
  readonly #lists = new Map<string, ListQuery>();
  readonly #touched = new Map<string, TouchedQuery>();
  readonly #object;
  readonly #head;
  readonly #at;
  readonly #atInGraph;
  readonly #log;
  readonly #changes;
  readonly #changesOfStream;
  readonly #edgesOf;
  readonly #hasEdges;
  readonly #streamIds;

  constructor(client: Database.Database) {
    const db = drizzle({ client });
    this.#db = db;
    this.#object = db
      .select({ id: objects.id, head: objects.head })
      .from(objects)
      .where(and(eq(objects.stream, placeholder("stream")), eq(objects.key, placeholder("key"))))
      .prepare();
    this.#head = versionQuery(db, eq(versions.pos, placeholder("pos"))).prepare();
    this.#at = versionQuery(db, and(eq(versions.object, placeholder("object")), lte(versions.pos, placeholder("pos"))))
      .orderBy(desc(versions.pos))
      .limit(1)
      .prepare();
    this.#atInGraph = versionQuery(
      db,
      and(eq(versions.object, placeholder("object")), lte(versions.pos, placeholder("pos"))),
    )
      .orderBy(desc(versions.version))
      .limit(1)
      .prepare();
    this.#log = versionQuery(
      db,
      and(eq(versions.object, placeholder("object")), lt(versions.pos, placeholder("before"))),
    )
      .orderBy(desc(versions.pos))
      .limit(placeholder("limit"))
      .prepare();
    const range = and(gt(versions.pos, placeholder("after")), lte(versions.pos, placeholder("to")));
    this.#changes = versionQuery(db, range).orderBy(asc(versions.pos)).limit(placeholder("limit")).prepare();
    // The plus keeps SQLite from beginning with every key of the stream: the range is what is narrow.
    this.#changesOfStream = versionQuery(db, and(range, sql`+${objects.stream} = ${placeholder("stream")}`))
      .orderBy(asc(versions.pos))
      .limit(placeholder("limit"))
      .prepare();
    this.#edgesOf = db
      .select({ parent: edges.parent })
      .from(edges)
      .where(eq(edges.child, placeholder("child")))
      .orderBy(asc(edges.parent))
      .prepare();
    this.#hasEdges = db.select({ child: edges.child }).from(edges).limit(1).prepare();
    this.#streamIds = db
      .select({ id: streams.id, kind: streams.kind })
      .from(streams)
      .orderBy(asc(streams.id))
      .prepare();
  }

  object(stream: number, key: Buffer): { readonly id: number; readonly head: number } | undefined {
    return this.#object.get({ stream, key });
  }

  head(position: number): VersionRow | undefined {
    return this.#head.get({ pos: position });
  }

  at(object: number, position: number, isGraph: boolean): VersionRow | undefined {
    return (isGraph ? this.#atInGraph : this.#at).get({ object, pos: position });
  }

  log(object: number, before: number, limit: number): VersionRow[] {
    return this.#log.all({ object, before, limit });
  }

  changes(
    range: { readonly after: number; readonly to: number; readonly limit: number },
    stream: number | undefined,
  ): VersionRow[] {
    return stream === undefined ? this.#changes.all({ ...range }) : this.#changesOfStream.all({ ...range, stream });
  }

  list(form: ListForm, { stream, start, end, limit }: StreamKeys, position: number | undefined): VersionRow[] {
    const whole = { ...form, hasEnd: end !== undefined };
    const statement = remember(this.#lists, JSON.stringify(whole), () => listQuery(this.#db, whole));
    return statement.all({ stream, start, end, pos: position, limit });
  }

  touched(
    { stream, start, end, limit }: StreamKeys,
    { low, high, isNarrow }: { readonly low: number; readonly high: number; readonly isNarrow: boolean },
  ): { readonly id: number; readonly key: Buffer }[] {
    const form = { hasEnd: end !== undefined, isNarrow };
    const statement = remember(this.#touched, JSON.stringify(form), () => touchedQuery(this.#db, form));
    return statement.all({ stream, start, end, low, high, limit });
  }

  allStreams(): { readonly id: number; readonly kind: string }[] {
    return this.#streamIds.all();
  }

  /** Second and further parents of versions. */
  edgesOf(positions: readonly number[]): (readonly [number, number])[] {
    if (this.#hasEdges.get() === undefined) return [];
    return positions.flatMap((child) => this.#edgesOf.all({ child }).map(({ parent }) => [child, parent] as const));
  }
}

type ListQuery = ReturnType<typeof listQuery>;
type TouchedQuery = ReturnType<typeof touchedQuery>;

function versionQuery(db: BetterSQLite3Database, where: SQL | undefined) {
  return db
    .select(row)
    .from(versions)
    .innerJoin(objects, eq(objects.id, versions.object))
    .innerJoin(streams, eq(streams.id, objects.stream))
    .innerJoin(batches, eq(batches.id, versions.batch))
    .innerJoin(epochs, eq(epochs.id, versions.epoch))
    .where(where);
}

const keyRange = (hasEnd: boolean) =>
  and(
    eq(objects.stream, placeholder("stream")),
    gte(objects.key, placeholder("start")),
    hasEnd ? lt(objects.key, placeholder("end")) : undefined,
  );

function listQuery(db: BetterSQLite3Database, { asOf, hasEnd, includeDeleted }: Form) {
  const known = sql`FROM ${versions} w WHERE w.object = ${objects.id} AND w.pos <= ${placeholder("pos")}`;
  const shown =
    asOf === undefined
      ? objects.head
      : asOf === "linear"
        ? sql`(SELECT max(w.pos) ${known})`
        : sql`(SELECT w.pos ${known} ORDER BY w.version DESC LIMIT 1)`;
  return db
    .select(row)
    .from(objects)
    .innerJoin(versions, eq(versions.pos, shown))
    .innerJoin(streams, eq(streams.id, objects.stream))
    .innerJoin(batches, eq(batches.id, versions.batch))
    .innerJoin(epochs, eq(epochs.id, versions.epoch))
    .where(
      and(
        keyRange(hasEnd),
        includeDeleted ? undefined : asOf !== undefined ? isNotNull(versions.value) : eq(objects.isDeleted, 0),
      ),
    )
    .orderBy(asc(objects.key))
    .limit(placeholder("limit"))
    .prepare();
}

function touchedQuery(db: BetterSQLite3Database, { hasEnd, isNarrow }: { hasEnd: boolean; isNarrow: boolean }) {
  const between = and(gt(versions.pos, placeholder("low")), lte(versions.pos, placeholder("high")));
  // Few positions: find the objects by them. Many: ask each object, and stop when the page is full.
  const isTouched = isNarrow
    ? inArray(objects.id, db.select({ object: versions.object }).from(versions).where(between))
    : exists(
        db
          .select({ one: sql`1` })
          .from(versions)
          .where(and(eq(versions.object, objects.id), between)),
      );
  return db
    .select({ id: objects.id, key: objects.key })
    .from(objects)
    .where(and(keyRange(hasEnd), isTouched))
    .orderBy(asc(objects.key))
    .limit(placeholder("limit"))
    .prepare();
}

function remember<Value>(known: Map<string, Value>, key: string, make: () => Value): Value {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}
