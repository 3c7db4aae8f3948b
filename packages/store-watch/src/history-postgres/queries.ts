import { and, asc, desc, eq, exists, gt, gte, inArray, isNotNull, lt, lte, type SQL, sql } from "drizzle-orm";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import type { VersionRow } from "../history/version-packing.ts";
import type { ListForm, ReadRows, StreamKeys } from "../history/version-reads.ts";
import { numberArray } from "./array-literals.ts";
import type { PostgresClient } from "./driver.ts";
import { batches, edges, epochs, gaps, keyStart, objects, quarantine, streams, versions } from "./schema.ts";

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

type ListQuery = ReturnType<typeof listQuery>;
type TouchedQuery = ReturnType<typeof touchedQuery>;

/** The prepared questions of one connection to PostgreSQL. */
export class Queries implements ReadRows {
  readonly #db: NodePgDatabase;
  readonly #lists = new Map<string, ListQuery>();
  readonly #touched = new Map<string, TouchedQuery>();
  readonly #object;
  readonly #head;
  readonly #at;
  readonly #atInGraph;
  readonly #edgesOf;
  readonly #log;
  readonly #changes;
  readonly #changesOfStream;
  readonly #streamIds;
  readonly streams;
  readonly gaps;
  readonly quarantine;

  constructor(client: PostgresClient) {
    const db = drizzle({ client: client as never });
    this.#db = db;
    this.#object = db
      .select({ id: objects.id, head: objects.head })
      .from(objects)
      .where(
        and(
          eq(objects.stream, placeholder("stream")),
          sql`${keyStart(objects.key)} = ${keyStart(sql`${placeholder("key")}::bytea`)}`,
          eq(objects.key, placeholder("key")),
        ),
      )
      .prepare("tidemark_object");
    this.#head = versionQuery(db, eq(versions.pos, placeholder("pos"))).prepare("tidemark_head");
    this.#at = versionQuery(db, and(eq(versions.object, placeholder("object")), lte(versions.pos, placeholder("pos"))))
      .orderBy(desc(versions.pos))
      .limit(1)
      .prepare("tidemark_at");
    this.#atInGraph = versionQuery(
      db,
      and(eq(versions.object, placeholder("object")), lte(versions.pos, placeholder("pos"))),
    )
      .orderBy(desc(versions.version))
      .limit(1)
      .prepare("tidemark_at_in_graph");
    this.#edgesOf = db
      .select({ child: edges.child, parent: edges.parent })
      .from(edges)
      .where(sql`${edges.child} = ANY (${placeholder("children")}::bigint[])`)
      .orderBy(asc(edges.child), asc(edges.parent))
      .prepare("tidemark_edges_of");
    const before = and(eq(versions.object, placeholder("object")), lt(versions.pos, placeholder("before")));
    this.#log = versionQuery(db, before)
      .orderBy(desc(versions.pos))
      .limit(placeholder("limit"))
      .prepare("tidemark_log");
    const range = and(gt(versions.pos, placeholder("after")), lte(versions.pos, placeholder("to")));
    this.#changes = versionQuery(db, range)
      .orderBy(asc(versions.pos))
      .limit(placeholder("limit"))
      .prepare("tidemark_changes");
    this.#changesOfStream = versionQuery(db, and(range, eq(objects.stream, placeholder("stream"))))
      .orderBy(asc(versions.pos))
      .limit(placeholder("limit"))
      .prepare("tidemark_changes_of");
    this.#streamIds = db
      .select({ id: streams.id, kind: streams.kind })
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

  async object(stream: number, key: Buffer): Promise<{ readonly id: number; readonly head: number } | undefined> {
    return (await this.#object.execute({ stream, key }))[0];
  }

  async head(position: number): Promise<VersionRow | undefined> {
    return (await this.#head.execute({ pos: position }))[0];
  }

  async at(object: number, position: number, isGraph: boolean): Promise<VersionRow | undefined> {
    return (await (isGraph ? this.#atInGraph : this.#at).execute({ object, pos: position }))[0];
  }

  log(object: number, before: number, limit: number): Promise<VersionRow[]> {
    return this.#log.execute({ object, before, limit });
  }

  changes(
    range: { readonly after: number; readonly to: number; readonly limit: number },
    stream: number | undefined,
  ): Promise<VersionRow[]> {
    if (stream === undefined) return this.#changes.execute({ ...range });
    return this.#changesOfStream.execute({ ...range, stream });
  }

  list(form: ListForm, { stream, start, end, limit }: StreamKeys, position: number | undefined): Promise<VersionRow[]> {
    const whole = { ...form, hasEnd: end !== undefined };
    const statement = remember(this.#lists, whole, (name) => listQuery(this.#db, whole, name));
    return statement.execute({ stream, start, end, pos: position, limit });
  }

  touched(
    { stream, start, end, limit }: StreamKeys,
    { low, high, isNarrow }: { readonly low: number; readonly high: number; readonly isNarrow: boolean },
  ): Promise<{ readonly id: number; readonly key: Buffer }[]> {
    const form = { hasEnd: end !== undefined, isNarrow };
    const statement = remember(this.#touched, form, (name) => touchedQuery(this.#db, form, name));
    return statement.execute({ stream, start, end, low, high, limit });
  }

  /** All streams by id. */
  allStreams(): Promise<{ readonly id: number; readonly kind: string }[]> {
    return this.#streamIds.execute();
  }

  /** Second and further parents of versions. */
  async edgesOf(positions: readonly number[]): Promise<(readonly [number, number])[]> {
    if (positions.length === 0) return [];
    const rows = await this.#edgesOf.execute({ children: numberArray(positions) });
    return rows.map(({ child, parent }) => [child, parent] as const);
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

function listQuery(db: NodePgDatabase, { asOf, hasEnd, includeDeleted }: Form, name: string) {
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
        includeDeleted ? undefined : asOf !== undefined ? isNotNull(versions.value) : eq(objects.isDeleted, false),
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
    .map((form) => (typeof form === "string" ? form : form === true ? "y" : "n"))
    .join("_");
  const value = known.get(name) ?? make(name);
  known.set(name, value);
  return value;
}
