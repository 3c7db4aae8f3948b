import { and, asc, desc, eq, exists, gt, gte, inArray, isNotNull, lt, lte, type SQL, sql } from "drizzle-orm";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import type { PostgresClient } from "./driver.ts";
import { batches, epochs, gaps, keyStart, objects, quarantine, streams, versions } from "./schema.ts";

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

interface KeyQuery {
  readonly isAsOf: boolean;
  readonly hasEnd: boolean;
  readonly includeDeleted: boolean;
}

type ListQuery = ReturnType<typeof listQuery>;
type TouchedQuery = ReturnType<typeof touchedQuery>;

/** The prepared queries of one connection. */
export class Queries {
  readonly #db: NodePgDatabase;
  readonly #lists = new Map<string, ListQuery>();
  readonly #touched = new Map<string, TouchedQuery>();
  readonly object;
  readonly head;
  readonly at;
  readonly log;
  readonly changes;
  readonly changesOfStream;
  readonly streamIds;
  readonly streams;
  readonly gaps;
  readonly quarantine;

  constructor(client: PostgresClient) {
    const db = drizzle({ client: client as never });
    this.#db = db;
    this.object = db
      .select({ id: objects.id, head: objects.head, isDeleted: objects.isDeleted })
      .from(objects)
      .where(
        and(
          eq(objects.stream, placeholder("stream")),
          sql`${keyStart(objects.key)} = ${keyStart(sql`${placeholder("key")}::bytea`)}`,
          eq(objects.key, placeholder("key")),
        ),
      )
      .prepare("tidemark_object");
    this.head = versionQuery(db, eq(versions.pos, placeholder("pos"))).prepare("tidemark_head");
    this.at = versionQuery(db, and(eq(versions.object, placeholder("object")), lte(versions.pos, placeholder("pos"))))
      .orderBy(desc(versions.pos))
      .limit(1)
      .prepare("tidemark_at");
    const before = and(eq(versions.object, placeholder("object")), lt(versions.pos, placeholder("before")));
    this.log = versionQuery(db, before).orderBy(desc(versions.pos)).limit(placeholder("limit")).prepare("tidemark_log");
    const range = and(gt(versions.pos, placeholder("after")), lte(versions.pos, placeholder("to")));
    this.changes = versionQuery(db, range)
      .orderBy(asc(versions.pos))
      .limit(placeholder("limit"))
      .prepare("tidemark_changes");
    this.changesOfStream = versionQuery(db, and(range, eq(objects.stream, placeholder("stream"))))
      .orderBy(asc(versions.pos))
      .limit(placeholder("limit"))
      .prepare("tidemark_changes_of");
    this.streamIds = db
      .select({ id: streams.id })
      .from(streams)
      .orderBy(asc(streams.id))
      .prepare("tidemark_stream_ids");
    this.streams = db
      .select({ stream: streams, epoch: epochs.identity })
      .from(streams)
      .leftJoin(epochs, eq(epochs.id, streams.epoch))
      .orderBy(asc(streams.name))
      .prepare("tidemark_streams");
    const ofStream = sql`(${placeholder("stream")}::text IS NULL OR ${streams.name} = ${placeholder("stream")})`;
    this.gaps = db
      .select({ gap: gaps, stream: streams.name, epoch: epochs.identity })
      .from(gaps)
      .innerJoin(streams, eq(streams.id, gaps.stream))
      .leftJoin(epochs, eq(epochs.id, gaps.epoch))
      .where(ofStream)
      .orderBy(asc(gaps.id))
      .prepare("tidemark_gaps");
    this.quarantine = db
      .select({ item: quarantine, stream: streams.name, epoch: epochs.identity })
      .from(quarantine)
      .innerJoin(streams, eq(streams.id, quarantine.stream))
      .innerJoin(epochs, eq(epochs.id, quarantine.epoch))
      .where(
        and(
          ofStream,
          sql`(${placeholder("resolved")}::boolean OR ${quarantine.state} = 'open')`,
          sql`(${placeholder("id")}::bigint IS NULL OR ${quarantine.id} = ${placeholder("id")})`,
        ),
      )
      .orderBy(asc(quarantine.id))
      .prepare("tidemark_quarantine");
  }

  /** Keys of a stream in key order with the version that is current, now or at a position. */
  list(query: KeyQuery): ListQuery {
    return remember(this.#lists, query, (name) => listQuery(this.#db, query, name));
  }

  /** Ids of the objects with a version in (low, high], in key order. */
  touched(query: { readonly hasEnd: boolean; readonly isNarrow: boolean }): TouchedQuery {
    return remember(this.#touched, query, (name) => touchedQuery(this.#db, query, name));
  }
}

function versionQuery(db: NodePgDatabase, where: SQL | undefined) {
  return db
    .select(row)
    .from(versions)
    .innerJoin(objects, eq(objects.id, versions.object))
    .innerJoin(streams, eq(streams.id, objects.stream))
    .innerJoin(batches, eq(batches.id, versions.batch))
    .innerJoin(epochs, eq(epochs.id, versions.epoch))
    .where(where);
}

/** By what keys start with, which has the index, and by the whole key. */
function keyRange(hasEnd: boolean): SQL | undefined {
  const start = sql`${placeholder("start")}::bytea`;
  const end = sql`${placeholder("end")}::bytea`;
  return and(
    eq(objects.stream, placeholder("stream")),
    sql`${keyStart(objects.key)} >= ${keyStart(start)}`,
    gte(objects.key, start),
    hasEnd ? sql`${keyStart(objects.key)} <= ${keyStart(end)}` : undefined,
    hasEnd ? lt(objects.key, end) : undefined,
  );
}

const keyOrder = [asc(keyStart(objects.key)), asc(objects.key)];

function listQuery(db: NodePgDatabase, { isAsOf, hasEnd, includeDeleted }: KeyQuery, name: string) {
  const shown = isAsOf
    ? sql`(SELECT max(w.pos) FROM ${versions} w WHERE w.object = ${objects.id} AND w.pos <= ${placeholder("pos")})`
    : objects.head;
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
        includeDeleted ? undefined : isAsOf ? isNotNull(versions.value) : eq(objects.isDeleted, false),
      ),
    )
    .orderBy(...keyOrder)
    .limit(placeholder("limit"))
    .prepare(`tidemark_list_${name}`);
}

function touchedQuery(
  db: NodePgDatabase,
  { hasEnd, isNarrow }: { readonly hasEnd: boolean; readonly isNarrow: boolean },
  name: string,
) {
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
    .orderBy(...keyOrder)
    .limit(placeholder("limit"))
    .prepare(`tidemark_touched_${name}`);
}

function remember<Value>(known: Map<string, Value>, query: object, make: (name: string) => Value): Value {
  const name = Object.values(query)
    .map((flag) => (flag === true ? "y" : "n"))
    .join("");
  const value = known.get(name) ?? make(name);
  known.set(name, value);
  return value;
}
